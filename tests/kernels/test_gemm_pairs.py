"""Few rows of C and a B that L2 does not keep, whose rows are pairs of lines apart.

With registers of 64 bytes and deep windows it is read by panels of two registers: gemm_pairs.h.
selftest_plan.cpp has which products are: here all are compared with one that is not, its B lying
in rows an odd number of lines apart, or with NumPy.  What counts is a thread's part of B.
"""

import numpy as np
import pytest

from fastbn import _core

from .arrays import bits, normal
from .gemm_checks import check_chains
from .memory import Padded, at_offset

pytestmark = pytest.mark.usefixtures("core")

LINE = 64  # bytes
COLUMNS = 8  # lines of them
STEPS = 2080  # so that B is more than half of 2 MiB, in three steps of k or five
# Tiles of each height, equal ones and unequal ones, two and more.
ROWS = (*range(1, 18), 23, 24, 25, 31, 40)


def lanes(dtype):
    """Elements of a line."""
    return LINE // np.dtype(dtype).itemsize


def operands(rng, dtype, columns, steps=STEPS):
    return normal(rng, max(ROWS), steps, dtype=dtype), normal(rng, steps, columns, dtype=dtype)


def amid_nan(b, row, before=0):
    """Copy B to rows of `row` elements, `before` elements after the beginning of a line."""
    whole = at_offset(np.full((b.shape[0] + 2, row), np.nan, b.dtype), 0)
    view = whole[1:-1, before : before + b.shape[1]]
    view[...] = b
    return view


def in_odd_rows(b):
    """Copy B to rows an odd number of lines apart."""
    w = lanes(b.dtype)
    lines = -(-b.shape[1] // w)
    return amid_nan(b, (lines + 1 - lines % 2) * w)


def test_each_element_is_one_chain(target, rng, threads):
    threads(1)
    a, b = operands(rng, np.float32, COLUMNS * lanes(np.float32))
    check_chains(a, b, ROWS, fused=target != "scalar")


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_any_beginning_gives_the_same_bits(target, dtype, rng, threads, n_threads):
    threads(n_threads)
    a, b = operands(rng, dtype, n_threads * COLUMNS * lanes(dtype))
    for m in (1, 8, 9, 12, 20):
        expected = _core.gemm(a[:m], in_odd_rows(b))
        for offset in (0, 16, LINE, LINE + 48):
            assert bits(_core.gemm(a[:m], at_offset(b, offset))) == bits(expected)


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_columns_of_a_wider_matrix(target, dtype, rng, threads, n_threads):
    """The first panel and the last are narrower, in whole registers or less."""
    threads(n_threads)
    w, lines = lanes(dtype), n_threads * (COLUMNS + 1)
    for columns in (lines * w, lines * w - w // 2):
        a, b = operands(rng, dtype, columns)
        for m in (3, 8, 10, 12, 21):
            expected = _core.gemm(a[:m], in_odd_rows(b))
            for before in (0, 3, w):
                view = amid_nan(b, (lines + 2 + lines % 2) * w, before)
                assert bits(_core.gemm(a[:m], view)) == bits(expected)


# Lines a row, steps: two blocks of columns; rows a page apart, as one block.
@pytest.mark.parametrize(("lines", "steps"), [(70, 300), (64, 520)])
def test_other_shapes(target, dtype, rng, threads, lines, steps):
    threads(1)
    a, b = operands(rng, dtype, lines * lanes(dtype), steps)
    for m in (2, 8, 11, 12, 22):
        expected = _core.gemm(a[:m], in_odd_rows(b))
        assert bits(_core.gemm(a[:m], b)) == bits(expected)
        assert bits(_core.gemm(a[:m], b[::-1].copy()[::-1])) == bits(expected)


def test_columns_of_a_are_packed(target, dtype, rng, threads):
    threads(1)
    a, b = operands(rng, dtype, COLUMNS * lanes(dtype))
    every_other = np.repeat(a, 2, axis=1)[:, ::2]
    for m in (8, 9, 12, 20):
        assert bits(_core.gemm(every_other[:m], b)) == bits(_core.gemm(a[:m], in_odd_rows(b)))


@pytest.mark.parametrize("beta", [0.0, 0.5])
@pytest.mark.parametrize("trans_c", [False, True])
def test_epilogue(target, dtype, rng, threads, beta, trans_c):
    threads(1)
    a, b = operands(rng, dtype, COLUMNS * lanes(dtype))
    bias = normal(rng, b.shape[1], dtype=dtype)
    options = {"alpha": 2.0, "beta": beta, "bias": bias, "activation": "relu"}
    for m in (5, 8, 11, 12, 14, 24):
        c = normal(rng, m, b.shape[1], dtype=dtype)
        got, expected = Padded(c.T if trans_c else c), c.copy()
        _core.gemm(a[:m], b, got.view.T if trans_c else got.view, **options)
        _core.gemm(a[:m], in_odd_rows(b), expected, **options)
        assert bits(got.view.T if trans_c else got.view) == bits(expected)
        assert got.is_intact()


def test_nan_stays_in_its_row_and_column(target, dtype, rng, threads):
    threads(1)
    m = 21
    a, b = operands(rng, dtype, COLUMNS * lanes(dtype))
    for row, column in ((0, 0), (10, 1), (11, b.shape[1] - 1), (m - 1, lanes(dtype))):
        spoilt_a, spoilt_b = a[:m].copy(), b.copy()
        spoilt_a[row], spoilt_b[3, column] = np.nan, np.nan
        expected = np.zeros((m, b.shape[1]), np.bool_)
        expected[row], expected[:, column] = True, True
        np.testing.assert_array_equal(np.isnan(_core.gemm(spoilt_a, spoilt_b)), expected)
