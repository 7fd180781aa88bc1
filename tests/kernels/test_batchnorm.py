"""Batch norm: error bounds, hard data, running statistics, and what must not change a bit.

Sizes are around what the kernels are cut into: registers of 1 to 16 lanes, four of them at a time,
groups of 32 rows, panels of channels that fit a cache.
"""

import itertools
import sys
from typing import Any

import numpy as np
import pytest

from fastbn import _core

from . import guard_pages, oracles
from .bounds import BatchNormBounds, batch_norm_bounds, oracle_dtype, unit_roundoff
from .bounds import gamma as gamma_n
from .differences import assert_gradients
from .memory import LAYOUTS, WRITABLE, Padded, at_offset

THREADS = (1, 2, 3, 7)
EPS = 1e-5

# (N, C), N-C-L, NCHW and NHWC; those that have found bugs in another library are marked.
SHAPES = [
    ((2, 1), 1), ((2, 5), 1), ((3, 16), 1), ((31, 17), 1), ((33, 70), 1), ((65, 64), 1),
    ((100, 23), 1),  # marked: 23 channels
    ((4, 23, 3, 3), 1), ((3, 5, 3, 23), -1),  # marked: 23 channels
    ((5, 33, 27), 1),  # marked
    ((4, 200, 17, 16), 1),  # marked
    ((2, 251, 28), 1),  # marked
    ((8, 322, 16), 1),  # marked
    ((12, 4, 8), 1),  # marked
    ((1, 24, 14), 1),  # marked
    ((5, 27, 33), -1), ((2, 28, 251), -1), ((8, 16, 322), 2), ((2, 17, 16, 40), -1),
    ((1, 3, 65), 1), ((7, 3, 129), 1), ((2, 3, 1, 1), 1), ((1, 2, 1000), 1), ((4, 3, 2, 5, 6), 1),
    ((3, 4, 5), 0), ((2, 3, 4, 6), 2),
]  # fmt: skip
SMALL = [((33, 70), 1), ((5, 33, 27), 1), ((3, 5, 3, 23), -1), ((2, 3, 4, 6), 2)]


def bits(a: np.ndarray) -> bytes:
    return np.ascontiguousarray(a).tobytes()


def normal(rng: np.random.Generator, *shape: int, dtype: Any) -> np.ndarray:
    return rng.standard_normal(shape).astype(dtype)


def parameters(rng: np.random.Generator, channels: int, dtype: Any) -> dict[str, np.ndarray]:
    return {
        "gamma": normal(rng, channels, dtype=dtype) + dtype(0.5),
        "beta": normal(rng, channels, dtype=dtype),
    }


def within(got: np.ndarray, exact: np.ndarray, bound: np.ndarray, what: str) -> None:
    error = abs(got - exact)
    assert (error <= bound).all(), (
        f"{what}: error {error.max():.3g}, {(error / np.maximum(bound, 1e-300)).max():.3g} times "
        "the bound"
    )


def check(
    x: np.ndarray,
    axis: int,
    p: dict[str, np.ndarray],
    dy: np.ndarray,
    *,
    eps: float = EPS,
    activation: str | None = None,
) -> BatchNormBounds:
    """One training pass forward and backward, each result within its bound."""
    channels, dtype = x.shape[axis], x.dtype.type
    running_mean, running_var = np.zeros(channels, dtype), np.zeros(channels, dtype)
    y, cache = _core.batch_norm(
        x, p["gamma"], p["beta"], running_mean, running_var, training=True, momentum=1.0, eps=eps,
        axis=axis, unbiased=False, activation=activation,
    )  # fmt: skip
    dx, dgamma, dbeta = _core.batch_norm_backward(dy, cache)
    assert y.dtype == dx.dtype == dgamma.dtype == dbeta.dtype == dtype
    assert y.shape == dx.shape == x.shape

    rows, y_rows = (oracles.rows_of(a, axis) for a in (x, y))
    wide = oracle_dtype(dtype)
    exact = oracles.batch_norm(rows, p["gamma"], p["beta"], eps)
    g = oracles.rows_of(dy, axis).astype(wide)
    expected_y = exact.y
    if activation:
        g, expected_y = np.where(y_rows <= 0, 0, g), oracles.relu(exact.y)
    bounds = batch_norm_bounds(
        exact.x, exact.weight, exact.shift, eps, cache.mean.astype(wide), dtype, g=g,
        inner=oracles.inner_of(x.shape, axis),
    )  # fmt: skip
    within(cache.mean, exact.mean, bounds.mean, "mean")
    within(running_mean, exact.mean, bounds.total_mean, "running mean")
    within(running_var, exact.var, bounds.var, "variance")
    within(cache.invstd, exact.invstd, bounds.invstd, "invstd")
    within(y_rows, expected_y, bounds.y, "y")
    expected_dx, expected_dgamma, expected_dbeta = exact.backward(g)
    within(dbeta, expected_dbeta, bounds.dbeta, "dbeta")
    within(dgamma, expected_dgamma, bounds.dgamma, "dgamma")
    within(oracles.rows_of(dx, axis), expected_dx, bounds.dx, "dx")
    return bounds


# -- the bound on the error ------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_error_bound_in_training(target, dtype, rng, shape, axis):
    x, dy = normal(rng, *shape, dtype=dtype) * 3 + dtype(1), normal(rng, *shape, dtype=dtype)
    p = parameters(rng, shape[axis], dtype)
    for activation in (None, "relu"):
        check(x, axis, p, dy, activation=activation)


def test_error_bound_around_every_edge(target, dtype, rng):
    edges = sorted({n * w + d for w in (1, 2, 4, 8, 16) for n in (1, 4) for d in (-1, 0, 1)} - {0})
    for width in edges:
        p, pair = parameters(rng, width, dtype), parameters(rng, 2, dtype)
        for rows in (2, 31, 32, 33, 64, 65):
            check(
                *(normal(rng, rows, width, dtype=dtype), 1),
                p,
                normal(rng, rows, width, dtype=dtype),
            )
        for outer in (2, 33):
            x, dy = (normal(rng, outer, 2, width, dtype=dtype) for _ in range(2))
            check(x, 1, pair, dy, activation="relu")


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_error_bound_in_inference(target, dtype, rng, shape, axis):
    x, dy = normal(rng, *shape, dtype=dtype) * 3 + dtype(1), normal(rng, *shape, dtype=dtype)
    channels, wide = shape[axis], oracle_dtype(dtype)
    p = parameters(rng, channels, dtype)
    mean, var = normal(rng, channels, dtype=dtype), rng.random(channels).astype(dtype)
    for activation in (None, "relu"):
        y, cache = _core.batch_norm(
            x, **p, running_mean=mean, running_var=var, training=False, axis=axis,
            activation=activation,
        )  # fmt: skip
        dx, dgamma, dbeta = _core.batch_norm_backward(dy, cache)
        rows, y_rows, dx_rows = (oracles.rows_of(a, axis) for a in (x, y, dx))
        exact = oracles.batch_norm(rows, p["gamma"], p["beta"], EPS, mean, var)
        g = oracles.rows_of(dy, axis).astype(wide)
        expected_y = exact.y
        if activation:
            g, expected_y = np.where(y_rows <= 0, 0, g), oracles.relu(exact.y)
        bounds = batch_norm_bounds(
            exact.x, exact.weight, exact.shift, EPS, exact.mean, dtype, var=exact.var, g=g
        )
        within(y_rows, expected_y, bounds.y, "y")
        expected_dx, expected_dgamma, expected_dbeta = exact.backward(g)
        within(dx_rows, expected_dx, bounds.dx, "dx")
        within(dgamma, expected_dgamma, bounds.dgamma, "dgamma")
        within(dbeta, expected_dbeta, bounds.dbeta, "dbeta")


def test_gamma_and_beta_may_be_left_out(target, dtype, rng):
    x, dy = normal(rng, 33, 20, dtype=dtype), normal(rng, 33, 20, dtype=dtype)
    one, zero = np.ones(20, dtype), np.zeros(20, dtype)
    for gamma, beta in itertools.product((None, one), (None, zero)):
        y, cache = _core.batch_norm(x, gamma, beta, training=True)
        expected, full = _core.batch_norm(x, one, zero, training=True)
        assert bits(y) == bits(expected)
        for got, want in zip(
            _core.batch_norm_backward(dy, cache), _core.batch_norm_backward(dy, full), strict=True
        ):
            assert bits(got) == bits(want)


def test_layouts_agree(target, dtype, rng):
    """The same numbers as NCHW and as NHWC: within twice the bound."""
    x, dy = normal(rng, 6, 23, 5, 7, dtype=dtype), normal(rng, 6, 23, 5, 7, dtype=dtype)
    p = parameters(rng, 23, dtype)
    bounds = check(x, 1, p, dy)
    check(np.moveaxis(x, 1, -1).copy(), -1, p, np.moveaxis(dy, 1, -1).copy())
    y_first, first = _core.batch_norm(x, **p, training=True)
    y_last, last = _core.batch_norm(np.moveaxis(x, 1, -1).copy(), **p, training=True, axis=-1)
    within(oracles.rows_of(y_first, 1), oracles.rows_of(y_last, -1), 2 * bounds.y, "y")
    within(first.mean, last.mean, 2 * bounds.mean, "mean")


# -- data that batch norm is known to fail on ------------------------------------------------------


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


# -- derivatives -----------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("shape", "axis"), [((5, 4), 1), ((3, 2, 4), 1), ((2, 3, 2, 2), -1)])
def test_gradients_by_central_differences(target, rng, shape, axis, training, activation):
    x, weight = rng.standard_normal(shape), rng.standard_normal(shape)
    channels = shape[axis]
    p = parameters(rng, channels, np.float64)
    mean, var = rng.standard_normal(channels), rng.random(channels) + 0.5

    def forward() -> tuple[np.ndarray, Any]:
        return _core.batch_norm(
            x, **p, running_mean=mean.copy(), running_var=var.copy(), training=training, axis=axis,
            activation=activation,
        )  # fmt: skip

    y, cache = forward()
    plain = oracles.batch_norm(
        oracles.rows_of(x, axis), p["gamma"], p["beta"], EPS, *(() if training else (mean, var))
    ).y
    assert abs(plain).min() > 1e-4, "the data are too near ReLU's edge for a difference"
    gradients = _core.batch_norm_backward(weight, cache)
    assert_gradients(lambda: (forward()[0] * weight).sum(), (x, p["gamma"], p["beta"]), gradients)


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_float32_agrees_with_float64(target, rng, shape, axis):
    x, dy = normal(rng, *shape, dtype=np.float32), normal(rng, *shape, dtype=np.float32)
    p = parameters(rng, shape[axis], np.float32)
    results = []
    for dtype in (np.float32, np.float64):
        y, cache = _core.batch_norm(
            x.astype(dtype), *(v.astype(dtype) for v in p.values()), training=True, axis=axis
        )
        results.append((y, *_core.batch_norm_backward(dy.astype(dtype), cache)))
    if x.size // shape[axis] == 2:
        pytest.skip("the gradient of two values is nearly zero, and its relative error large")
    for narrow, wide in zip(*results, strict=True):
        assert np.linalg.norm(narrow - wide) <= 1e-5 * np.linalg.norm(wide)


# -- ReLU in the kernel is ReLU outside -----------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_relu_inside_equals_relu_outside(target, dtype, rng, shape, axis, training):
    x, dy = normal(rng, *shape, dtype=dtype), normal(rng, *shape, dtype=dtype)
    channels = shape[axis]
    p = parameters(rng, channels, dtype)
    p["gamma"][0], p["beta"][0] = 0, 0  # y is exactly 0 here: ReLU lets no gradient through
    mean, var = normal(rng, channels, dtype=dtype), rng.random(channels).astype(dtype)

    def run(activation: str | None) -> tuple[np.ndarray, Any]:
        return _core.batch_norm(
            x, **p, running_mean=mean.copy(), running_var=var.copy(), training=training, axis=axis,
            activation=activation,
        )  # fmt: skip

    for poison in (None, np.nan):
        if poison is not None:
            x.flat[x.size // 2] = poison
        (plain, plain_cache), (fused, fused_cache) = run(None), run("relu")
        assert bits(fused) == bits(oracles.relu(plain))
        masked = np.where(plain <= 0, dtype(0), dy)  # NaN passes, as it did forward
        expected = _core.batch_norm_backward(masked, plain_cache)
        for got, want in zip(_core.batch_norm_backward(dy, fused_cache), expected, strict=True):
            assert bits(got) == bits(want)


# -- running statistics ----------------------------------------------------------------------------


@pytest.mark.parametrize("unbiased", [True, False])
@pytest.mark.parametrize("momentum", [0.0, 0.1, 0.5, 1.0])
def test_running_statistics(target, dtype, rng, momentum, unbiased):
    for shape, axis in SMALL:
        channels, n = shape[axis], int(np.prod(shape)) // shape[axis]
        p = parameters(rng, channels, dtype)
        mean, var = normal(rng, channels, dtype=dtype), rng.random(channels).astype(dtype)
        wide_mean, wide_var = (a.astype(oracle_dtype(dtype)) for a in (mean, var))
        for _ in range(3):
            x = normal(rng, *shape, dtype=dtype) * 2 + dtype(3)
            before = mean.copy(), var.copy()
            result = _core.batch_norm(
                x, **p, running_mean=mean, running_var=var, training=True, momentum=momentum,
                axis=axis, unbiased=unbiased,
            )  # fmt: skip
            exact = oracles.batch_norm(oracles.rows_of(x, axis), p["gamma"], p["beta"], EPS)
            batch_var = exact.var * (n / (n - 1) if unbiased else 1)
            wide_mean = (1 - momentum) * wide_mean + momentum * exact.mean
            wide_var = (1 - momentum) * wide_var + momentum * batch_var
            assert result[1].training
        # Three updates, each off by a few roundings of values of the size of those added.
        tolerance = 50 * unit_roundoff(dtype)
        np.testing.assert_allclose(
            mean, wide_mean.astype(dtype), rtol=tolerance, atol=10 * tolerance
        )
        np.testing.assert_allclose(var, wide_var.astype(dtype), rtol=2 * tolerance)
        if momentum == 0:
            assert bits(mean) == bits(before[0])
            assert bits(var) == bits(before[1])


@pytest.mark.parametrize("name", WRITABLE)
def test_running_statistics_are_updated_in_place(target, dtype, rng, name):
    x, p = normal(rng, 33, 20, dtype=dtype), parameters(rng, 20, dtype)
    mean, var = normal(rng, 20, dtype=dtype), rng.random(20).astype(dtype)
    strange_mean, strange_var = LAYOUTS[name](mean.copy()), LAYOUTS[name](var.copy())
    _core.batch_norm(x, **p, running_mean=strange_mean, running_var=strange_var, training=True)
    _core.batch_norm(x, **p, running_mean=mean, running_var=var, training=True)
    assert bits(strange_mean) == bits(mean)
    assert bits(strange_var) == bits(var)


def test_inference_leaves_the_statistics_alone(target, dtype, rng):
    x, p = normal(rng, 33, 20, dtype=dtype), parameters(rng, 20, dtype)
    mean, var = normal(rng, 20, dtype=dtype), rng.random(20).astype(dtype)
    mean.flags.writeable = var.flags.writeable = False  # nor do they need to be writable
    _core.batch_norm(x, **p, running_mean=mean, running_var=var, training=False)


def test_statistics_survive_a_poisoned_batch_in_other_channels(target, dtype, rng):
    x, p = normal(rng, 33, 20, dtype=dtype), parameters(rng, 20, dtype)
    mean, var = np.zeros(20, dtype), np.ones(20, dtype)
    x[5, 3] = np.nan
    _core.batch_norm(x, **p, running_mean=mean, running_var=var, training=True)
    assert np.isnan(mean).sum() == np.isnan(var).sum() == 1


# -- what changes no bit ---------------------------------------------------------------------------


def everything(
    x: np.ndarray, dy: np.ndarray, p: dict[str, np.ndarray], axis: int, training: bool = True
) -> list[bytes]:
    """The bits of all results of a forward and a backward pass."""
    channels, dtype = x.shape[axis], x.dtype
    mean, var = np.full((2, channels), 0.5, dtype)
    y, cache = _core.batch_norm(
        x, **p, running_mean=mean, running_var=var, training=training, axis=axis, activation="relu"
    )
    return [bits(a) for a in (y, mean, var, *_core.batch_norm_backward(dy, cache))]


# The first three are large enough for 7 threads.
@pytest.mark.parametrize(
    ("shape", "axis"), [((1030, 113), 1), ((4, 200, 17, 16), 1), ((40, 13, 9, 25), 2), *SMALL]
)
@pytest.mark.parametrize("training", [True, False])
def test_threads_change_no_bit(target, dtype, rng, threads, shape, axis, training):
    x, dy = normal(rng, *shape, dtype=dtype), normal(rng, *shape, dtype=dtype)
    p = parameters(rng, shape[axis], dtype)
    results = []
    for n_threads in THREADS:
        threads(n_threads)
        results.append(everything(x, dy, p, axis, training))
    assert results == results[:1] * len(THREADS)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("shape", "axis"), SMALL)
def test_strides_change_no_bit(target, dtype, rng, shape, axis, training):
    x, dy = normal(rng, *shape, dtype=dtype), normal(rng, *shape, dtype=dtype)
    p = parameters(rng, shape[axis], dtype)
    expected = everything(x, dy, p, axis, training)
    for name_x, name_dy in itertools.product(LAYOUTS, repeat=2):
        got = everything(LAYOUTS[name_x](x), LAYOUTS[name_dy](dy), p, axis, training)
        assert got == expected, (name_x, name_dy)
    for name in LAYOUTS:
        strange = {k: LAYOUTS[name](v) for k, v in p.items()}
        assert everything(x, dy, strange, axis, training) == expected, name


@pytest.mark.parametrize("training", [True, False])
def test_permuted_and_sliced_inputs(target, dtype, rng, training):
    """Views that other libraries are known to read in the wrong order."""
    nhwc = normal(rng, 4, 5, 6, 7, dtype=dtype)
    p = parameters(rng, 7, dtype)
    dy = normal(rng, 4, 7, 5, 6, dtype=dtype)
    views = [
        np.moveaxis(nhwc, -1, 1),
        nhwc.transpose(0, 3, 2, 1)[:, :, ::-1],
        np.moveaxis(np.repeat(nhwc, 2, axis=1)[:, ::2], -1, 1)[::-1],
        np.broadcast_to(nhwc[:1, :1, :1].transpose(0, 3, 1, 2), (4, 7, 5, 6)),
        np.broadcast_to(np.moveaxis(nhwc, -1, 1)[:, :1], (4, 7, 5, 6)),
        np.broadcast_to(nhwc[0, 0, 0, 0], (4, 7, 5, 6)),
        normal(rng, 4, 14, 5, 6, dtype=dtype)[:, 3:10],
        normal(rng, 4, 14, 5, 6, dtype=dtype)[:, ::2],
        normal(rng, 8, 7, 5, 6, dtype=dtype)[::2, ::-1],
        normal(rng, 4, 7, 5, 6, 1, dtype=dtype)[..., 0],
    ]
    for i, view in enumerate(views):
        gradient = dy[: view.shape[0], :, : view.shape[2], : view.shape[3]]
        if gradient.shape != view.shape:
            gradient = normal(rng, *view.shape, dtype=dtype)
        expected = everything(view.copy(), gradient.copy(), p, 1, training)
        assert everything(view, gradient, p, 1, training) == expected, i


@pytest.mark.parametrize(("shape", "axis"), SMALL)
def test_alignment_changes_no_bit(target, dtype, rng, shape, axis):
    x, dy = normal(rng, *shape, dtype=dtype), normal(rng, *shape, dtype=dtype)
    p = parameters(rng, shape[axis], dtype)
    expected = everything(x, dy, p, axis)
    for offset in range(0, 65, x.itemsize):
        got = everything(
            at_offset(x, offset), at_offset(dy, -offset % 64),
            {k: at_offset(v, offset) for k, v in p.items()}, axis,
        )  # fmt: skip
        assert got == expected, offset


@pytest.mark.parametrize("shape", [(200, 5), (200, 70), (200, 3, 9)])
def test_a_row_does_not_depend_on_its_batch_in_inference(target, dtype, rng, threads, shape):
    x, p = normal(rng, *shape, dtype=dtype), parameters(rng, shape[1], dtype)
    mean, var = normal(rng, shape[1], dtype=dtype), rng.random(shape[1]).astype(dtype)

    def run(x: np.ndarray) -> np.ndarray:
        return _core.batch_norm(x, **p, running_mean=mean, running_var=var, training=False)[0]

    alone = np.concatenate([run(x[i : i + 1]) for i in range(len(x))])
    for batch in (*range(2, 20), 31, 32, 33, 64, 200):
        threads(int(rng.choice(THREADS)))
        begin = int(rng.integers(len(x) - batch + 1))
        assert bits(run(x[begin : begin + batch])) == bits(alone[begin : begin + batch])


@pytest.mark.parametrize("layout", ["last", "first"])
def test_a_channel_does_not_depend_on_its_neighbours(target, dtype, rng, layout):
    shape, axis = ((100, 70), 1) if layout == "last" else ((10, 70, 9), 1)
    x, dy = normal(rng, *shape, dtype=dtype), normal(rng, *shape, dtype=dtype)
    p = parameters(rng, 70, dtype)
    y, cache = _core.batch_norm(x, **p, training=True, axis=axis)
    dx, dgamma, dbeta = _core.batch_norm_backward(dy, cache)
    for channels in (slice(0, 1), slice(3, 20), slice(15, 17), slice(69, 70), slice(5, 69)):
        sub = {k: v[channels] for k, v in p.items()}
        sub_y, sub_cache = _core.batch_norm(x[:, channels].copy(), **sub, training=True)
        sub_back = _core.batch_norm_backward(dy[:, channels].copy(), sub_cache)
        assert bits(sub_y) == bits(y[:, channels])
        for got, want in zip(
            sub_back, (dx[:, channels], dgamma[channels], dbeta[channels]), strict=True
        ):
            assert bits(got) == bits(want)


# -- results in the caller's memory ----------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("shape", "axis"), SMALL)
def test_out_is_written_in_place(target, dtype, rng, shape, axis, training):
    x, dy = normal(rng, *shape, dtype=dtype), normal(rng, *shape, dtype=dtype)
    channels = shape[axis]
    p = parameters(rng, channels, dtype)
    statistics = dict(running_mean=np.zeros(channels, dtype), running_var=np.ones(channels, dtype))
    options = dict(training=training, axis=axis, momentum=0.0, **statistics)
    y, cache = _core.batch_norm(x, **p, **options)
    expected = _core.batch_norm_backward(dy, cache)
    for name in WRITABLE:
        out = LAYOUTS[name](np.full(shape, np.nan, dtype))
        got, cache = _core.batch_norm(x, **p, **options, out=out)
        assert got is out
        assert bits(out) == bits(y), name
        outs = [LAYOUTS[name](np.full(a.shape, np.nan, dtype)) for a in expected]
        got = _core.batch_norm_backward(dy, cache, out=outs[0], dgamma=outs[1], dbeta=outs[2])
        for a, b, c in zip(got, outs, expected, strict=True):
            assert a is b
            assert bits(b) == bits(c), name


@pytest.mark.parametrize(("shape", "axis"), SMALL)
def test_surroundings_of_the_results_are_untouched(target, dtype, rng, shape, axis):
    x, dy = normal(rng, *shape, dtype=dtype), normal(rng, *shape, dtype=dtype)
    channels = shape[axis]
    out, dx = Padded(np.zeros(shape, dtype)), Padded(np.zeros(shape, dtype))
    mean, var, dgamma, dbeta = (Padded(np.zeros(channels, dtype), margin=16) for _ in range(4))
    kept = x.copy()
    _, cache = _core.batch_norm(
        x, None, None, mean.view, var.view, training=True, axis=axis, out=out.view
    )
    _core.batch_norm_backward(dy, cache, out=dx.view, dgamma=dgamma.view, dbeta=dbeta.view)
    assert all(padded.is_intact() for padded in (out, dx, mean, var, dgamma, dbeta))
    assert bits(x) == bits(kept)


@pytest.mark.parametrize(("shape", "axis"), SMALL)
def test_in_place_inference_and_backward(target, dtype, rng, shape, axis):
    x, dy = normal(rng, *shape, dtype=dtype), normal(rng, *shape, dtype=dtype)
    channels = shape[axis]
    p = parameters(rng, channels, dtype)
    mean, var = normal(rng, channels, dtype=dtype), rng.random(channels).astype(dtype)
    options = dict(running_mean=mean, running_var=var, training=False, axis=axis)
    y, cache = _core.batch_norm(x, **p, **options)
    dx = _core.batch_norm_backward(dy, cache)[0]
    for name in WRITABLE:
        both = LAYOUTS[name](x.copy())
        got, own_cache = _core.batch_norm(both, **p, **options, out=both)
        assert got is both
        assert bits(both) == bits(y), name
        if own_cache.x is both:  # not a copy: what the backward pass needs is gone
            with pytest.raises(ValueError, match="wrote its result over x"):
                _core.batch_norm_backward(dy, own_cache)
        gradient = LAYOUTS[name](dy.copy())
        assert _core.batch_norm_backward(gradient, cache, out=gradient)[0] is gradient
        assert bits(gradient) == bits(dx), name


def test_training_in_place_is_refused(dtype, rng):
    x = normal(rng, 9, 5, dtype=dtype)
    kept = x.copy()
    with pytest.raises(ValueError, match="out overlaps x"):
        _core.batch_norm(x, None, None, training=True, out=x)
    whole = normal(rng, 10, 5, dtype=dtype)
    with pytest.raises(ValueError, match="out overlaps x"):
        _core.batch_norm(whole[1:], None, None, training=True, out=whole[:-1])
    _, cache = _core.batch_norm(x, None, None, training=True)
    with pytest.raises(ValueError, match="out overlaps the x"):
        _core.batch_norm_backward(x.copy(), cache, out=x)
    assert bits(x) == bits(kept)


def test_neighbours_in_memory_do_not_overlap(target, dtype, rng):
    """Columns of one array: their bounds overlap, their elements do not."""
    whole, pairs = np.zeros((9, 15), dtype), np.ones((5, 4), dtype)
    x, out, dx = whole[:, :5], whole[:, 5:10], whole[:, 10:]
    x[...] = normal(rng, 9, 5, dtype=dtype)
    mean, var, dgamma, dbeta = pairs.T
    y, cache = _core.batch_norm(
        x, None, None, mean, var, training=True, momentum=1.0, activation="relu", out=out
    )
    results = out, *_core.batch_norm_backward(out, cache, out=dx, dgamma=dgamma, dbeta=dbeta)
    own_mean, own_var = np.ones((2, 5), dtype)
    want, cache = _core.batch_norm(
        x.copy(), None, None, own_mean, own_var, training=True, momentum=1.0, activation="relu"
    )
    wanted = want, *_core.batch_norm_backward(want, cache), own_mean, own_var
    assert [bits(a) for a in (*results, mean, var)] == [bits(a) for a in wanted]


class Views:
    """Slices of one piece of memory at random offsets, which may overlap."""

    def __init__(self, rng: np.random.Generator, dtype: Any) -> None:
        self.rng, self.memory = rng, normal(rng, 90, dtype=dtype)

    def __call__(self, *shape: int) -> np.ndarray:
        step = int(self.rng.integers(1, 3)) if len(shape) == 1 else 1
        size = int(np.prod(shape)) * step
        begin = int(self.rng.integers(self.memory.size - size + 1))
        return self.memory[begin : begin + size : step].reshape(shape)

    def expected(self, results: list[tuple[np.ndarray, np.ndarray]]) -> bytes:
        """The memory after each result has been written to its view."""
        memory = self.memory.copy()
        for view, values in results:
            first = (view.ctypes.data - self.memory.ctypes.data) // memory.itemsize
            strides = view.strides
            np.lib.stride_tricks.as_strided(memory[first:], view.shape, strides)[...] = values
        return memory.tobytes()


def test_overlapping_operands_are_as_if_copied_first_or_refused(target, dtype, rng):
    refused = 0
    for _ in range(2000):
        views = Views(rng, dtype)
        training = bool(rng.integers(2))
        shape = (4, 3) if rng.integers(2) else (2, 3, 2)  # one panel of channels, or three
        x, out = views(*shape), views(*shape)
        gamma, beta, mean, var = (views(3) for _ in range(4))
        np.abs(var, out=var)
        options = dict(training=training, activation="relu")
        copies = [a.copy() for a in (x, gamma, beta, mean, var)]
        y, cache = _core.batch_norm(*copies, **options)
        results = [(out, y), *([(mean, copies[3]), (var, copies[4])] if training else [])]
        before, expected = views.memory.tobytes(), views.expected(results)
        dy = normal(rng, *shape, dtype=dtype)
        try:
            _, got_cache = _core.batch_norm(x, gamma, beta, mean, var, **options, out=out)
        except ValueError as error:
            assert "overlap" in str(error)
            assert views.memory.tobytes() == before
            refused += 1
            continue
        assert views.memory.tobytes() == expected
        if not np.shares_memory(x, out):
            want = _core.batch_norm_backward(dy, cache)
            got = _core.batch_norm_backward(dy, got_cache)
            assert [bits(a) for a in got] == [bits(a) for a in want]
    assert 0 < refused < 2000


def test_overlapping_gradients_are_as_if_copied_first_or_refused(target, dtype, rng):
    refused = 0
    for _ in range(2000):
        views = Views(rng, dtype)
        shape = (4, 3) if rng.integers(2) else (2, 3, 2)
        x, dy, dx, dgamma, dbeta = views(*shape), views(*shape), views(*shape), views(3), views(3)
        options = dict(activation="relu", training=True)
        _, own_cache = _core.batch_norm(x.copy(), None, None, **options)
        _, cache = _core.batch_norm(x, None, None, **options)
        results = _core.batch_norm_backward(dy.copy(), own_cache)
        expected = views.expected(list(zip((dx, dgamma, dbeta), results, strict=True)))
        before = views.memory.tobytes()
        try:
            _core.batch_norm_backward(dy, cache, out=dx, dgamma=dgamma, dbeta=dbeta)
        except ValueError as error:
            assert "overlap" in str(error)
            assert views.memory.tobytes() == before
            refused += 1
        else:
            assert views.memory.tobytes() == expected
    assert 0 < refused < 2000


def test_the_cache_holds_references(dtype, rng):
    x = normal(rng, 9, 5, dtype=dtype)
    _, cache = _core.batch_norm(x, None, None, training=True)
    assert np.shares_memory(cache.x, x)
    assert cache.training
    assert cache.mean.shape == cache.invstd.shape == (5,)
    with pytest.raises(ValueError, match="read-only"):
        cache.mean[0] = 0
    _core.batch_norm_backward(x.copy(), cache)  # and may be used again
    first, second = (_core.batch_norm_backward(np.ones_like(x), cache) for _ in range(2))
    assert [bits(a) for a in first] == [bits(a) for a in second]


@pytest.mark.skipif(sys.platform == "win32", reason="needs mprotect")
def test_nothing_beyond_the_operands_is_touched(target):
    """Operands that end, then start, at a page that must not be touched."""
    guard_pages.run("batch_norm", target)


# -- arguments -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((0, 5), 1), ((5, 0), 1), ((0, 0), 1), ((0, 3, 4), 1), ((2, 0, 4), 1), ((2, 3, 0), 1),
     ((0, 4, 3), -1), ((2, 0, 3), -1), ((2, 4, 0), -1)],
)  # fmt: skip
@pytest.mark.parametrize("training", [True, False])
def test_empty_batches(target, dtype, rng, shape, axis, training):
    channels = shape[axis]
    mean, var = normal(rng, channels, dtype=dtype), rng.random(channels).astype(dtype)
    kept = bits(mean), bits(var)
    y, cache = _core.batch_norm(
        np.zeros(shape, dtype), np.ones(channels, dtype), None, mean, var, training=training,
        axis=axis,
    )  # fmt: skip
    assert y.shape == shape
    assert (bits(mean), bits(var)) == kept
    dx, dgamma, dbeta = _core.batch_norm_backward(np.zeros(shape, dtype), cache)
    assert dx.shape == shape
    np.testing.assert_array_equal(dgamma, np.zeros(channels, dtype))
    np.testing.assert_array_equal(dbeta, np.zeros(channels, dtype))


@pytest.mark.parametrize(("shape", "axis"), [((1, 5), 1), ((1, 5, 1, 1), 1), ((1, 1, 5), -1)])
def test_one_value_a_channel_is_refused_in_training(target, dtype, shape, axis):
    x = np.ones(shape, dtype)
    mean, var = np.full(5, 3, dtype), np.full(5, 4, dtype)
    with pytest.raises(ValueError, match=r"more than 1 value per channel.*\(1, "):
        _core.batch_norm(x, None, None, mean, var, training=True, axis=axis)
    assert (mean == 3).all()
    assert (var == 4).all()
    y, _ = _core.batch_norm(x, None, None, mean, var, training=False, axis=axis, eps=0.0)
    np.testing.assert_array_equal(y, dtype(-1))


@pytest.mark.parametrize("training", [True, False])
def test_wrong_arguments_name_both_values_and_write_nothing(dtype, rng, training):
    other = np.float64 if dtype == np.float32 else np.float32
    read_only = np.zeros(5, dtype)
    read_only.flags.writeable = False
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        (dict(x=normal(rng, 5, dtype=dtype)), ValueError, r"at least 2 dim.*\(5,\)"),
        (dict(axis=2), ValueError, r"axis 2 is out of range.*\(9, 5\)"),
        (dict(axis=-3), ValueError, r"axis -3 is out of range.*\(9, 5\)"),
        (dict(axis=0), ValueError, r"gamma has shape \(5,\), expected \(9,\).*9 channels"),
        (dict(gamma=np.ones(4, dtype)), ValueError, r"gamma has shape \(4,\), expected \(5,\)"),
        (dict(beta=np.ones((1, 5), dtype)), ValueError, r"beta has shape \(1, 5\), exp.*\(5,\)"),
        (dict(running_mean=np.ones(4, dtype)), ValueError, r"running_mean has shape \(4,\)"),
        (dict(running_var=np.ones(6, dtype)), ValueError, r"running_var has shape \(6,\)"),
        (dict(running_var=None), ValueError, "given together; running_var is None"),
        (dict(running_mean=None), ValueError, "given together; running_mean is None"),
        (dict(momentum=1.5), ValueError, r"momentum must be from 0.0 to 1.0, got 1.5"),
        (dict(momentum=-0.1), ValueError, r"momentum must be from 0.0 to 1.0, got -0.1"),
        (dict(momentum=np.nan), ValueError, r"momentum .* got nan"),
        (dict(eps=-1e-5), ValueError, r"eps must be from 0.0 .*got -1e-05"),
        (dict(eps=np.nan), ValueError, r"eps .* got nan"),
        (dict(activation="gelu"), ValueError, r"one of 'relu', got 'gelu'"),
        (dict(activation=1), TypeError, r"None or 'relu', got int"),
        (dict(out=np.zeros((5, 9), dtype)), ValueError, r"out has shape \(5, 9\), exp.*\(9, 5\)"),
        (dict(out=np.broadcast_to(read_only, (9, 5))), ValueError, "out is read-only"),
        (dict(out=np.zeros((9, 5), other)), TypeError, "out is float.* but the inputs are float"),
        (dict(out=[[0.0]]), TypeError, r"out must be a numpy.ndarray .* got list"),
        (dict(gamma=np.ones(5, other)), TypeError, "gamma is float.* but x is float"),
        (dict(beta=np.ones(5, np.int64)), TypeError, "beta must be float32 or float64, got int64"),
        (dict(running_mean=np.zeros(5, other)), TypeError, "running_mean is float.* but x is fl"),
        (dict(x=np.ones((9, 5), dtype).astype(np.float16)), TypeError, "x must .* got float16"),
        (dict(x=np.ones((9, 5), ">f4")), TypeError, r"x must be .* got >f4"),
        (dict(x=np.ma.masked_array(np.ones((9, 5), dtype))), TypeError, "x is a masked array"),
        (dict(x=None), TypeError, "x must be an array, got None"),
    ]
    if training:
        cases.append((dict(running_var=read_only), ValueError, "running_var is read-only"))
        cases.append((dict(running_mean=[0.0] * 5), TypeError, r"running_mean .*"))
    else:
        cases.append(
            (dict(running_mean=None, running_var=None), ValueError, "training is False but running")
        )
    for changes, exception, message in cases:
        arguments: dict[str, Any] = dict(
            x=normal(rng, 9, 5, dtype=dtype),
            gamma=np.ones(5, dtype), beta=np.ones(5, dtype),
            running_mean=np.zeros(5, dtype), running_var=np.ones(5, dtype),
            out=np.full((9, 5), 7, dtype), training=training,
        )  # fmt: skip
        arguments |= changes
        before = {k: bits(v) for k, v in arguments.items() if isinstance(v, np.ndarray)}
        with pytest.raises(exception, match=message):
            _core.batch_norm(**arguments)
        for name, kept in before.items():
            assert bits(arguments[name]) == kept, (message, name)


def test_wrong_gradients_name_both_values_and_write_nothing(dtype, rng):
    x = normal(rng, 9, 5, dtype=dtype)
    other = np.float64 if dtype == np.float32 else np.float32
    _, cache = _core.batch_norm(x, None, None, training=True)
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        (dict(dy=np.ones((5, 9), dtype)), ValueError, r"dy has shape \(5, 9\), expected \(9, 5\)"),
        (dict(dy=np.ones(45, dtype)), ValueError, r"dy has shape \(45,\), expected \(9, 5\)"),
        (dict(dy=np.ones((9, 5), other)), TypeError, "dy is float.* but x is float"),
        (dict(out=np.ones((9, 4), dtype)), ValueError, r"out has shape \(9, 4\), exp.*\(9, 5\)"),
        (dict(dgamma=np.ones(4, dtype)), ValueError, r"dgamma has shape \(4,\), exp.*\(5,\)"),
        (dict(dbeta=np.ones((5, 1), dtype)), ValueError, r"dbeta has shape \(5, 1\), exp.*\(5,\)"),
        (dict(dbeta=np.ones(5, other)), TypeError, "dbeta is float.* but the inputs are float"),
        (dict(cache=None), TypeError, "incompatible function arguments"),
    ]
    for changes, exception, message in cases:
        arguments: dict[str, Any] = dict(
            dy=normal(rng, 9, 5, dtype=dtype), cache=cache, out=np.full((9, 5), 7, dtype),
            dgamma=np.full(5, 7, dtype), dbeta=np.full(5, 7, dtype),
        )  # fmt: skip
        arguments |= changes
        before = {k: bits(v) for k, v in arguments.items() if isinstance(v, np.ndarray)}
        with pytest.raises(exception, match=message):
            _core.batch_norm_backward(**arguments)
        for name, kept in before.items():
            assert bits(arguments[name]) == kept, (message, name)
