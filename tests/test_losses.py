import copy

import numpy as np
import pytest

from fastbn import _core
from fastbn.losses import BCEWithLogitsLoss, CrossEntropyLoss, MSELoss

DTYPES = [np.float32, np.float64]


def cross_entropy(z, t, smoothing=0.0):
    n, classes = z.shape
    z = z.astype(np.float64)
    target = np.full((n, classes), smoothing / classes)
    target[np.arange(n), t] += 1 - smoothing
    shifted = z - z.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return -(target * log_p).sum() / n, (np.exp(log_p) - target) / n


def mse(z, t):
    d = z.astype(np.float64) - t
    return np.mean(d * d), 2 * d / d.size


def bce(z, t):
    z, t = z.astype(np.float64), t.astype(np.float64)
    s = 1 / (1 + np.exp(-z))
    return np.mean(-t * np.log(s) - (1 - t) * np.log1p(-s)), (s - t) / s.size


def labels(rng, shape, dtype):
    return rng.integers(0, shape[1], shape[0])


def values(rng, shape, dtype):
    return rng.random(shape).astype(dtype)


CASES = [
    pytest.param(CrossEntropyLoss(), cross_entropy, labels, id="cross-entropy"),
    pytest.param(
        CrossEntropyLoss(0.2), lambda z, t: cross_entropy(z, t, 0.2), labels, id="smoothed"
    ),
    pytest.param(MSELoss(), mse, values, id="mse"),
    pytest.param(BCEWithLogitsLoss(), bce, values, id="bce"),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("loss", "oracle", "targets"), CASES)
@pytest.mark.parametrize("shape", [(1, 2), (7, 5), (64, 10)])
def test_loss_and_gradient(rng, loss, oracle, targets, dtype, shape):
    z = (2 * rng.standard_normal(shape)).astype(dtype)
    t = targets(rng, shape, dtype)
    expected, gradient = oracle(z, t)
    # A term is a handful of roundings of numbers up to max(abs(z)) + log(classes) + 1.
    u = np.finfo(dtype).eps / 2
    size = np.abs(z).max() + np.log(shape[1]) + 1
    assert abs(loss(z, t) - expected) <= 32 * u * size**2
    dz = loss.backward()
    assert dz.shape == shape
    assert dz.dtype == dtype
    assert np.abs(dz - gradient).max() <= 32 * u * size / shape[0]


@pytest.mark.parametrize(("loss", "oracle", "targets"), CASES)
def test_gradient_is_that_of_the_loss(rng, loss, oracle, targets):
    z = rng.standard_normal((4, 3))
    t = targets(rng, z.shape, z.dtype)
    expected = np.empty_like(z)
    for i in np.ndindex(z.shape):
        old = z[i]
        z[i] = old + 1e-6
        above = loss(z, t)
        z[i] = old - 1e-6
        expected[i] = (above - loss(z, t)) / 2e-6
        z[i] = old
    loss(z, t)
    np.testing.assert_allclose(loss.backward(), expected, atol=1e-5, rtol=1e-3)


def test_losses_by_hand():
    # Two equal scores: log 2, softmax 1/2.
    loss = CrossEntropyLoss()
    assert loss(np.zeros((1, 2)), np.array([1])) == pytest.approx(np.log(2), rel=1e-15)
    np.testing.assert_allclose(loss.backward(), [[0.5, -0.5]], rtol=1e-15)
    # ((1 - 0)^2 + (3 - 1)^2) / 2, over elements and not over rows.
    loss = MSELoss()
    assert loss(np.array([[1.0, 3.0]]), np.array([[0.0, 1.0]])) == 2.5
    np.testing.assert_array_equal(loss.backward(), [[1.0, 2.0]])
    # A score of 0 is a probability of one half.
    loss = BCEWithLogitsLoss()
    assert loss(np.zeros(3), np.array([0.0, 1.0, 0.5])) == pytest.approx(np.log(2), rel=1e-15)
    np.testing.assert_allclose(loss.backward(), np.array([0.5, -0.5, 0.0]) / 3, rtol=1e-15)


def test_the_result_is_a_float(rng):
    for loss, _, targets in (case.values for case in CASES):
        z = rng.standard_normal((4, 3)).astype(np.float32)
        assert type(loss.forward(z, targets(rng, z.shape, z.dtype))) is float


@pytest.mark.parametrize("dtype", DTYPES)
def test_large_scores_do_not_overflow(dtype):
    z = np.array([[1e4, -1e4], [-1e4, 1e4]], dtype)
    for loss, t, expected in [
        (CrossEntropyLoss(), np.array([0, 0]), 1e4),
        (BCEWithLogitsLoss(), np.array([[1, 0], [1, 0]], dtype), 5e3),
    ]:
        assert loss(z, t) == pytest.approx(expected)
        assert np.isfinite(loss.backward()).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32, np.uint64, np.intp])
def test_labels_of_any_integer_dtype(rng, dtype):
    z = rng.standard_normal((5, 3))
    t = np.array([0, 2, 1, 1, 0])
    assert CrossEntropyLoss()(z, t.astype(dtype)) == CrossEntropyLoss()(z, t)


def test_gradients_are_the_callers_to_keep(rng):
    for loss, _, targets in (case.values for case in CASES):
        kept = []
        for n in (4, 4, 2, 6):
            z = rng.standard_normal((n, 3)).astype(np.float32)
            loss(z, targets(rng, z.shape, z.dtype))
            dz = loss.backward()
            kept.append((dz, dz.copy()))
        for array, copied in kept:
            np.testing.assert_array_equal(array, copied)


def test_backward_needs_a_forward(rng):
    for loss, _, targets in (case.values for case in CASES):
        z = rng.standard_normal((4, 3))
        fresh = copy.deepcopy(loss)
        with pytest.raises(RuntimeError, match="forward"):
            fresh.backward()
        fresh(z, targets(rng, z.shape, z.dtype))
        fresh.backward()
        with pytest.raises(RuntimeError, match="forward"):
            copy.deepcopy(fresh).backward()


@pytest.mark.parametrize(
    ("t", "error", "message"),
    [
        (np.array([0, 1, 2]), ValueError, "2"),
        (np.array([0, 3]), ValueError, "3"),
        (np.array([0, -1]), ValueError, "-1"),
        (np.array([0.0, 1.0]), TypeError, "float64"),
        (np.array([[0], [1]]), ValueError, "2"),
    ],
)
def test_wrong_labels(t, error, message):
    loss, z = CrossEntropyLoss(), np.zeros((2, 3), np.float32)
    loss(z, np.array([0, 1]))
    with pytest.raises(error, match=message):
        loss(z, t)
    with pytest.raises(RuntimeError, match="forward"):
        loss.backward()


@pytest.mark.parametrize("loss", [MSELoss(), BCEWithLogitsLoss()])
@pytest.mark.parametrize(
    ("z", "t", "error", "message"),
    [
        (np.zeros((3, 1)), np.zeros(3), ValueError, r"\(3, 1\).*\(3,\)"),
        (np.zeros(3), np.zeros(3, np.float32), TypeError, "float64.*float32"),
        (np.zeros(3), np.zeros(3, np.int64), TypeError, "targets.*int64"),
        (np.zeros(3, np.int64), np.zeros(3), TypeError, "predictions.*int64"),
        (np.zeros(3), [0.0, 0.0, 0.0], TypeError, "targets.*list"),
        (np.zeros((0, 3)), np.zeros((0, 3)), ValueError, r"\(0, 3\)"),
    ],
)
def test_wrong_arrays(loss, z, t, error, message):
    with pytest.raises(error, match=message):
        loss(z, t)


def test_wrong_smoothing():
    for value in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match="label_smoothing"):
            CrossEntropyLoss(value)


@pytest.mark.parametrize("cache", [None, 3, "cache"])
def test_backward_refuses_what_is_no_cache(cache):
    with pytest.raises(TypeError, match="incompatible function arguments"):
        _core.cross_entropy_backward(cache)
