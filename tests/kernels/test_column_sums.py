"""Sums of columns."""

import itertools

import numpy as np
import pytest

from fastbn import _core

from .arrays import THREADS, bits, normal
from .bounds import sum_bound
from .gemm_checks import TILE_N
from .memory import LAYOUTS, WRITABLE, Padded, at_offset, random_index, random_view


def test_column_sums_error_bound(target, dtype, rng):
    rows_list = (0, 1, 2, 31, 32, 33, 63, 64, 65, 1000)
    for rows, cols in itertools.product(rows_list, [0, *TILE_N, 130]):
        x = normal(rng, rows, cols, dtype=dtype) + dtype(rng.choice((0, 100)))
        wide = x.astype(np.longdouble)
        got = _core.column_sums(x)
        assert got.shape == (cols,)
        assert got.dtype == dtype
        assert (abs(got - wide.sum(0)) <= sum_bound(rows, dtype, abs(wide).sum(0))).all()


def test_column_sums_of_integers_are_exact(target, dtype, rng):
    x = rng.integers(-1000, 1000, (3000, 50))
    np.testing.assert_array_equal(_core.column_sums(x.astype(dtype)), x.sum(0))


def test_column_sums_of_many_rows(target, rng):
    """Added up in float32 alone, 2^25 ones would end at 2^24."""
    ones = np.broadcast_to(np.float32(1), (1 << 25, 1))
    assert _core.column_sums(ones)[0] == 1 << 25


def test_column_sums_bits(target, dtype, rng, threads):
    x = normal(rng, 1001, 500, dtype=dtype)
    expected = bits(_core.column_sums(x))
    for n_threads in THREADS:
        threads(n_threads)
        assert bits(_core.column_sums(x)) == expected
    for name in LAYOUTS:
        assert bits(_core.column_sums(LAYOUTS[name](x))) == expected, name
    for offset in range(0, 65, np.dtype(dtype).itemsize):
        assert bits(_core.column_sums(at_offset(x, offset))) == expected, offset
    for cols in (1, 2, 15, 16, 17, 48, 49):  # nor do a column's bits depend on other columns
        assert bits(_core.column_sums(x[:, :cols])) == expected[: cols * x.itemsize]


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_column_sums_poison_stays_in_its_column(target, dtype, rng, poison):
    x = normal(rng, 40, 37, dtype=dtype)
    clean = _core.column_sums(x)
    for i, j in itertools.product((0, 31, 32, 39), range(37)):
        y = x.copy()
        y[i, j] = poison
        got = _core.column_sums(y)
        np.testing.assert_array_equal(got[j], dtype(poison))
        assert bits(np.delete(got, j)) == bits(np.delete(clean, j))


def test_column_sums_out(target, dtype, rng):
    x = normal(rng, 33, 50, dtype=dtype)
    expected = bits(_core.column_sums(x))
    for name in WRITABLE:
        out = LAYOUTS[name](np.full(50, np.nan, dtype))
        assert _core.column_sums(x, out) is out
        assert bits(out) == expected
    padded = Padded(np.zeros(50, dtype))
    _core.column_sums(x, padded.view)
    assert padded.is_intact()
    for row in (0, 13, 32):  # out may be part of x
        y = x.copy()
        assert bits(_core.column_sums(y, y[row])) == expected
    for _ in range(500):
        memory = normal(rng, 100, dtype=dtype)
        y, out = random_view(rng, memory, 5, 4), random_view(rng, memory, 4)
        want = memory.copy()
        want[random_index(out, memory)] = _core.column_sums(y.copy())
        _core.column_sums(y, out)
        assert bits(memory) == bits(want)


def test_column_sums_wrong_arguments(dtype, rng):
    x = normal(rng, 3, 4, dtype=dtype)
    out = np.full(3, 7, dtype)
    with pytest.raises(ValueError, match=r"out has shape \(3,\), expected \(4,\)"):
        _core.column_sums(x, out)
    with pytest.raises(ValueError, match="x must have 2 dimensions, got 1"):
        _core.column_sums(x[0], out)
    with pytest.raises(ValueError, match="share memory"):
        _core.column_sums(x, np.lib.stride_tricks.as_strided(out, (4,), (0,)))
    other = np.float64 if dtype == np.float32 else np.float32
    with pytest.raises(TypeError, match=r"out is float.. but the inputs are float"):
        _core.column_sums(x, np.zeros(4, other))
    assert (out == 7).all()
