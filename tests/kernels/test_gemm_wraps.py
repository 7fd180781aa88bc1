"""Products into a C, and of a B, that start anywhere in a cache line.

B wraps there, or the first panel is cut.
"""

import itertools

import numpy as np
import pytest

from fastbn import _core

from . import oracles
from .arrays import bits, normal
from .memory import ROGUE, at_offset

pytestmark = pytest.mark.usefixtures("core")

# Registers a row, in panels of 2 + 2, 2 + 3, 2 + 2 + 3, 2 + 3 + 3, three of 3, eight of 3.
REGISTERS = (4, 5, 7, 8, 9, 24)
WIDTH = 64  # bytes, of the widest register


def product_at(a, b, offset, around=WIDTH):
    """The product at `offset` bytes past a line, and whether all around it is as it was."""
    whole = at_offset(np.zeros(a.shape[0] * b.shape[1] + 2 * around // a.itemsize, a.dtype), offset)
    whole.view(np.uint8)[...] = ROGUE
    c = whole[around // a.itemsize : -around // a.itemsize].reshape(a.shape[0], b.shape[1])
    c[...] = np.nan
    _core.gemm(a, b, c)
    outside = np.r_[whole[: around // a.itemsize], whole[-around // a.itemsize :]]
    return c, bool((outside.view(np.uint8) == ROGUE).all())


@pytest.mark.parametrize("k", [1, 7, 8, 9, 20, 48, 64])
@pytest.mark.parametrize("n_threads", [1, 3])
def test_any_beginning_gives_the_same_bits(target, dtype, rng, threads, k, n_threads):
    threads(n_threads)
    size = np.dtype(dtype).itemsize
    for registers, m in itertools.product(REGISTERS, (64, 101)):
        n = registers * WIDTH // size
        a, b = normal(rng, k, m, dtype=dtype).T, normal(rng, k, n, dtype=dtype)
        expected, intact = product_at(a, b, 0)
        assert intact
        for offset in {size, 16, 32 - size, 48, WIDTH - size}:
            got, intact = product_at(a, b, offset)
            assert intact
            assert bits(got) == bits(expected)


# Where rows are half a register longer than whole ones, deep cores cut panels so that every second
# starts on a line: of B where it lies (few rows of C, k = 100), and of C row by row.
@pytest.mark.parametrize("k", [8, 24, 100])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_rows_of_parts_of_registers_give_the_same_bits(target, dtype, rng, threads, k, n_threads):
    threads(n_threads)
    size = np.dtype(dtype).itemsize
    for quarters, m in itertools.product((18, 26, 27, 54, 70), (8, 24, 101)):
        n = quarters * WIDTH // size // 4
        a, b = normal(rng, m, k, dtype=dtype), normal(rng, k, n, dtype=dtype)
        expected, intact = product_at(a, b, 0)
        assert intact
        for offset in {size, 16, WIDTH - size}:
            got, intact = product_at(a, at_offset(b, offset), offset)
            assert intact
            assert bits(got) == bits(expected)


# Last tiles of 5 rows and of 7 (a half and ones), the fewest rows that wrap, one less; on deep
# cores blocks of rows, of packed columns of A and of an A that is cut, for which B is packed anew.
PANELS = [(421, 65, "NN", 1), (71, 96, "TN", 2), (64, 130, "NT", 1), (63, 192, "NN", 1)]
PANELS += [(421, 192, "NN", 3), (421, 193, "TN", 1), (512, 96, "TN", 1), (1100, 192, "NN", 1)]


@pytest.mark.parametrize(("m", "k", "order", "n_threads"), PANELS)
def test_panels_of_any_beginning_give_the_same_bits(
    target, dtype, rng, threads, m, k, order, n_threads
):
    threads(n_threads)
    size = np.dtype(dtype).itemsize
    for registers in (6, 7, 8, 17):
        n = registers * WIDTH // size
        a, b = normal(rng, m, k, dtype=dtype), normal(rng, k, n, dtype=dtype)
        a = np.asfortranarray(a) if order == "TN" else a
        b = np.asfortranarray(b) if order == "NT" else b
        expected, intact = product_at(a, b, 0)
        assert intact
        for offset in (size, 16, WIDTH - size):
            got, intact = product_at(a, b, offset)
            assert intact
            assert bits(got) == bits(expected)


@pytest.mark.parametrize("offset", [0, 16, 40])
def test_each_element_is_one_chain(target, rng, offset):
    """Against NumPy step by step: what is said of bits above could be wrong alike."""
    for m, n, k in ((70, 128, 8), (64, 64, 5), (67, 80, 30), (77, 128, 70)):
        a, b = normal(rng, m, k, dtype=np.float32), normal(rng, k, n, dtype=np.float32)
        got, _ = product_at(a, b, offset)
        assert bits(got) == bits(oracles.one_chain(a, b, fused=target != "scalar"))


def test_nan_stays_in_its_row_and_column(target, dtype, rng):
    """Chains of two rows are stored as one register: each is of its own row."""
    size = np.dtype(dtype).itemsize
    m, n = 64, 8 * WIDTH // size
    a, b = normal(rng, m, 8, dtype=dtype), normal(rng, 8, n, dtype=dtype)
    for row, column in ((0, 0), (7, n - 1), (8, 1), (m - 1, n - 1)):
        spoilt_a, spoilt_b = a.copy(), b.copy()
        spoilt_a[row], spoilt_b[:, column] = np.nan, np.nan
        got, _ = product_at(spoilt_a, spoilt_b, 16)
        expected = np.zeros((m, n), np.bool_)
        expected[row], expected[:, column] = True, True
        np.testing.assert_array_equal(np.isnan(got), expected)


@pytest.mark.parametrize("n", [130, 201])
def test_rows_that_are_no_whole_registers(target, dtype, rng, n):
    a, b = normal(rng, 64, 8, dtype=dtype), normal(rng, 8, n, dtype=dtype)
    expected, _ = product_at(a, b, 0)
    for offset in (8, 16, 48):
        got, intact = product_at(a, b, offset)
        assert intact
        assert bits(got) == bits(expected)


@pytest.mark.parametrize("gap", [1, 2])
def test_gaps_between_rows(target, dtype, rng, gap):
    """Of whole registers: what follows a row is not the next one."""
    size = np.dtype(dtype).itemsize
    lanes = WIDTH // size
    for n in (8 * lanes, 27 * lanes // 2):
        a, b = normal(rng, 64, 8, dtype=dtype), normal(rng, 8, n, dtype=dtype)
        expected, _ = product_at(a, b, 0)
        for offset in (size, 16, 48):
            whole = at_offset(np.zeros((64, n + gap * lanes), dtype), offset)
            whole.view(np.uint8)[...] = ROGUE
            _core.gemm(a, b, whole[:, :n])
            assert bits(whole[:, :n]) == bits(expected)
            assert (np.ascontiguousarray(whole[:, n:]).view(np.uint8) == ROGUE).all()


@pytest.mark.parametrize("more", [-1, 0, 1, 2])
def test_blocks_of_columns(target, dtype, rng, more):
    """Columns beyond 4 KiB of them are another block, between whose rows is the rest of C."""
    size = np.dtype(dtype).itemsize
    n = 4096 // size + more * WIDTH // size
    a, b = normal(rng, 64, 8, dtype=dtype), normal(rng, 8, n, dtype=dtype)
    expected, _ = product_at(a, b, 0)
    for offset in (size, 16, 48):
        got, intact = product_at(a, b, offset)
        assert intact
        assert bits(got) == bits(expected)
