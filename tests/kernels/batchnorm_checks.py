"""What the tests of batch norm share: shapes, data, and one pass within its bounds.

Sizes are around what the kernels are cut into: registers of 1 to 16 lanes, four of them at a time,
groups of 32 rows, panels of channels that fit a cache.
"""

from typing import Any

import numpy as np

from fastbn import _core

from . import oracles
from .arrays import normal
from .bounds import BatchNormBounds, batch_norm_bounds, oracle_dtype

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
SMALL = [
    ((33, 70), 1),
    ((5, 33, 27), 1),
    ((3, 5, 3, 23), -1),
    ((2, 3, 4, 6), 2),
    # Rows so long that their columns before the first cache line are peeled: of whole registers,
    # where all rows are alike, and of images, where each begins elsewhere.
    ((35, 112), 1),
    ((3, 2, 103), 1),
]


def parameters(rng: np.random.Generator, channels: int, dtype: Any) -> dict[str, np.ndarray]:
    return {
        "gamma": normal(rng, channels, dtype=dtype) + dtype(0.5),
        "beta": normal(rng, channels, dtype=dtype),
    }


def positions(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    axis %= len(shape)
    return shape[:axis] + shape[axis + 1 :]


def some_weights(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Fractions, a third of them 0, but for the first and the last position."""
    w = rng.uniform(0.25, 2, shape) * (rng.random(shape) < 2 / 3)
    w.flat[0], w.flat[-1] = 0.75, 1.25
    return w.astype(dtype)


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
