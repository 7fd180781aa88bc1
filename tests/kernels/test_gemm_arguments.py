"""Matrix products: arguments that are taken, and those that are refused."""

import numpy as np
import pytest

from fastbn import _core

from .arrays import bits, normal


def test_matrix_and_lists(dtype, rng):
    a, b = normal(rng, 3, 4, dtype=dtype), normal(rng, 4, 5, dtype=dtype)
    with pytest.warns(PendingDeprecationWarning):
        matrix = np.matrix(a)
    assert bits(_core.gemm(matrix, b)) == bits(_core.gemm(a, b))
    wide = _core.gemm(a.astype(np.float64), b.astype(np.float64))
    assert bits(_core.gemm(a.tolist(), b.tolist())) == bits(wide)


@pytest.mark.parametrize(
    "kind", [">f4", ">f8", "object", "int32", "float16", "complex64", "longdouble", "bool", "S4"]
)
@pytest.mark.parametrize("which", ["a", "b", "c", "bias"])
def test_other_dtypes_are_refused(dtype, rng, kind, which):
    if np.dtype(kind) == dtype:
        pytest.skip("longdouble is float64 here")
    operands = {
        "a": normal(rng, 3, 4, dtype=dtype),
        "b": normal(rng, 4, 5, dtype=dtype),
        "c": normal(rng, 3, 5, dtype=dtype),
        "bias": normal(rng, 5, dtype=dtype),
    }
    operands[which] = operands[which].astype(kind)
    before = {name: x.copy() for name, x in operands.items()}
    with pytest.raises(TypeError, match=rf"{which}.*(float32|float64|{np.dtype(kind)})"):
        _core.gemm(**operands)
    assert all(bits(before[name]) == bits(x) for name, x in operands.items() if name != which)


def test_masked_arrays_are_refused(dtype, rng):
    a, b = normal(rng, 3, 4, dtype=dtype), normal(rng, 4, 5, dtype=dtype)
    with pytest.raises(TypeError, match="a is a masked array"):
        _core.gemm(np.ma.masked_array(a), b)
    with pytest.raises(TypeError, match="c is a masked array"):
        _core.gemm(a, b, np.ma.masked_array(np.zeros((3, 5), dtype)))


@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        (((3, 4), (5, 6)), {}, r"4 columns \(shape \(3, 4\)\).*5 rows \(shape \(5, 6\)\)"),
        (((3, 4), (3, 6)), {"trans_b": True}, r"4 columns .*6 rows \(shape \(3, 6\)\)"),
        (((3, 4), (4, 6)), {"trans_a": True}, r"3 columns \(shape \(3, 4\)\).*4 rows"),
        (((4,), (4, 6)), {}, r"a must have 2 dimensions, got 1 in shape \(4,\)"),
        (((2, 3, 4), (4, 6)), {}, r"a must have 2 dimensions, got 3 in shape \(2, 3, 4\)"),
        (((3, 4), (4,)), {}, r"b must have 2 dimensions, got 1"),
        (((3, 4), (4, 6), (3, 5)), {}, r"c has shape \(3, 5\), expected \(3, 6\)"),
        (((3, 4), (4, 6), (18,)), {}, r"c has shape \(18,\), expected \(3, 6\)"),
        (((3, 4), (4, 6), (3, 6), (3,)), {}, r"bias has shape \(3,\), expected \(6,\)"),
        (((3, 4), (4, 6), (3, 6), (1, 6)), {}, r"bias has shape \(1, 6\), expected \(6,\)"),
        (((3, 4), (4, 6), (3, 6)), {"activation": "tanh"}, r"one of 'relu', got 'tanh'"),
        (((3, 4), (4, 6)), {"beta": 0.5}, r"beta is 0.5.* but c is None"),
    ],
)
def test_wrong_arguments_name_both_values_and_write_nothing(dtype, rng, shapes, options, message):
    operands = [normal(rng, *shape, dtype=dtype) for shape in shapes]
    names = dict(zip(("a", "b", "c", "bias"), operands, strict=False))
    before = [x.copy() for x in operands]
    with pytest.raises(ValueError, match=message):
        _core.gemm(**names, **options)
    assert all(bits(x) == bits(y) for x, y in zip(operands, before, strict=True))


def test_mixed_dtypes_are_refused(rng):
    a, b = normal(rng, 3, 4, dtype=np.float32), normal(rng, 4, 5, dtype=np.float64)
    with pytest.raises(TypeError, match="a is float32 but b is float64"):
        _core.gemm(a, b)
    c = np.zeros((3, 5))
    with pytest.raises(TypeError, match="c is float64 but the inputs are float32"):
        _core.gemm(a, b.astype(np.float32), c)
    with pytest.raises(TypeError, match="bias is float64 but a is float32"):
        _core.gemm(a, b.astype(np.float32), bias=np.zeros(5))


def test_other_wrong_types(dtype, rng):
    a, b = normal(rng, 3, 4, dtype=dtype), normal(rng, 4, 5, dtype=dtype)
    with pytest.raises(TypeError, match="a must be an array, got None"):
        _core.gemm(None, b)
    with pytest.raises(TypeError, match=r"c must be a numpy\.ndarray .* got list"):
        _core.gemm(a, b, [[0.0] * 5] * 3)
    with pytest.raises(TypeError, match="activation must be None or 'relu', got bool"):
        _core.gemm(a, b, activation=True)
    c = np.zeros((3, 5), dtype)
    c.flags.writeable = False
    with pytest.raises(ValueError, match="c is read-only"):
        _core.gemm(a, b, c)
    assert not c.any()
