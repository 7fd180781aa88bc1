"""Few rows of C and a B beyond an L2 of 512 KiB, whose rows are a multiple of half a page apart.

With registers of 32 bytes they go by rank-4 updates: gemm_updates.h.  So does one row beside most
B.  selftest_plan.cpp has which products do: here all are compared with rows of one that does not,
of two rows or more and a B whose rows share no sets of a cache, or with NumPy.  What counts is a
thread's part of B.
"""

import numpy as np
import pytest

from fastbn import _core

from .arrays import bits, normal
from .gemm_checks import check_chains
from .memory import Padded, at_offset

HALF_PAGE = 2048  # bytes
ROWS = (1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17)
# The last block of columns is of whole pairs of registers, or of one register and less, or more.
COLUMNS_LEFT_OUT = (0, 1, 7, 8, 9, 15)


def half_page(dtype):
    """Elements of it."""
    return HALF_PAGE // np.dtype(dtype).itemsize


def operands(rng, dtype, columns, steps=1042):
    return normal(rng, max(ROWS), steps, dtype=dtype), normal(rng, steps, columns, dtype=dtype)


def amid_nan(b, row):
    """Copy B to rows of `row` elements, with rows of NaN above and below and NaN beside it."""
    whole = at_offset(np.full((b.shape[0] + 2, row), np.nan, b.dtype), 16)
    view = whole[1:-1, 1 : 1 + b.shape[1]]
    view[...] = b
    return view


def crowded(b):
    """In rows that are a multiple of half a page apart."""
    elements = half_page(b.dtype)
    return amid_nan(b, (b.shape[1] // elements + 1) * elements)


def spread(b):
    """In rows that are not."""
    return amid_nan(b, (b.shape[1] + 2) | 1)


def by_tiles(a, b, out=None, **options):
    """Return what tiles make of it; an `out` is taken up as _core.gemm does."""
    rows = max(len(a), 2)
    twice = np.concatenate([a, a])[:rows]
    c = None if out is None else np.concatenate([out, out])[:rows]
    return _core.gemm(twice, spread(b), c, **options)[: len(a)]


def test_each_element_is_one_chain(target, rng, threads):
    threads(1)
    a, b = operands(rng, np.float32, 1024)
    check_chains(a, b, ROWS, fused=target != "scalar")


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_any_rows_give_the_same_bits(target, dtype, rng, threads, n_threads):
    threads(n_threads)
    a, b = operands(rng, dtype, n_threads * half_page(dtype))
    for m in ROWS:
        expected = bits(by_tiles(a[:m], b))
        for offset in (0, 16, 64):
            assert bits(_core.gemm(a[:m], at_offset(b, offset))) == expected
        assert bits(_core.gemm(a[:m], b[::-1].copy()[::-1])) == expected


@pytest.mark.parametrize("left_out", COLUMNS_LEFT_OUT)
@pytest.mark.parametrize("steps", [520, 521, 522, 523, 536])
def test_rests_of_columns_and_steps(target, dtype, rng, threads, left_out, steps):
    threads(1)
    a, b = operands(rng, dtype, half_page(dtype) - 1 - left_out, steps)
    for m in (1, 4, 6, 8):
        got = Padded(np.full((m, b.shape[1]), np.nan, dtype))
        _core.gemm(a[:m], crowded(b), got.view)
        assert bits(got.view) == bits(by_tiles(a[:m], b))
        assert got.is_intact()


def test_blocks_of_columns(target, dtype, rng, threads):
    """Sums of eight rows fill half of L1 some columns before a row of C ends, of one row later."""
    threads(1)
    for steps in (150, 850):  # of 8 MiB and more the next rows are asked for
        a, b = operands(rng, dtype, 5 * half_page(dtype) - 3, steps)
        for m in (1, 3, 8):
            assert bits(_core.gemm(a[:m], crowded(b))) == bits(by_tiles(a[:m], b))


def test_blocks_with_or_without_features(target, dtype, rng, threads):
    """A thread's gradients of the fused block, in scratch of the size that it asked for."""
    threads(1)
    rows, outputs = 1000, half_page(dtype)
    for features in (0, 1, 5, 8):
        x, w = normal(rng, rows, features, dtype=dtype), normal(rng, features, outputs, dtype=dtype)
        b, gamma, beta = normal(rng, 3, outputs, dtype=dtype)
        dy = normal(rng, rows, outputs, dtype=dtype)
        _, cache = _core.linear_batch_norm(x, w, b, gamma, beta, None, None, 0.1, 1e-5, True, True)
        _, d_weight, *_ = _core.linear_batch_norm_backward(dy, x, w, cache, True, True)
        z = _core.gemm(x, w, bias=b)
        _, cache = _core.batch_norm(z, gamma, beta, training=True, eps=1e-5, activation="relu")
        dz, *_ = _core.batch_norm_backward(dy, cache)
        expected = _core.gemm(np.ascontiguousarray(x.T), dz)
        assert bits(d_weight) == bits(expected)


def test_any_layout_of_a(target, dtype, rng, threads):
    threads(1)
    a, b = operands(rng, dtype, half_page(dtype))
    for m in (2, 8):
        expected = bits(by_tiles(a[:m], b))
        assert bits(_core.gemm(np.repeat(a[:m], 2, axis=1)[:, ::2], b)) == expected
        assert bits(_core.gemm(np.asfortranarray(a[:m]), b)) == expected
        assert bits(_core.gemm(np.ascontiguousarray(a[:m].T), b, trans_a=True)) == expected


@pytest.mark.parametrize("beta", [0.0, 0.5])
@pytest.mark.parametrize("trans_c", [False, True])
def test_epilogue(target, dtype, rng, threads, beta, trans_c):
    threads(1)
    a, b = operands(rng, dtype, 2 * half_page(dtype) - 4)
    bias = normal(rng, b.shape[1], dtype=dtype)
    options = {"alpha": 2.0, "beta": beta, "bias": bias, "activation": "relu"}
    for m in (1, 5, 8, 16):
        c = normal(rng, m, b.shape[1], dtype=dtype)
        got, expected = Padded(c.T if trans_c else c), by_tiles(a[:m], b, c, **options)
        _core.gemm(a[:m], crowded(b), got.view.T if trans_c else got.view, **options)
        assert bits(got.view.T if trans_c else got.view) == bits(expected)
        assert got.is_intact()


def test_nan_stays_in_its_row_and_column(target, dtype, rng, threads):
    threads(1)
    m = 8
    a, b = operands(rng, dtype, half_page(dtype))
    for row, column in ((0, 0), (3, 1), (m - 1, b.shape[1] - 1)):
        spoilt_a, spoilt_b = a[:m].copy(), b.copy()
        spoilt_a[row], spoilt_b[3, column] = np.nan, np.nan
        expected = np.zeros((m, b.shape[1]), np.bool_)
        expected[row], expected[:, column] = True, True
        np.testing.assert_array_equal(np.isnan(_core.gemm(spoilt_a, spoilt_b)), expected)


# One row beside a B of any size: whole pairs of registers and every rest, few steps and many.
@pytest.mark.parametrize("columns", [8, 16, 17, 24, 31, 32, 63, 64, 65, 71, 72, 79, 80, 200, 1100])
@pytest.mark.parametrize("steps", [1, 3, 4, 5, 7, 8, 15, 16, 17, 63, 66])
def test_one_row_has_the_bits_of_any(target, dtype, rng, threads, columns, steps):
    threads(1)
    a, b = operands(rng, dtype, columns, steps)
    got = Padded(np.full((1, columns), np.nan, dtype))
    for view in (b, amid_nan(b, columns + 3)):
        _core.gemm(a[:1], view, got.view)
        assert bits(got.view) == bits(by_tiles(a[:1], b))
        assert got.is_intact()


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_one_row_of_a_large_b(target, dtype, rng, threads, n_threads):
    threads(n_threads)
    a, b = operands(rng, dtype, 903, 1042)
    assert bits(_core.gemm(a[:1], b)) == bits(by_tiles(a[:1], b))
