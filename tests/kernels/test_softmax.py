"""Softmax and softmax cross-entropy: the bounds on their error, special values, wrong arguments."""

import itertools

import numpy as np
import pytest

from fastbn import _core

from .arrays import bits, normal
from .bounds import gamma, oracle_dtype, smallest, unit_roundoff
from .softmax_checks import Loss, Row, drawn, roundings_of_a_row_sum

COLS = (*range(1, 71), 255, 256, 257, 300, 512, 513, 2000)
SMOOTHING = (0.0, 0.1, 1.0)


# -- softmax ---------------------------------------------------------------------------------------


def test_softmax_error_bound(target, dtype, rng):
    for cols in COLS:
        x = drawn(rng, 20, cols, dtype)
        got = _core.softmax(x)
        row = Row(x, target)
        assert got.dtype == dtype
        assert (abs(got - row.y) <= row.bound()).all(), cols
        assert (abs(got.sum(-1, dtype=np.float64) - 1) <= row.bound().sum(-1) + 1e-15 * cols).all()


def test_softmax_backward_error_bound(target, dtype, rng):
    u = unit_roundoff(dtype)
    for cols in COLS:
        y, dy = _core.softmax(drawn(rng, 20, cols, dtype)), normal(rng, 20, cols, dtype=dtype)
        wide_y, wide_dy = (a.astype(oracle_dtype(dtype)) for a in (y, dy))
        dot = (wide_dy * wide_y).sum(-1, keepdims=True)
        exact = wide_y * (wide_dy - dot)
        relative = gamma(roundings_of_a_row_sum(cols, target, dtype) + 1, dtype) * 1.001
        e_dot = relative * abs(wide_dy * wide_y).sum(-1, keepdims=True) + u * abs(dot)
        bound = wide_y * (e_dot + u * abs(wide_dy - dot)) + 2 * u * abs(exact) + cols * u * u
        got = _core.softmax_backward(dy, y)
        assert (abs(got - exact) <= bound * 1.001 + 2 * smallest(dtype)).all(), cols


def test_softmax_gradient_is_that_of_the_forward_pass(target, rng):
    x, dy = rng.standard_normal((5, 17)), rng.standard_normal((5, 17))
    dx = _core.softmax_backward(dy, _core.softmax(x))
    step = 1e-6
    for j in range(17):
        h = np.zeros(17)
        h[j] = step
        slope = (dy * (_core.softmax(x + h) - _core.softmax(x - h))).sum(-1) / (2 * step)
        np.testing.assert_allclose(dx[:, j], slope, rtol=1e-3, atol=1e-5)


def test_softmax_of_special_rows(target, dtype):
    inf, nan = np.inf, np.nan
    for cols, place in itertools.product((1, 2, 10, 16, 17, 40, 300), (0, 1, 9, 16, 39, 299)):
        if place >= cols:
            continue
        x = np.zeros((3, cols), dtype)
        x[1] = -inf
        x[1, place] = 5  # one finite element among -inf
        expected = np.zeros(cols, dtype)
        expected[place] = 1
        y = _core.softmax(x)
        np.testing.assert_array_equal(y[1], expected)
        np.testing.assert_array_equal(y[[0, 2]], _core.softmax(x[[0, 2]]))
        for poison in (nan, inf):
            x[1] = 0
            x[1, place] = poison
            y = _core.softmax(x)
            assert np.isnan(y[1]).all()
            assert np.isfinite(y[[0, 2]]).all()
        x[1] = -inf
        assert np.isnan(_core.softmax(x)[1]).all()
        x[1] = np.finfo(dtype).max
        x[1, place] = -np.finfo(dtype).max
        y = _core.softmax(x)[1]
        if cols > 1:
            assert y[place] == 0
            assert (abs(np.delete(y, place) - 1 / (cols - 1)) <= np.finfo(dtype).eps).all()


def test_softmax_underflows_gradually(target, dtype):
    lowest = -103.0 if dtype == np.float32 else -744.0
    x = np.linspace(lowest, lowest + 20, 2000).astype(dtype)[None]
    x[0, 1234] = 0
    y = _core.softmax(x)
    assert 0 < y[0, 0] < np.finfo(dtype).tiny
    row = Row(x, target)
    assert (abs(y - row.y) <= row.bound()).all()
    assert _core.softmax(np.array([[0, -1000]], dtype))[0, 1] == 0


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (1,), (2, 0, 4), (2, 3, 4, 5)])
def test_softmax_of_any_shape(target, dtype, rng, shape):
    x = rng.standard_normal(shape).astype(dtype)
    y = _core.softmax(x)
    assert y.shape == shape
    if x.size:
        rows = _core.softmax(x.reshape(-1, shape[-1]))
        assert bits(y) == bits(rows)
    assert _core.softmax_backward(x, y).shape == shape


# -- cross-entropy ---------------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", SMOOTHING)
def test_cross_entropy_error_bound(target, dtype, rng, smoothing):
    for cols in COLS:
        rows = int(rng.integers(1, 40))
        x, labels = drawn(rng, rows, cols, dtype), rng.integers(cols, size=rows)
        loss, cache = _core.cross_entropy(x, labels, label_smoothing=smoothing)
        exact = Loss(x, labels, smoothing, target)
        assert isinstance(loss, float)
        mean, bound = exact.losses.mean(), exact.loss_bound.mean()
        assert abs(loss - mean) <= bound + gamma(rows + 2, np.float64) * abs(mean), cols
        gradient = _core.cross_entropy_backward(cache)
        assert gradient.dtype == dtype
        assert (abs(gradient - exact.gradient) <= exact.gradient_bound).all(), cols


@pytest.mark.parametrize("smoothing", SMOOTHING)
def test_cross_entropy_gradient_is_that_of_the_loss(target, rng, smoothing):
    x, labels = rng.standard_normal((4, 11)), rng.integers(11, size=4)
    _, cache = _core.cross_entropy(x, labels, label_smoothing=smoothing)
    gradient = _core.cross_entropy_backward(cache)
    step = 1e-5
    for position in np.ndindex(x.shape):
        h = np.zeros_like(x)
        h[position] = step
        plus, minus = (
            _core.cross_entropy(x + s * h, labels, label_smoothing=smoothing)[0] for s in (1, -1)
        )
        np.testing.assert_allclose(
            gradient[position], (plus - minus) / (2 * step), rtol=1e-3, atol=1e-5
        )


def test_float32_gradient_against_float64(target, rng):
    x, labels = rng.standard_normal((64, 10)) * 5, rng.integers(10, size=64)
    wide, narrow = (
        _core.cross_entropy_backward(_core.cross_entropy(x.astype(d), labels)[1])
        for d in (np.float64, np.float32)
    )
    assert np.linalg.norm(narrow - wide) <= 1e-5 * np.linalg.norm(wide)


def test_large_offsets_cost_no_digits(target, dtype):
    """Logits beside 10^4 that floats hold exactly: as if the offset were not there."""
    x = np.arange(-40, 41, dtype=dtype).reshape(9, 9) / 8
    labels = np.arange(9)
    near, near_cache = _core.cross_entropy(x, labels, label_smoothing=0.1)
    far, far_cache = _core.cross_entropy(x + dtype(1e4), labels, label_smoothing=0.1)
    assert near == far
    assert bits(_core.cross_entropy_backward(near_cache)) == bits(
        _core.cross_entropy_backward(far_cache)
    )


def test_cross_entropy_of_known_values(target, dtype):
    """Equal logits give log(classes); a sure right answer 0; a sure wrong one the distance."""
    u = np.finfo(dtype).eps
    for classes in (1, 2, 10, 100, 1000):
        loss, _ = _core.cross_entropy(np.zeros((3, classes), dtype), np.zeros(3, np.int8))
        assert abs(loss - np.log(classes)) <= u * np.log(classes)
    x = np.zeros((1, 10), dtype)
    x[0, 3] = 200
    assert _core.cross_entropy(x, [3])[0] == 0
    assert _core.cross_entropy(x, [4])[0] == 200
    assert _core.cross_entropy(x, [4], label_smoothing=1.0)[0] == pytest.approx(
        180, rel=4 * float(u)
    )


def test_cross_entropy_of_special_rows(target, dtype):
    inf, nan = np.inf, np.nan
    for place in (0, 3, 9):
        x = np.zeros((3, 10), dtype)
        x[1, place] = -inf
        label = (place + 1) % 10
        loss, cache = _core.cross_entropy(x, [0, label, 0])
        expected = (2 * np.log(10) + np.log(9)) / 3
        assert abs(loss - expected) <= 4 * np.finfo(dtype).eps
        gradient = _core.cross_entropy_backward(cache)
        assert np.isfinite(gradient).all()
        assert gradient[1, place] == 0
        assert _core.cross_entropy(x, [0, place, 0])[0] == inf
        assert _core.cross_entropy(x, [0, label, 0], label_smoothing=0.1)[0] == inf
        for poison in (nan, inf):
            x[1, place] = poison
            loss, cache = _core.cross_entropy(x, [0, 0, 0])
            gradient = _core.cross_entropy_backward(cache)
            assert np.isnan(loss)
            assert np.isnan(gradient[1]).all()
            assert np.isfinite(gradient[[0, 2]]).all()


@pytest.mark.parametrize("kind", "bBhHiIlLqQ")
def test_labels_of_any_integer_dtype(dtype, rng, kind):
    x, labels = normal(rng, 50, 10, dtype=dtype), rng.integers(10, size=50)
    loss, cache = _core.cross_entropy(x, labels)
    for view in (labels.astype(kind), np.repeat(labels, 2).astype(kind)[::2]):
        other, other_cache = _core.cross_entropy(x, view)
        assert other == loss
        assert bits(_core.cross_entropy_backward(other_cache)) == bits(
            _core.cross_entropy_backward(cache)
        )


def test_changing_the_labels_afterwards_changes_nothing(dtype, rng):
    x, labels = normal(rng, 50, 10, dtype=dtype), rng.integers(10, size=50)
    _, cache = _core.cross_entropy(x, labels)
    expected = bits(_core.cross_entropy_backward(cache))
    labels[:] = 1 << 40  # would be written to
    assert bits(_core.cross_entropy_backward(cache)) == expected


# -- arguments -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([0, 1, 10], ValueError, r"label 10 of row 2 is outside 0\.\.9, .* 10 classes .*\(3, 10\)"),
        ([0, -1, 2], ValueError, r"label -1 of row 1 is outside 0\.\.9"),
        ([0, 1], ValueError, r"labels has shape \(2,\), expected \(3,\): .*shape \(3, 10\)"),
        ([[0], [1], [2]], ValueError, r"labels has shape \(3, 1\), expected \(3,\)"),
        ([0.0, 1.0, 2.0], TypeError, "labels must be of an integer dtype, got float64"),
        ([True, False, True], TypeError, "labels must be of an integer dtype, got bool"),
        (None, TypeError, "labels must be an array, got None"),
    ],
)
def test_wrong_labels(dtype, labels, error, message):
    with pytest.raises(error, match=message):
        _core.cross_entropy(np.zeros((3, 10), dtype), labels)


def test_wrong_arguments_name_both_values_and_write_nothing(dtype):
    x, out = np.zeros((3, 10), dtype), np.full((3, 10), 7, dtype)
    other = np.float64 if dtype == np.float32 else np.float32
    labels = np.arange(3)
    with pytest.raises(ValueError, match=r"mean of no rows .*\(0, 10\)"):
        _core.cross_entropy(x[:0], labels[:0])
    with pytest.raises(ValueError, match=r"label 0 of row 0 is outside 0\.\.-1, the 0 classes"):
        _core.cross_entropy(x[:, :0], labels)
    with pytest.raises(ValueError, match=r"logits must have 2 dimensions, got 1 in shape \(10,\)"):
        _core.cross_entropy(x[0], labels)
    for smoothing in (-0.1, 1.5, np.nan):
        with pytest.raises(
            ValueError, match=f"label_smoothing must be from 0 to 1, got {smoothing}"
        ):
            _core.cross_entropy(x, labels, label_smoothing=smoothing)
    with pytest.raises(TypeError, match="logits must be float32 or float64, got int64"):
        _core.cross_entropy(x.astype(np.int64), labels)
    _, cache = _core.cross_entropy(x, labels)
    with pytest.raises(ValueError, match="out overlaps the logits"):
        _core.cross_entropy_backward(cache, x)
    with pytest.raises(ValueError, match=r"out has shape \(10, 3\), expected \(3, 10\)"):
        _core.cross_entropy_backward(cache, out.T)
    with pytest.raises(TypeError, match=r"out is float.. but the inputs are float"):
        _core.cross_entropy_backward(cache, out.astype(other))
    with pytest.raises(ValueError, match=r"x must have at least 1 dimension, got shape \(\)"):
        _core.softmax(dtype(1))
    with pytest.raises(ValueError, match=r"dy has shape \(3, 10\), expected \(10, 3\)"):
        _core.softmax_backward(x, x.T, out)
    with pytest.raises(TypeError, match=r"dy is float.. but y is float"):
        _core.softmax_backward(x, x.astype(other), out)
    assert (out == 7).all()
    assert not x.any()
