"""Few rows of C and a B that L2 does not keep, whose rows are pairs of lines apart.

With registers of 64 bytes and deep windows it is read by panels of two registers: gemm_pairs.h.
"""

import numpy as np
import pytest

from fastbn import _core

from . import oracles
from .arrays import bits, normal
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


def operands(rng, dtype, columns):
    return normal(rng, max(ROWS), STEPS, dtype=dtype), normal(rng, STEPS, columns, dtype=dtype)


def amid_nan(b, row, before):
    """Copy B to rows of `row` elements, `before` elements after the beginning of a line."""
    whole = at_offset(np.full((b.shape[0] + 2, row), np.nan, b.dtype), 0)
    view = whole[1:-1, before : before + b.shape[1]]
    view[...] = b
    return view


def test_each_element_is_one_chain(target, rng):
    a, b = operands(rng, np.float32, COLUMNS * lanes(np.float32))
    expected = oracles.one_chain(a, b, fused=target != "scalar")
    for m in ROWS:
        c = Padded(np.full((m, b.shape[1]), np.nan, np.float32))
        _core.gemm(a[:m], b, c.view)
        assert bits(c.view) == bits(expected[:m])
        assert c.is_intact()


@pytest.mark.parametrize("n_threads", [1, 3])
def test_any_beginning_gives_the_same_bits(target, dtype, rng, threads, n_threads):
    threads(n_threads)
    a, b = operands(rng, dtype, COLUMNS * lanes(dtype))
    for m in (1, 8, 9, 12, 20):
        expected = _core.gemm(a[:m], at_offset(b, 0))
        for offset in (16, LINE, LINE + 48):
            assert bits(_core.gemm(a[:m], at_offset(b, offset))) == bits(expected)


@pytest.mark.parametrize("n_threads", [1, 3])
def test_columns_of_a_wider_matrix(target, dtype, rng, threads, n_threads):
    """The first panel and the last are narrower, in whole registers or less."""
    threads(n_threads)
    w = lanes(dtype)
    for columns in ((COLUMNS + 1) * w, COLUMNS * w + 5):
        a, b = operands(rng, dtype, columns)
        for m in (3, 8, 10, 12, 21):
            expected = _core.gemm(a[:m], b)
            for before in (0, 3, w):
                view = amid_nan(b, (COLUMNS + 4) * w, before)
                assert bits(_core.gemm(a[:m], view)) == bits(expected)


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_epilogue(target, dtype, rng, beta):
    """Beside a B whose rows are an odd number of lines apart, which is not read by pairs."""
    w = lanes(dtype)
    a, b = operands(rng, dtype, COLUMNS * w)
    odd = amid_nan(b, (COLUMNS + 1) * w, 0)
    bias = normal(rng, b.shape[1], dtype=dtype)
    options = {"alpha": 2.0, "beta": beta, "bias": bias, "activation": "relu"}
    for m in (5, 8, 11, 12, 14, 24):
        c = normal(rng, m, b.shape[1], dtype=dtype)
        got, expected = Padded(c), c.copy()
        _core.gemm(a[:m], b, got.view, **options)
        _core.gemm(a[:m], odd, expected, **options)
        assert bits(got.view) == bits(expected)
        assert got.is_intact()


def test_nan_stays_in_its_row_and_column(target, dtype, rng):
    m = 21
    a, b = operands(rng, dtype, COLUMNS * lanes(dtype))
    for row, column in ((0, 0), (10, 1), (11, b.shape[1] - 1), (m - 1, lanes(dtype))):
        spoilt_a, spoilt_b = a[:m].copy(), b.copy()
        spoilt_a[row], spoilt_b[3, column] = np.nan, np.nan
        expected = np.zeros((m, b.shape[1]), np.bool_)
        expected[row], expected[:, column] = True, True
        np.testing.assert_array_equal(np.isnan(_core.gemm(spoilt_a, spoilt_b)), expected)
