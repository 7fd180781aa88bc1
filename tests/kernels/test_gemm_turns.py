"""Few rows of C, and a B whose columns are contiguous: tiles turn it as they go.

By squares of registers (gemm_turn.h) or, with registers of two groups, by groups of steps
(gemm_turn_groups.h), some registers of columns in turn.  All are compared with a B whose rows are
contiguous, which nothing turns, or with NumPy.  selftest_plan.cpp has which products go so.
"""

import numpy as np
import pytest

from fastbn import _core

from .arrays import bits, normal
from .gemm_checks import check_chains
from .memory import Padded, at_offset

ROWS = tuple(range(1, 12))
# Registers of 4, 8 and 16 lanes: one, two and four in turn, what they leave, and parts of one.
COLUMNS = (3, 4, 7, 8, 9, 16, 17, 23, 32, 33, 40, 51, 64, 67)
STEPS = (2, 3, 4, 5, 6, 7, 8, 9, 31, 130)


def transposed(b, past=0):
    """B in columns that follow one another, `past` bytes past a cache line."""
    return at_offset(np.ascontiguousarray(b.T), past).T


def in_columns(b, apart):
    """B in columns `apart` elements apart, with NaN between, before and behind them."""
    whole = np.full((b.shape[1] + 2, apart), np.nan, b.dtype)
    view = whole[1:-1, 1 : 1 + b.shape[0]]
    view[...] = b.T
    return view.T


def test_each_element_is_one_chain(target, rng, threads):
    threads(1)
    for n, k in ((67, 261), (40, 1100)):
        a = normal(rng, max(ROWS), k, dtype=np.float32)
        b = normal(rng, k, n, dtype=np.float32)
        check_chains(a, transposed(b), ROWS, fused=target != "scalar")


@pytest.mark.parametrize("n", COLUMNS)
def test_rests_of_columns_and_steps(target, dtype, rng, threads, n):
    threads(1)
    for k in STEPS:
        a, b = normal(rng, max(ROWS), k, dtype=dtype), normal(rng, k, n, dtype=dtype)
        for m in ROWS:
            got = Padded(np.full((m, n), np.nan, dtype))
            _core.gemm(a[:m], in_columns(b, k + 2), got.view)
            assert bits(got.view) == bits(_core.gemm(a[:m], b)), (m, k)
            assert got.is_intact()


@pytest.mark.parametrize("apart", [1024, 2048, 4096, 8192])
def test_columns_that_share_sets_of_a_cache(target, dtype, rng, threads, apart):
    """Of which fewer are gone through at a time."""
    threads(1)
    elements = apart // np.dtype(dtype).itemsize
    a, b = normal(rng, max(ROWS), 101, dtype=dtype), normal(rng, 101, 71, dtype=dtype)
    for m in ROWS:
        assert bits(_core.gemm(a[:m], in_columns(b, elements))) == bits(_core.gemm(a[:m], b)), m


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_any_place_and_order(target, dtype, rng, threads, n_threads):
    threads(n_threads)
    a, b = normal(rng, max(ROWS), 515, dtype=dtype), normal(rng, 515, 330, dtype=dtype)
    for m in ROWS:
        expected = bits(_core.gemm(a[:m], b))
        for past in (0, 16, 40):
            assert bits(_core.gemm(a[:m], transposed(b, past))) == expected
        backwards = np.ascontiguousarray(b[:, ::-1].T)[::-1].T  # columns, from the last in memory
        assert bits(_core.gemm(a[:m], backwards)) == expected


def test_any_layout_of_a(target, dtype, rng, threads):
    threads(1)
    page = 4096 // np.dtype(dtype).itemsize
    a, b = normal(rng, max(ROWS), 2 * page, dtype=dtype), normal(rng, 2 * page, 50, dtype=dtype)
    bt = transposed(b)
    for m in (1, 2, 5, 9, 10):
        expected = bits(_core.gemm(a[:m], b))  # rows of A a multiple of a page apart, too
        assert bits(_core.gemm(a[:m], bt)) == expected
        assert bits(_core.gemm(np.repeat(a[:m], 2, axis=1)[:, ::2], bt)) == expected
        assert bits(_core.gemm(np.asfortranarray(a[:m]), bt)) == expected


def test_a_last_block_of_fewer_steps_than_a_group(target, dtype, rng, threads):
    """Packed rows of A, 127 blocks of 4 KiB and one step, whose group begins before its block."""
    threads(1)
    page = 4096 // np.dtype(dtype).itemsize
    k = 127 * page + 1
    a = at_offset(normal(rng, 10, 128 * page, dtype=dtype), 0)[:, :k]
    b = normal(rng, k, 19, dtype=dtype)
    bt = transposed(b)
    for m in (5, 9, 10):
        assert bits(_core.gemm(a[:m], bt)) == bits(_core.gemm(a[:m], b)), m


@pytest.mark.parametrize("beta", [0.0, 0.5])
@pytest.mark.parametrize("trans_c", [False, True])
def test_epilogue(target, dtype, rng, threads, beta, trans_c):
    threads(1)
    for n, k in ((75, 68), (12, 9)):
        a, b = normal(rng, max(ROWS), k, dtype=dtype), normal(rng, k, n, dtype=dtype)
        bias = normal(rng, n, dtype=dtype)
        options = {"alpha": 2.0, "beta": beta, "bias": bias, "activation": "relu"}
        for m in ROWS:
            c = normal(rng, m, n, dtype=dtype)
            got, expected = Padded(c.T if trans_c else c), c.copy()
            _core.gemm(a[:m], transposed(b), got.view.T if trans_c else got.view, **options)
            _core.gemm(a[:m], b, expected, **options)
            assert bits(got.view.T if trans_c else got.view) == bits(expected)
            assert got.is_intact()


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_few_outputs(target, dtype, rng, threads, n):
    """Y = X W: the columns of X.T are contiguous, which tiles of Y.T turn."""
    threads(1)
    for m, k in ((64, 64), (67, 65), (301, 131)):
        a, w = normal(rng, m, k, dtype=dtype), normal(rng, k, 40, dtype=dtype)
        bias = normal(rng, 40, dtype=dtype)
        for options in ({}, {"bias": bias, "activation": "relu"}, {"alpha": 0.5, "beta": 0.7}):
            narrow = options | ({"bias": bias[:n]} if "bias" in options else {})
            c = normal(rng, m, 40, dtype=dtype)
            got = Padded(np.ascontiguousarray(c[:, :n]))
            _core.gemm(a, np.ascontiguousarray(w[:, :n]), got.view, **narrow)
            assert bits(got.view) == bits(_core.gemm(a, w, c.copy(), **options)[:, :n])
            assert got.is_intact()


def test_nan_stays_in_its_row_and_column(target, dtype, rng, threads):
    threads(1)
    a, b = normal(rng, 9, 131, dtype=dtype), normal(rng, 131, 67, dtype=dtype)
    for m in (1, 3, 9):
        for row, column in ((0, 0), (m - 1, 35), (m // 2, b.shape[1] - 1)):
            spoilt_a, spoilt_b = a[:m].copy(), b.copy()
            spoilt_a[row], spoilt_b[3, column] = np.nan, np.nan
            expected = np.zeros((m, b.shape[1]), np.bool_)
            expected[row], expected[:, column] = True, True
            got = np.isnan(_core.gemm(spoilt_a, transposed(spoilt_b)))
            np.testing.assert_array_equal(got, expected)
