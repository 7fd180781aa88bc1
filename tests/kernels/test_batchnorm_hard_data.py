"""Data that batch norm is known to fail on: large means, constants, overflow, NaN, many rows."""

import itertools

import numpy as np
import pytest

from fastbn import _core

from . import oracles
from .arrays import bits, normal
from .batchnorm_checks import EPS, SHAPES, SMALL, check, parameters
from .bounds import gamma as gamma_n


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_exact_statistics(target, dtype, rng, shape, axis):
    """Pairs of values around an integer mean: mean and variance are exact in any order."""
    rows = int(np.prod(shape)) // shape[axis]
    channels = shape[axis]
    mean = rng.integers(-8, 9, channels)
    deviation = 2.0 ** rng.integers(-1, 3, channels)
    sign = np.where(np.arange(rows) % 2, -1, 1)[:, None] * rng.choice((-1, 1), channels)
    odd = rows % 2
    values = mean + deviation * sign
    if odd:  # the last value is the mean itself, and the variance no longer a power of two
        values[-1] = mean
    x = np.ascontiguousarray(oracles.shape_back(values, shape, axis)).astype(dtype)
    dy = rng.integers(-4, 5, shape).astype(dtype)
    p = parameters(rng, channels, dtype)
    running_mean, running_var = np.zeros(channels, dtype), np.zeros(channels, dtype)
    y, cache = _core.batch_norm(
        x, **p, running_mean=running_mean, running_var=running_var, training=True, momentum=1.0,
        axis=axis, unbiased=False,
    )  # fmt: skip
    var = deviation**2 * ((rows - odd) / rows)
    np.testing.assert_array_equal(cache.mean, mean)
    np.testing.assert_array_equal(running_mean, mean)
    np.testing.assert_array_equal(running_var, var.astype(dtype))
    exact = oracles.batch_norm(oracles.rows_of(x, axis), p["gamma"], p["beta"], EPS)
    dx, dgamma, dbeta = _core.batch_norm_backward(dy, cache)
    _, expected_dgamma, expected_dbeta = exact.backward(oracles.rows_of(dy, axis))
    if dtype == np.float32:
        assert (abs(oracles.rows_of(y, axis) - exact.y) <= 6e-7 * abs(exact.y).max()).all()
        for got, want in ((dgamma, expected_dgamma), (dbeta, expected_dbeta)):
            assert (abs(got - want) <= 5e-6 * max(abs(want).max(), 1)).all()
    np.testing.assert_array_equal(dbeta, expected_dbeta.astype(dtype))


@pytest.mark.parametrize("offset", [0, 1, 100, 1e4, 1e6, -1e6])
@pytest.mark.parametrize("std", [0.1, 1.0])
def test_cancellation(target, dtype, rng, offset, std):
    """A mean that is large beside the deviation costs no digit of the variance."""
    for shape, axis in (((1000, 5), 1), ((10, 3, 100), 1)):
        x = (rng.standard_normal(shape) * std + offset).astype(dtype)
        p = parameters(rng, shape[axis], dtype)
        check(x, axis, p, normal(rng, *shape, dtype=dtype), activation="relu")
        var = np.zeros(shape[axis], dtype)
        _core.batch_norm(
            x, **p, running_mean=var.copy(), running_var=var, training=True, momentum=1.0,
            axis=axis, unbiased=False,
        )  # fmt: skip
        exact = oracles.batch_norm(oracles.rows_of(x, axis), p["gamma"], p["beta"], EPS)
        assert (var >= 0).all()
        assert (abs(var - exact.var) <= 1e-6 * exact.var).all()


@pytest.mark.parametrize("value", [0.0, 1 / 3, -1 / 3, 1e7, 1e-7, -1e30, 1e-40])
@pytest.mark.parametrize("eps", [EPS, 0.0])
def test_constant_channels_give_beta(target, dtype, rng, value, eps):
    for shape, axis in (((2, 5), 1), ((33, 70), 1), ((1000, 17), 1), ((5, 33, 27), 1), ((3, 9), 0)):
        p = parameters(rng, shape[axis], dtype)
        mean, var = np.zeros((2, shape[axis]), dtype)
        y, cache = _core.batch_norm(
            np.full(shape, value, dtype), **p, running_mean=mean, running_var=var, training=True,
            momentum=1.0, eps=eps, axis=axis,
        )  # fmt: skip
        np.testing.assert_array_equal(
            y,
            oracles.shape_back(
                np.broadcast_to(p["beta"], oracles.rows_of(y, axis).shape), shape, axis
            ),
        )
        np.testing.assert_array_equal(mean, dtype(value))
        np.testing.assert_array_equal(var, 0)
        dx, dgamma, dbeta = _core.batch_norm_backward(normal(rng, *shape, dtype=dtype), cache)
        assert all(np.isfinite(g).all() for g in (dx, dgamma, dbeta))
        np.testing.assert_array_equal(dgamma, 0)


def test_inference_without_variance_and_eps_is_finite(target, dtype, rng):
    x, p = normal(rng, 9, 20, dtype=dtype), parameters(rng, 20, dtype)
    zero = np.zeros(20, dtype)
    y, _ = _core.batch_norm(x, **p, running_mean=zero, running_var=zero, training=False, eps=0.0)
    np.testing.assert_array_equal(y, np.broadcast_to(p["beta"], x.shape))


@pytest.mark.parametrize(("shape", "axis"), SMALL)
def test_huge_values_stay_finite(target, dtype, rng, shape, axis):
    p, dy = parameters(rng, shape[axis], dtype), normal(rng, *shape, dtype=dtype)
    for spread in (0.0, 1e-6, 1.0):
        x = (1e30 * (1 + spread * rng.standard_normal(shape))).astype(dtype)
        y, cache = _core.batch_norm(x, **p, training=True, axis=axis)
        assert np.isfinite(y).all()
        assert np.isfinite(cache.mean).all()
        assert all(np.isfinite(g).all() for g in _core.batch_norm_backward(dy, cache))


@pytest.mark.parametrize(("shape", "axis"), SMALL)
def test_huge_values_are_normalized_though_their_squares_overflow(target, rng, shape, axis):
    x = rng.standard_normal(shape).astype(np.float32)
    p = parameters(rng, shape[axis], np.float32)
    huge = np.ldexp(x, 100)  # a power of two: exact, so the answer is that of x but for eps
    expected, _ = _core.batch_norm(x, **p, training=True, axis=axis, eps=0.0)
    y, _ = _core.batch_norm(huge, **p, training=True, axis=axis, eps=0.0)
    # The variances differ by the rounding of 32-term sums, each way: gamma_34 relative to xhat.
    bound = 2 * gamma_n(34, np.float32) * (np.abs(expected) + 2 * np.abs(p["beta"]).max())
    assert (np.abs(y - expected) <= bound).all()


def test_a_million_rows(target, rng):
    x = rng.standard_normal((1_000_000, 3), np.float32) + np.float32([0, 3, 1000])
    p = parameters(rng, 3, np.float32)
    bounds = check(x, 1, p, rng.standard_normal(x.shape, np.float32))
    exact = oracles.batch_norm(x, p["gamma"], p["beta"], EPS)
    mean, var = np.zeros((2, 3), np.float32)
    _core.batch_norm(
        x, **p, running_mean=mean, running_var=var, training=True, momentum=1.0, unbiased=False
    )
    # The bound grows by nothing with the rows: it stays that of groups of 32.
    assert (bounds.var <= 5e-6 * exact.var).all()
    assert (abs(var - exact.var) <= 1e-6 * exact.var).all()
    assert (abs(mean - exact.mean) <= 1e-6 * (1 + abs(exact.mean))).all()


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize(("shape", "axis"), SMALL)
def test_poison_stays_in_its_channel(target, dtype, rng, shape, axis, poison, activation):
    x, dy = normal(rng, *shape, dtype=dtype), normal(rng, *shape, dtype=dtype)
    channels = shape[axis]
    p = parameters(rng, channels, dtype)

    def run(x: np.ndarray, dy: np.ndarray) -> list[np.ndarray]:
        mean, var = np.zeros((2, channels), dtype)
        y, cache = _core.batch_norm(
            x, **p, running_mean=mean, running_var=var, training=True, axis=axis,
            activation=activation,
        )  # fmt: skip
        dx, dgamma, dbeta = _core.batch_norm_backward(dy, cache)
        return [
            a[None] if a.ndim == 1 else oracles.rows_of(a, axis)
            for a in (y, mean, var, dx, dgamma, dbeta)
        ]

    clean = run(x, dy)
    rows = x.size // channels
    for row, channel in itertools.product((0, rows // 2, rows - 1), range(channels)):
        values = oracles.rows_of(x, axis).copy()
        values[row, channel] = poison
        got = run(np.ascontiguousarray(oracles.shape_back(values, shape, axis)), dy)
        y, mean, var, dx, dgamma, _ = (a[:, channel] for a in got)
        assert np.isnan(y).all()
        assert not np.isfinite(mean).any()
        assert not np.isfinite(var).any()
        assert np.isnan(dx).all()
        assert np.isnan(dgamma).all()
        others = [i for i in range(channels) if i != channel]
        for a, b in zip(got, clean, strict=True):
            assert bits(a[:, others]) == bits(b[:, others])


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("shape", "axis"), SMALL)
def test_poison_stays_in_its_element_in_inference(target, dtype, rng, shape, axis, poison):
    x, channels = normal(rng, *shape, dtype=dtype), shape[axis]
    p = parameters(rng, channels, dtype)
    mean, var = normal(rng, channels, dtype=dtype), rng.random(channels).astype(dtype)

    def run(x: np.ndarray) -> np.ndarray:
        return _core.batch_norm(
            x, **p, running_mean=mean, running_var=var, training=False, axis=axis, activation="relu"
        )[0]

    clean = run(x)
    for flat in range(0, x.size, 7):
        y = x.copy()
        y.flat[flat] = poison
        got = run(y)
        channel = np.unravel_index(flat, shape)[axis]
        with np.errstate(invalid="ignore"):
            expected = oracles.relu(dtype(poison) * p["gamma"][channel])
        np.testing.assert_array_equal(got.flat[flat], expected)
        assert bits(np.delete(got, flat)) == bits(np.delete(clean, flat))


@pytest.mark.parametrize(("shape", "axis"), SMALL)
def test_poisoned_gradients_pass_relu_as_they_would_a_mask(target, dtype, rng, shape, axis):
    """A NaN in dy reaches its channel where y was positive, and nothing where ReLU cut y."""
    x, dy = normal(rng, *shape, dtype=dtype), normal(rng, *shape, dtype=dtype)
    p = parameters(rng, shape[axis], dtype)
    y, cache = _core.batch_norm(x, **p, training=True, axis=axis, activation="relu")
    for flat in (0, x.size // 3, x.size - 1):
        poisoned = dy.copy()
        poisoned.flat[flat] = np.nan
        channel = np.unravel_index(flat, shape)[axis]
        _, dgamma, dbeta = _core.batch_norm_backward(poisoned, cache)
        reached = y.flat[flat] > 0
        assert np.isnan(dbeta[channel]) == np.isnan(dgamma[channel]) == reached
        assert np.isnan(dbeta).sum() == reached
