"""`gemm`, `linear` and its backward."""

import math

import numpy as np
import pytest

from fastbn import _core, functional

from .arrays_and_bounds import DTYPES, arrays, double, gamma, read_only


@pytest.mark.parametrize("dtype", DTYPES)
def test_gemm(rng, dtype):
    a, b, c, bias = arrays(rng, (4, 3), (5, 4), (3, 5), 5, dtype=dtype)
    old = c.copy()
    options = {"alpha": 0.7, "beta": -1.5, "trans_a": True, "trans_b": True}
    result = functional.gemm(a, b, c, bias=bias, activation="relu", **options)
    assert result is c
    a, b, old, bias = double(a, b, old, bias)
    expected = np.maximum(0.7 * (a.T @ b.T) - 1.5 * old + bias, 0)
    size = 0.7 * (np.abs(a.T) @ np.abs(b.T)) + 1.5 * np.abs(old) + np.abs(bias)
    assert np.all(np.abs(c - expected) <= 2 * gamma(a.shape[0] + 4, dtype) * size)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lead", [(), (6,), (2, 3), (0,), (2, 0)])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("activation", [None, "relu"])
def test_linear(rng, dtype, lead, with_bias, activation):
    x, w, bias = arrays(rng, (*lead, 4), (4, 3), 3, dtype=dtype)
    y = functional.linear(x, w, bias if with_bias else None, activation=activation)
    assert y.dtype == dtype
    x, w, bias = double(x, w, bias if with_bias else np.zeros(3, dtype))
    expected = x @ w + bias
    if activation:
        expected = np.maximum(expected, 0)
    assert y.shape == expected.shape
    size = np.abs(x) @ np.abs(w) + np.abs(bias)
    assert np.all(np.abs(y - expected) <= 2 * gamma(w.shape[0] + 2, dtype) * size)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lead", [(), (6,), (2, 3), (0,)])
def test_linear_backward(rng, dtype, lead):
    dy, x, w = arrays(rng, (*lead, 3), (*lead, 4), (4, 3), dtype=dtype)
    dx, dw, db = functional.linear_backward(dy, x, w)
    assert dx.dtype == dw.dtype == db.dtype == dtype
    into = np.full((4, 3), np.nan, dtype), np.full(3, np.nan, dtype)
    none, dw2, db2 = functional.linear_backward(
        dy, x, w, need_dx=False, dweight=into[0], dbias=into[1]
    )
    assert none is None
    assert dw2 is into[0]
    assert db2 is into[1]
    np.testing.assert_array_equal(dw2, dw)
    np.testing.assert_array_equal(db2, db)
    dy, x, w = double(dy, x, w)
    rows, x_rows = dy.reshape(math.prod(lead), 3), x.reshape(math.prod(lead), 4)
    assert dx.shape == x.shape
    for actual, left, right in [
        (dx, dy, w.T),
        (dw, x_rows.T, rows),
        (db, np.ones(len(rows)), rows),
    ]:
        size = np.abs(left) @ np.abs(right)
        assert np.all(np.abs(actual - left @ right) <= 2 * gamma(left.shape[-1] + 2, dtype) * size)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"dy": np.zeros((5, 3))}, ValueError, r"\(5, 3\).*\(6, 4\)"),
        ({"dy": np.zeros((6, 2))}, ValueError, r"\(6, 2\).*\(4, 3\)"),
        ({"x": np.zeros((6, 5))}, ValueError, r"\(6, 5\).*\(4, 3\)"),
        ({"weight": np.zeros(4)}, ValueError, r"\(4,\)"),
        ({"weight": np.zeros((4, 3), np.float32)}, TypeError, "float64.*float32"),
        ({"dweight": np.zeros((3, 4))}, ValueError, r"\(3, 4\).*\(4, 3\)"),
        ({"dweight": np.zeros((4, 3), np.float32)}, TypeError, "float32.*float64"),
        ({"dbias": np.zeros(4)}, ValueError, r"\(4,\).*\(3,\)"),
        ({"dbias": read_only(3, np.float64)}, ValueError, "read-only"),
    ],
)
def test_linear_backward_checks_first(change, error, message):
    arguments = {
        "dy": np.ones((6, 3)),
        "x": np.ones((6, 4)),
        "weight": np.ones((4, 3)),
        "dweight": np.zeros((4, 3)),
        "dbias": np.zeros(3),
    } | change
    with pytest.raises(error, match=message):
        functional.linear_backward(**arguments)
    assert not arguments["dweight"].any()
    assert not arguments["dbias"].any()


@pytest.mark.parametrize("over", ["dy", "x", "weight"])
def test_linear_backward_over_an_operand_is_as_if_copied_first(rng, over):
    operands = dict(zip(("dy", "x", "weight"), arrays(rng, (4, 4), (4, 4), (4, 4)), strict=True))
    expected = functional.linear_backward(**{n: a.copy() for n, a in operands.items()})
    dx, dw, db = functional.linear_backward(**operands, dweight=operands[over])
    assert dw is operands[over]
    for actual, gradient in zip((dx, dw, db), expected, strict=True):
        np.testing.assert_array_equal(actual, gradient)


@pytest.mark.parametrize("over", ["dy", "x", "weight"])
@pytest.mark.parametrize("layout", ["contiguous", "transposed"])
def test_linear_backward_writes_dx_where_asked(rng, over, layout):
    operands = dict(zip(("dy", "x", "weight"), arrays(rng, (4, 4), (4, 4), (4, 4)), strict=True))
    expected = functional.linear_backward(**{n: a.copy() for n, a in operands.items()})
    dx = operands[over] if layout == "contiguous" else operands[over].T
    got = _core.linear_backward(*operands.values(), True, True, dx)
    assert got[0] is dx
    for actual, gradient in zip(got, expected, strict=True):
        np.testing.assert_array_equal(actual, gradient)


def test_linear_backward_refuses_gradients_over_one_another(rng):
    dy, x, w = arrays(rng, (6, 3), (6, 4), (4, 3))
    dweight = np.zeros((4, 3), x.dtype)
    with pytest.raises(ValueError, match="dbias overlaps dweight"):
        functional.linear_backward(dy, x, w, dweight=dweight, dbias=dweight[1])
    assert not dweight.any()


def test_wrong_linear():
    with pytest.raises(ValueError, match="at least 1"):
        functional.linear(np.ones(()), np.ones((1, 1)))
    with pytest.raises(TypeError, match="float32"):
        functional.linear(np.ones((2, 3), np.float32), np.ones((3, 4)))
    with pytest.raises(ValueError, match="3"):
        functional.linear(np.ones((2, 3)), np.ones((4, 4)))
