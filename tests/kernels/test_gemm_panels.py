"""Matrix products: panels of B that the tiles of the panel before leave packed."""

import itertools

import numpy as np
import pytest

from fastbn import _core

from .arrays import bits

pytestmark = pytest.mark.usefixtures("core")

# From 32 rows on, with tiles of 8 rows from 40; the last two tiles do not take part, and those of
# two registers are 12 rows high.  Half-width units read B where it lies up to 64 or 96 rows.
ROWS = (31, 32, 33, 39, 40, 41, 47, 49, 65, 66, 97, 98, 111)


def integers(rng, *shape, dtype):
    """Integers whose sums below are exact: at most 64 * 1100, and what C adds, below 2^24."""
    return rng.integers(-8, 9, shape).astype(dtype)


def exact(a, b):
    return a.astype(np.float64) @ b.astype(np.float64)


@pytest.mark.parametrize("rows", ROWS)
def test_large_b(target, dtype, rng, threads, rows):
    """Panels of B, 2.3 to 2.9 MB of it, take turns in two places; 129 steps are the fewest."""
    threads(1)
    shapes = [(rows, 5000, 129), (rows, 1024, 600)] if target != "scalar" else [(rows, 1300, 460)]
    for m, n, k in shapes:
        a, b = integers(rng, m, k, dtype=dtype), integers(rng, k, n, dtype=dtype)
        np.testing.assert_array_equal(_core.gemm(a, b), exact(a, b))


# B of 2.5 MB.  On deep cores B of contiguous rows is packed anew for each block of A instead, but
# past 137 columns of floats; turned, it is for 421 rows and more of doubles.
@pytest.mark.parametrize("trans_b", [False, True])
@pytest.mark.parametrize(("n", "k"), [(565, 1100), (200, 1100), (137, 1024)])
@pytest.mark.parametrize(("m", "beta"), [(200, 0.0), (421, 0.0), (421, -2.0), (500, 0.0)])
def test_rows_of_a_stream_past_b(target, dtype, rng, threads, m, beta, n, k, trans_b):
    """Several steps over k, the unfinished sums in C or in scratch; a last panel that is cut."""
    a, b = integers(rng, m, k, dtype=dtype), integers(rng, k, n, dtype=dtype)
    c = integers(rng, m, n, dtype=dtype)
    for n_threads, order in itertools.product((1, 2), "CF"):
        threads(n_threads)
        out = c.copy(order=order)
        _core.gemm(a, b.T.copy() if trans_b else b, out, trans_b=trans_b, beta=beta)
        np.testing.assert_array_equal(out, exact(a, b) + beta * c)


# On deep cores 1104 rows and more, A of 4.4 MB, pass groups of panels in strips of 48 rows, the
# last strip of 48 to 95; 700 are cut into blocks, and B is packed anew for each.  144 columns are a
# group: 600 are four of them and a part of one.
@pytest.mark.parametrize("m", [700, 1104, 1151, 1153])
def test_strips_of_a_pass_groups_of_panels(target, dtype, rng, threads, m):
    """On one thread, and twice as many rows on two; with an epilogue, and without."""
    n, k = (600, 1000) if target != "scalar" else (60, 1000)
    b, bias = integers(rng, k, n, dtype=dtype), integers(rng, n, dtype=dtype)
    for n_threads, beta, has_bias in ((1, 0, False), (1, -2, True), (1, 0, True), (2, 0, True)):
        threads(n_threads)
        a = integers(rng, m * n_threads, k, dtype=dtype)
        c = integers(rng, m * n_threads, n, dtype=dtype)
        out = c.copy()
        _core.gemm(a, b, out, beta=beta, bias=bias if has_bias else None)
        np.testing.assert_array_equal(out, exact(a, b) + beta * c + bias * has_bias)


# Of a last block of so many rows the first tile may have less than 8 or 4, and leaves B as it is.
FEW = (5, 6, 7, 9, 10, 11, 12, 13, 14, 15)


@pytest.mark.parametrize("few", FEW)
def test_few_rows_past_a_block_in_scratch(target, dtype, rng, threads, few):
    """192 rows a run, as unfinished sums wait in scratch, or all of a C in Fortran's order."""
    threads(1)
    for n, k, order, options in ((150, 1100, "C", {"beta": -2.0}), (150, 64, "F", {"bias": True})):
        a = integers(rng, 192 + few, k, dtype=dtype)
        b, bias = integers(rng, k, n, dtype=dtype), integers(rng, n, dtype=dtype)
        c = integers(rng, 192 + few, n, dtype=dtype)
        out = c.copy(order=order)
        beta, has_bias = options.get("beta", 0.0), options.get("bias", False)
        _core.gemm(a, b, out, beta=beta, bias=bias if has_bias else None)
        np.testing.assert_array_equal(out, exact(a, b) + beta * c + bias * has_bias)


def test_few_rows_past_a_block_of_a(target, dtype, rng, threads):
    """Blocks of 192 rows of A, the last of 9, or of 5 where tiles have 4 rows."""
    threads(1)
    m, n, k = 4233 if target in ("avx512", "neon") else 8837, 96, 4096 // np.dtype(dtype).itemsize
    a, b = integers(rng, m, k, dtype=dtype), integers(rng, k, n, dtype=dtype)
    np.testing.assert_array_equal(_core.gemm(a, b), exact(a, b))


@pytest.mark.parametrize("rows", [*ROWS, 193, 225, 400])
def test_packed_a(target, dtype, rng, threads, rows):
    """The first block of rows alone packs B, each panel in a place of its own."""
    threads(1)
    for n, k in ((300, 129), (300, 257), (97, 1100)):  # 257 of float64 as 129 and 128
        a, b = integers(rng, k, rows, dtype=dtype), integers(rng, k, n, dtype=dtype)
        np.testing.assert_array_equal(_core.gemm(a, b, trans_a=True), exact(a.T, b))


@pytest.mark.parametrize("past", [1, 8, 64])
def test_row_by_row_in_very_many_blocks_of_columns(target, dtype, rng, threads, past):
    """Blocks rounded up to registers would leave a last one of a register, or of a part of one."""
    threads(1)
    block = 4096 // np.dtype(dtype).itemsize
    registers = block * np.dtype(dtype).itemsize // {"avx512": 64, "avx2": 32}.get(target, 16)
    n, m = (registers - 1) * block + past, 33
    a, b = integers(rng, m, 8, dtype=dtype), integers(rng, 8, n, dtype=dtype)
    c = np.zeros((m + 1, n), dtype)
    _core.gemm(a, b, c[:m])
    np.testing.assert_array_equal(c[:m], exact(a, b))
    assert not c[m].any()


def test_neighbours_and_panels_change_no_bit(target, dtype, rng, threads):
    """A row's bits are those it has where nothing is packed: alone."""
    threads(1)
    a = rng.standard_normal((100, 700)).astype(dtype)
    b = rng.standard_normal((700, 1024)).astype(dtype)
    whole = _core.gemm(a, b)
    for i in (0, 8, 63, 84, 99):
        assert bits(whole[i : i + 1]) == bits(_core.gemm(a[i : i + 1], b))
