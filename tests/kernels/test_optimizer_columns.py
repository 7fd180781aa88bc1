"""Updates by columns, as threads that are far apart share them out: the same bits, and no more."""

from typing import Any

import numpy as np
import pytest

from fastbn import _core

from .arrays import bits

THREADS = (2, 3, 7)
# Too few columns for any, or for some of the threads; no whole lines; strips that are cut short.
COLUMNS = (1, 100, 128, 256, 272, 400, 1000, 1040)


def sgd(arrays: list[np.ndarray], **parts: Any) -> None:
    p, g, m, _ = arrays
    _core.sgd_update(p, g, m, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4, **parts)


def plain_sgd(arrays: list[np.ndarray], **parts: Any) -> None:
    p, g, *_ = arrays
    _core.sgd_update(p, g, None, lr=0.1, **parts)


def adam(arrays: list[np.ndarray], **parts: Any) -> None:
    p, g, m, v = arrays
    _core.adam_update(p, g, m, v, step=7, lr=0.01, weight_decay=0.01, decoupled=True, **parts)


def drawn(rng: np.random.Generator, dtype: Any, size: int) -> list[np.ndarray]:
    """p, g, m and v; the last is not negative."""
    p, g, m = (rng.standard_normal(size).astype(dtype) for _ in range(3))
    return [p, g, m, m * m]


UPDATES = pytest.mark.parametrize("update", [sgd, plain_sgd, adam])


@UPDATES
def test_columns_change_no_bit(target, distance, dtype, rng, threads, update):
    """Two matrices of other columns, with an odd piece before, between and behind them."""
    for cols in COLUMNS:
        rows = 200_000 // cols
        sizes = [13, rows * cols, 5, 2 * 1024 * 64, 3]
        ends = tuple(np.cumsum(sizes).tolist())
        given = drawn(rng, dtype, ends[-1])
        want = [a.copy() for a in given]
        threads(1)
        update(want)
        for n_threads in THREADS:
            threads(n_threads)
            got = [a.copy() for a in given]
            update(got, ends=ends, cols=(0, cols, 0, 1024, 0))
            assert bits(*got) == bits(*want), (cols, n_threads)


@UPDATES
@pytest.mark.parametrize(
    ("cols", "message"),
    [
        ((3,), "a value for each of ends, 2, got 1"),
        ((0, 3, 0), "a value for each of ends, 2, got 3"),
        ((4, 0), "divide the part's size, 6, got 4"),
        ((0, -2), "divide the part's size, 4, got -2"),
    ],
)
def test_columns_that_fit_no_part_are_refused(update, cols, message):
    arrays = [np.ones(10) for _ in range(4)]
    with pytest.raises(ValueError, match=message):
        update(arrays, ends=(6, 10), cols=cols)
    assert all((a == 1).all() for a in arrays)


def test_columns_without_parts_are_refused():
    arrays = [np.ones(6) for _ in range(4)]
    with pytest.raises(ValueError, match="a value for each of ends, 0, got 1"):
        sgd(arrays, cols=(3,))
