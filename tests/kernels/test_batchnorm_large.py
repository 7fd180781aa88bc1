"""Batch norm of more than the last cache holds: what is written goes past it."""

import numpy as np
import pytest

import fastbn
from fastbn import _core

from .arrays import bits, normal
from .batchnorm_checks import EPS, check, parameters
from .memory import ROGUE

# The last cache, where it is known: above it lie the sizes from which on writes go past it.
LAST = max(fastbn.info()["cache_sizes"])
pytestmark = pytest.mark.skipif(
    not 0 < LAST <= 64 << 20, reason="the last cache is unknown, or a test of its size too large"
)

# Rows of whole lines; rows of some more, and rows of few registers, which stream where the result's
# rows are whole lines apart or go one by one; images whose rows all begin elsewhere in a line, long
# and short; channels last of whole registers, and not.
SHAPES = [
    ((256,), 1),
    ((1030,), 1),
    ((136,), 1),
    ((3, 30, 31), 1),
    ((16, 5, 5), 1),
    ((3, 4, 160), -1),
    ((3, 4, 163), -1),
]


def larger_than_the_caches(sample: tuple[int, ...], dtype: type) -> tuple[int, ...]:
    """Return a shape of which forward, backward and inference move 1.25 last caches or more."""
    values = int(0.7 * LAST) // np.dtype(dtype).itemsize
    return (values // int(np.prod(sample)) + 3, *sample)


class Result:
    """`view`: memory for a result, `past` bytes past a line, amid rogue bytes.

    Rows of two dimensions are a multiple of 32 elements apart.
    """

    def __init__(self, shape: tuple[int, ...], dtype: type, past: int) -> None:
        cols = shape[-1]
        row = -(-cols // 32) * 32 if len(shape) == 2 else cols
        rows = int(np.prod(shape[:-1]))
        size = rows * row * np.dtype(dtype).itemsize
        self._raw = np.full(size + 256, ROGUE, np.uint8)
        begin = -self._raw.ctypes.data % 64 + 64 + past
        whole = self._raw[begin : begin + size].view(dtype).reshape(rows, row)
        self._around = self._raw[:begin], self._raw[begin + size :], whole[:, cols:]
        self.view = whole[:, :cols] if row > cols else whole.reshape(shape)

    def is_intact(self) -> bool:
        """Whether all that surrounds the result is as it was."""
        return all((np.ascontiguousarray(a).view(np.uint8) == ROGUE).all() for a in self._around)


@pytest.mark.parametrize("past", [0, 16, 40])
@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize(("sample", "axis"), SHAPES)
def test_large_results_have_the_bits_of_small_ones(
    target, dtype, rng, sample, axis, activation, past
):
    """Rows depend on their channel's coefficients alone: pieces of the batch give the same bits."""
    shape = larger_than_the_caches(sample, dtype)
    x = rng.standard_normal(shape, dtype=dtype)
    channels = shape[axis]
    p = parameters(rng, channels, dtype)
    mean, var = normal(rng, channels, dtype=dtype), rng.random(channels).astype(dtype)
    options = dict(
        running_mean=mean, running_var=var, training=False, axis=axis, activation=activation
    )
    y, dx = Result(shape, dtype, past), Result(shape, dtype, past)
    _, cache = _core.batch_norm(x, **p, **options, out=y.view)
    _core.batch_norm_backward(x, cache, out=dx.view)
    for rows in np.array_split(np.arange(len(x)), 7):
        some = slice(rows[0], rows[-1] + 1)
        small, its_cache = _core.batch_norm(x[some], **p, **options)
        assert bits(y.view[some]) == bits(small)
        small, *_ = _core.batch_norm_backward(x[some], its_cache)
        assert bits(dx.view[some]) == bits(small)
    assert y.is_intact()
    assert dx.is_intact()


@pytest.mark.parametrize(("sample", "axis"), [((256,), 1), ((3, 30, 31), 1)])
def test_large_results_in_place(target, dtype, rng, sample, axis):
    shape = larger_than_the_caches(sample, dtype)
    x, dy = (rng.standard_normal(shape, dtype=dtype) for _ in range(2))
    channels = shape[axis]
    p, mean, var = parameters(rng, channels, dtype), *np.ones((2, channels), dtype)
    options = dict(running_mean=mean, running_var=var, training=False, axis=axis)
    y, cache = _core.batch_norm(x, **p, **options)
    dx, *_ = _core.batch_norm_backward(dy, cache)
    _core.batch_norm_backward(dy, cache, out=dy)
    assert bits(dy) == bits(dx)
    _core.batch_norm(x, **p, **options, out=x)
    assert bits(x) == bits(y)


@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize(("sample", "axis"), [((256,), 1), ((5, 28, 28), 1)])
def test_large_batches_are_within_the_error_bound(target, rng, sample, axis, activation):
    dtype = np.float32
    shape = larger_than_the_caches(sample, dtype)
    x, dy = rng.standard_normal(shape, dtype=dtype), rng.standard_normal(shape, dtype=dtype)
    check(x, axis, parameters(rng, shape[axis], dtype), dy, activation=activation)


def test_large_batches_have_the_same_bits_on_any_threads(target, rng, threads):
    dtype = np.float32
    x = rng.standard_normal(larger_than_the_caches((256,), dtype), dtype=dtype)
    results = []
    for n in (1, 2, 3):
        threads(n)
        y, cache = _core.batch_norm(x, None, None, training=True, eps=EPS)
        dx, *_ = _core.batch_norm_backward(x, cache)
        results.append((bits(y), bits(dx)))
    assert results[0] == results[1] == results[2]
