"""Moments in one pass: data made against the center that each piece of rows is taken relative to.

The bound (bounds.py) follows the distance of the center from the mean of its piece, so that it is
tight on ordinary data and holds for the worst.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastbn

from . import oracles
from .batchnorm_checks import EPS, within
from .bounds import (
    BatchNormBounds,
    batch_norm_bounds,
    oracle_dtype,
    roundings_of_a_sum,
    unit_roundoff,
)

Rows = np.ndarray[Any, np.dtype[Any]]
ROWS = 1500  # eleven pieces of 128 rows and a part of one


def outlier_strip(distance: float) -> Callable[[Rows], Rows]:
    def make(x: Rows) -> Rows:
        x[:32] += distance
        return x

    return make


def outlier_strips_of_all_pieces(distance: float) -> Callable[[Rows], Rows]:
    def make(x: Rows) -> Rows:
        x[np.arange(len(x)) % 128 < 32] += distance
        return x

    return make


def huge_first_row(x: Rows) -> Rows:
    x[0] = 1e6
    return x


def drifting(x: Rows) -> Rows:
    return x + np.linspace(0, 1000, len(x))[:, None]


def sorted_rows(x: Rows) -> Rows:
    return np.sort(x, axis=0)


def alternating_blocks(length: int) -> Callable[[Rows], Rows]:
    def make(x: Rows) -> Rows:
        return x + np.where(np.arange(len(x)) // length % 2, 1e4, -1e4)[:, None]

    return make


def large_offset(offset: float) -> Callable[[Rows], Rows]:
    def make(x: Rows) -> Rows:
        return x * 0.1 + offset

    return make


# The data, and how far the variance may be off in float32, relative: 1e-6 where the center is worth
# its name, a few times that where eight times the squares are added up that remain.
HARD: dict[str, tuple[Callable[[Rows], Rows], float]] = {
    "ordinary": (lambda x: x, 1e-6),
    "outlier strip, 1e3": (outlier_strip(1e3), 1e-5),
    "outlier strip, 1e6": (outlier_strip(1e6), 1e-5),
    "outlier strips, 1e3": (outlier_strips_of_all_pieces(1e3), 1e-5),
    "outlier strips, 1e6": (outlier_strips_of_all_pieces(1e6), 1e-5),
    "huge first row": (huge_first_row, 1e-6),
    "drifting": (drifting, 1e-6),
    "sorted": (sorted_rows, 1e-6),
    "blocks of 32": (alternating_blocks(32), 1e-5),
    "blocks of 128": (alternating_blocks(128), 1e-6),
    "blocks of 256": (alternating_blocks(256), 1e-6),
    "blocks of 100": (alternating_blocks(100), 1e-5),
    "offset 1e6": (large_offset(1e6), 1e-6),
    "offset -1e7": (large_offset(-1e7), 1e-6),
}


def check(x: Rows, axis: int) -> tuple[BatchNormBounds, oracles.BatchNorm, Rows]:
    dtype, channels = x.dtype.type, x.shape[axis]
    one, zero = np.ones(channels, dtype), np.zeros(channels, dtype)
    mean, var = np.zeros((2, channels), dtype)
    y, cache = fastbn.batch_norm(
        x, one, zero, mean, var, training=True, momentum=1.0, axis=axis, unbiased=False
    )
    exact = oracles.batch_norm(oracles.rows_of(x, axis), one, zero, EPS)
    bounds = batch_norm_bounds(
        exact.x, exact.weight, exact.shift, EPS, cache.mean.astype(oracle_dtype(dtype)), dtype,
        inner=oracles.inner_of(x.shape, axis),
    )  # fmt: skip
    within(cache.mean, exact.mean, bounds.mean, "mean")
    within(mean, exact.mean, bounds.total_mean, "running mean")
    within(var, exact.var, bounds.var, "variance")
    within(oracles.rows_of(y, axis), exact.y, bounds.y, "y")
    return bounds, exact, var


def resolved(x: Rows, var: Rows) -> bool:
    """Whether the deviation is more than the distance of neighbouring numbers.

    If not, rounding the center may move it by more than the deviation, and the bound allows that.
    """
    return bool(np.spacing(abs(x).max()) < np.sqrt(var.min()))


@pytest.mark.parametrize("name", HARD)
def test_hard_rows(target, dtype, rng, name):
    make, relative = HARD[name]
    x = make(rng.standard_normal((ROWS, 19))).astype(dtype)
    bounds, exact, var = check(x, 1)
    if resolved(
        x, exact.var
    ):  # the worst of the theory: (n / s) = 8 times the squares, errors of one sign
        assert (bounds.var <= 1000 * np.finfo(dtype).eps * exact.var).all()
    if dtype == np.float32:
        assert (abs(var - exact.var) <= relative * exact.var).all()


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("shape", [(1500, 1, 3, 8), (30, 2, 50, 16), (2, 2, 130, 150)])
def test_hard_images(target, dtype, rng, name, shape):
    """Channels first: the hard rows are runs of positions."""
    make, _ = HARD[name]
    outer, channels, *inner = shape
    rows = make(rng.standard_normal((outer * inner[0] * inner[1], channels)))
    x = oracles.shape_back(rows, (outer, channels, *inner), 1)
    bounds, exact, var = check(np.ascontiguousarray(x).astype(dtype), 1)
    if name.startswith(("offset", "ordinary")):
        if resolved(x, exact.var):
            most = 6 * roundings_of_a_sum(len(rows), dtype) * unit_roundoff(dtype)
            assert (bounds.var <= most * exact.var).all()
        if dtype == np.float32:
            assert (abs(var - exact.var) <= 1e-6 * exact.var).all()


@pytest.mark.parametrize("name", ["drifting", "outlier strips, 1e3", "offset 1e6"])
def test_hard_million_rows(target, rng, name):
    make, relative = HARD[name]
    x = make(rng.standard_normal((1_000_000, 2))).astype(np.float32)
    bounds, exact, var = check(x, 1)
    assert (abs(var - exact.var) <= relative * exact.var).all()
