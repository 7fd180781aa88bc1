"""Batch norm of more than the last cache holds: what is written goes past it."""

import numpy as np
import pytest

import fastbn
from fastbn import _core

from .batchnorm_checks import EPS, bits, check, normal, parameters
from .memory import ROGUE

# The last cache, where it is known: above it lie the sizes from which on writes go past it.
LAST = max(fastbn.info()["cache_sizes"])
pytestmark = pytest.mark.skipif(
    not 0 < LAST <= 64 << 20, reason="the last cache is unknown, or a test of its size too large"
)

# Rows of whole lines, and of some more; rows too short for a head; images whose rows all begin
# elsewhere in a line, long and short ones.
SHAPES = [
    ((256,), 1),
    ((1030,), 1),
    ((72,), 1),
    ((3, 30, 31), 1),
    ((16, 5, 5), 1),
    ((8, 4, 40), -1),
]


def larger_than_the_caches(sample: tuple[int, ...], dtype: type) -> tuple[int, ...]:
    """Return a shape of which forward, backward and inference move 1.25 last caches or more."""
    values = int(0.7 * LAST) // np.dtype(dtype).itemsize
    return (values // int(np.prod(sample)) + 3, *sample)


def within_rogue_bytes(shape: tuple[int, ...], dtype: type, past: int) -> tuple[np.ndarray, ...]:
    """Return an array `past` bytes past a line, and the bytes before and after it."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.full(size + 256, ROGUE, np.uint8)
    begin = -raw.ctypes.data % 64 + 64 + past
    return raw[begin : begin + size].view(dtype).reshape(shape), raw[:begin], raw[begin + size :]


@pytest.mark.parametrize("past", [0, 16])
@pytest.mark.parametrize(("sample", "axis"), SHAPES)
def test_large_results_have_the_bits_of_small_ones(target, dtype, rng, sample, axis, past):
    """Rows depend on their channel's coefficients alone: pieces of the batch give the same bits."""
    shape = larger_than_the_caches(sample, dtype)
    x = rng.standard_normal(shape, dtype=dtype)
    channels = shape[axis]
    p = parameters(rng, channels, dtype)
    mean, var = normal(rng, channels, dtype=dtype), rng.random(channels).astype(dtype)
    options = dict(running_mean=mean, running_var=var, training=False, axis=axis, activation="relu")
    out, *around = within_rogue_bytes(shape, dtype, past)
    y, cache = _core.batch_norm(x, **p, **options, out=out)
    dx, *_ = _core.batch_norm_backward(x, cache, out=within_rogue_bytes(shape, dtype, past)[0])
    for rows in np.array_split(np.arange(len(x)), 7):
        some = slice(rows[0], rows[-1] + 1)
        small, its_cache = _core.batch_norm(x[some], **p, **options)
        assert bits(y[some]) == bits(small)
        small, *_ = _core.batch_norm_backward(x[some], its_cache)
        assert bits(dx[some]) == bits(small)
    assert all((bytes_ == ROGUE).all() for bytes_ in around)


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
