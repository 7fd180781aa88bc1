"""Few rows of C: B is read where it lies, from wherever it starts in a cache line.

With registers of 64 bytes it wraps, if its rows are whole ones long and apart:
gemm_wrap_in_place.h.
"""

import numpy as np
import pytest

from fastbn import _core

from . import oracles
from .arrays import bits, normal
from .memory import Padded, at_offset

pytestmark = pytest.mark.usefixtures("core")

WIDTH = 64  # bytes, of the widest register
# Registers a row, in panels of 2 + 2, 2 + 3, 3 + 3, 2 + 2 + 3, three of 3, eight of 3.
REGISTERS = (4, 5, 6, 7, 9, 24)
# Rows of C: tiles of each height, whole ones, with a rest, and without one.
ROWS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 40)


def beginnings(dtype):
    """Bytes past a line: the fewest and the most possible, and two of NumPy's."""
    size = np.dtype(dtype).itemsize
    return sorted({size, 16, 48, WIDTH - size})


@pytest.mark.parametrize("k", [1, 20, 100])
@pytest.mark.parametrize("n_threads", [1, 3])
def test_any_beginning_gives_the_same_bits(target, dtype, rng, threads, k, n_threads):
    threads(n_threads)
    for registers in REGISTERS:
        n = registers * WIDTH // np.dtype(dtype).itemsize
        for m in ROWS:
            a, b = normal(rng, m, k, dtype=dtype), normal(rng, k, n, dtype=dtype)
            expected = _core.gemm(a, at_offset(b, 0))
            for offset in beginnings(dtype):
                c = Padded(np.full((m, n), np.nan, dtype))
                _core.gemm(a, at_offset(b, offset), c.view)
                assert bits(c.view) == bits(expected)
                assert c.is_intact()


# One step of k, and two: the second takes up what the first left in C, or for beta in scratch.
@pytest.mark.parametrize("k", [30, 1100])
@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_epilogue_of_any_beginning(target, dtype, rng, k, beta):
    n = 8 * WIDTH // np.dtype(dtype).itemsize
    bias = normal(rng, n, dtype=dtype)
    for m in (3, 8, 26):
        a, b, c = (normal(rng, *shape, dtype=dtype) for shape in ((m, k), (k, n), (m, n)))

        def product(b, m=m, a=a, c=c):
            out = Padded(c)
            options = {"alpha": 2.0, "beta": beta, "bias": bias, "activation": "relu"}
            _core.gemm(a, b, out.view, **options)
            assert out.is_intact()
            return bits(out.view)

        expected = product(at_offset(b, 0))
        for offset in beginnings(dtype):
            assert product(at_offset(b, offset)) == expected


@pytest.mark.parametrize("offset", [4, 16, 40])
def test_each_element_is_one_chain(target, rng, offset):
    """Against NumPy step by step: what is said of bits above could be wrong alike."""
    for m, n, k in ((8, 128, 9), (3, 64, 5), (13, 256, 30)):
        a, b = normal(rng, m, k, dtype=np.float32), normal(rng, k, n, dtype=np.float32)
        got = _core.gemm(a, at_offset(b, offset))
        assert bits(got) == bits(oracles.one_chain(a, b, fused=target != "scalar"))


@pytest.mark.parametrize("gap", [0, 1, 4])
def test_what_lies_around_b_has_no_part_in_c(target, dtype, rng, gap):
    """NaN before the first row, after the last, and in gaps of whole registers between them."""
    size = np.dtype(dtype).itemsize
    lanes = WIDTH // size
    m, n, k = 9, 8 * lanes, 20
    a, b = normal(rng, m, k, dtype=dtype), normal(rng, k, n, dtype=dtype)
    expected = _core.gemm(a, at_offset(b, 0))
    for offset in beginnings(dtype):
        whole = at_offset(np.full((k + 2) * (n + gap * lanes), np.nan, dtype), offset)
        amid = whole.reshape(k + 2, n + gap * lanes)[1:-1, :n]
        amid[...] = b
        assert bits(_core.gemm(a, amid)) == bits(expected)


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_rows_that_are_no_whole_registers_but_so_far_apart(target, dtype, rng, threads, n_threads):
    """Of a B of 1000 columns in rows of 1008 or 1024 a thread's part may be whole registers."""
    threads(n_threads)
    m, n, k = 24, 1000, 30
    a, b = normal(rng, m, k, dtype=dtype), normal(rng, k, n, dtype=dtype)
    expected = _core.gemm(a, at_offset(b, 0))
    for row in (1008, 1024):
        for offset in beginnings(dtype):
            whole = at_offset(np.full((k, row), np.nan, dtype), offset)
            whole[:, :n] = b
            assert bits(_core.gemm(a, whole[:, :n])) == bits(expected)


def test_nan_stays_in_its_row_and_column(target, dtype, rng):
    m, n, k = 11, 7 * WIDTH // np.dtype(dtype).itemsize, 20
    a, b = normal(rng, m, k, dtype=dtype), normal(rng, k, n, dtype=dtype)
    for row, column in ((0, 0), (7, n - 1), (8, 1), (m - 1, n - 5)):
        spoilt_a, spoilt_b = a.copy(), b.copy()
        spoilt_a[row], spoilt_b[3, column] = np.nan, np.nan
        expected = np.zeros((m, n), np.bool_)
        expected[row], expected[:, column] = True, True
        got = _core.gemm(spoilt_a, at_offset(spoilt_b, 16))
        np.testing.assert_array_equal(np.isnan(got), expected)


# A last block of one panel or less does not wrap.
@pytest.mark.parametrize("more", [0, 1, 3, 4, 9])
def test_blocks_of_columns(target, dtype, rng, more):
    """Columns beyond 4 KiB of them are another block."""
    n = (4096 + more * WIDTH) // np.dtype(dtype).itemsize
    for m in (3, 8, 17):
        a, b = normal(rng, m, 12, dtype=dtype), normal(rng, 12, n, dtype=dtype)
        expected = _core.gemm(a, at_offset(b, 0))
        for offset in beginnings(dtype):
            assert bits(_core.gemm(a, at_offset(b, offset))) == bits(expected)
