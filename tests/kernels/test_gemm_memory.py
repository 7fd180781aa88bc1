"""Matrix products: where operands lie, and what is not touched."""

import itertools
import mmap
import sys

import numpy as np
import pytest

from fastbn import _core

from . import guard_pages
from .arrays import THREADS, bits, normal
from .memory import LAYOUTS, WRITABLE, Padded, at_offset, random_index, random_view

pytestmark = pytest.mark.usefixtures("core")


@pytest.mark.parametrize(("m", "n", "k"), [(2, 3, 4), (9, 49, 5), (33, 100, 270), (70, 100, 270)])
def test_strides_change_no_bit(target, dtype, rng, m, n, k):
    a, b = normal(rng, m, k, dtype=dtype), normal(rng, k, n, dtype=dtype)
    c, bias = normal(rng, m, n, dtype=dtype), normal(rng, n, dtype=dtype)
    expected = bits(_core.gemm(a, b, c.copy(), alpha=0.7, beta=0.7, bias=bias))
    for name_a, name_b in itertools.product(LAYOUTS, repeat=2):
        for trans_a, trans_b in itertools.product((False, True), repeat=2):
            got = _core.gemm(
                LAYOUTS[name_a](a.T if trans_a else a), LAYOUTS[name_b](b.T if trans_b else b),
                c.copy(), alpha=0.7, beta=0.7, trans_a=trans_a, trans_b=trans_b, bias=bias,
            )  # fmt: skip
            assert bits(got) == expected, (name_a, name_b, trans_a, trans_b)
    for name, name_bias in itertools.product(WRITABLE, LAYOUTS):
        out = LAYOUTS[name](c.copy())
        got = _core.gemm(a, b, out, alpha=0.7, beta=0.7, bias=LAYOUTS[name_bias](bias))
        assert got is out
        assert bits(out) == expected, name


def test_broadcast_operands(target, dtype, rng):
    """Strides of zero: one row or column, or one number, seen many times."""
    for m, n, k in ((3, 4, 5), (9, 49, 300), (60, 100, 270)):
        column, row, one = (normal(rng, *s, dtype=dtype) for s in ((m, 1), (1, k), (1, 1)))
        b = np.broadcast_to(normal(rng, 1, n, dtype=dtype), (k, n))
        for narrow in (column, row, one):
            a = np.broadcast_to(narrow, (m, k))
            assert bits(_core.gemm(a, b)) == bits(_core.gemm(a.copy(), b.copy()))
        same_columns = np.broadcast_to(normal(rng, k, 1, dtype=dtype), (k, n))
        assert bits(_core.gemm(a, same_columns)) == bits(_core.gemm(a, same_columns.copy()))


def test_alignment_changes_no_bit(target, dtype, rng):
    for m, n, k in ((9, 49, 5), (33, 100, 270)):
        a, b = normal(rng, m, k, dtype=dtype), normal(rng, k, n, dtype=dtype)
        c, bias = normal(rng, m, n, dtype=dtype), normal(rng, n, dtype=dtype)
        expected = bits(_core.gemm(a, b, c.copy(), beta=0.7, bias=bias))
        for offset in range(0, 65, np.dtype(dtype).itemsize):
            for which in range(5):  # each operand alone, then all of them
                operands = [
                    at_offset(x, offset if which in (i, 4) else 0)
                    for i, x in enumerate((a, b, c, bias))
                ]
                got = _core.gemm(*operands[:3], beta=0.7, bias=operands[3])
                assert bits(got) == expected, (offset, which)


@pytest.mark.parametrize("n", [100, 128, 256, 513, 514, 528, 1025, 1030, 1037, 1040])
@pytest.mark.parametrize(
    ("m", "k", "trans_a"),
    [
        (3, 40, False),
        (8, 40, False),
        (21, 300, False),
        (70, 9, False),
        (70, 9, True),
        (67, 40, True),
    ],
)
def test_alignment_changes_no_bit_where_panels_begin_on_a_line(
    target, dtype, rng, threads, m, n, k, trans_a
):
    """Rows whole registers apart: only where the first one starts decides how panels are cut.

    B is read where it lies, and C written row by row, in panels that begin on a cache line but for
    the first; m and k are on both sides of what decides between that and packing, n of the ends of
    blocks of columns.
    """
    apart = -(-n // 16) * 16
    a = normal(rng, *((k, m) if trans_a else (m, k)), dtype=dtype)
    b = normal(rng, k, apart, dtype=dtype)
    expected = bits(_core.gemm(a, at_offset(b, 0)[:, :n], trans_a=trans_a))
    for offset in range(0, 64, np.dtype(dtype).itemsize):
        c = at_offset(np.full((m + 2, apart), 7, dtype), offset)
        threads(int(rng.choice(THREADS)))
        _core.gemm(a, at_offset(b, 64 - offset)[:, :n], c[1:-1, :n], trans_a=trans_a)
        assert bits(c[1:-1, :n]) == expected, offset
        c[1:-1, :n] = 7
        assert (c == 7).all(), offset


@pytest.mark.parametrize("m", [1, 8, 16, 33])
def test_alignment_changes_no_bit_where_columns_of_b_are_a_page_apart(target, dtype, rng, m):
    """Tiles that turn B begin with as many steps as lie before a cache line: at any offset."""
    k = 8192 // np.dtype(dtype).itemsize
    a, bt = normal(rng, m, k, dtype=dtype), normal(rng, 35, k, dtype=dtype)
    for steps in (k, 5):  # of 5 steps, some offsets have more before the line
        expected = bits(_core.gemm(a[:, :steps], np.ascontiguousarray(bt[:, :steps].T)))
        for offset in range(0, 65, np.dtype(dtype).itemsize):
            got = _core.gemm(a[:, :steps], at_offset(bt, offset)[:, :steps], trans_b=True)
            assert bits(got) == expected, (steps, offset)


@pytest.mark.parametrize(("k", "trans_b"), [(2, False), (37, True)])
@pytest.mark.parametrize("beta", [0.0, 0.7])
def test_surroundings_of_the_result_are_untouched(target, dtype, rng, k, trans_b, beta):
    """Every shape up to two tiles, where a store of a whole register too many would show."""
    for m, n in itertools.product(range(1, 10), range(1, 50)):
        a = normal(rng, m, k, dtype=dtype)
        b = normal(rng, *((n, k) if trans_b else (k, n)), dtype=dtype)
        c = normal(rng, m, n, dtype=dtype)
        padded = Padded(c, margin=16)
        _core.gemm(a, b, padded.view, beta=beta, trans_b=trans_b)
        assert padded.is_intact()
        assert bits(padded.view) == bits(_core.gemm(a, b, c.copy(), beta=beta, trans_b=trans_b))


def test_overlapping_operands_are_as_if_copied_first(target, dtype, rng):
    for _ in range(1500):
        m, n, k = rng.integers(1, 7, 3)
        memory = normal(rng, 200, dtype=dtype)
        a, b = random_view(rng, memory, m, k), random_view(rng, memory, k, n)
        c, bias = random_view(rng, memory, m, n), random_view(rng, memory, n)
        beta = float(rng.choice((0.0, 0.7)))
        expected = memory.copy()
        index = random_index(c, memory)
        expected[index] = _core.gemm(a.copy(), b.copy(), c.copy(), beta=beta, bias=bias.copy())
        _core.gemm(a, b, c, beta=beta, bias=bias)
        assert bits(memory) == bits(expected)


def test_a_result_whose_elements_share_memory_is_refused(target, dtype, rng):
    refused = 0
    for _ in range(1500):
        m, n = rng.integers(1, 5, 2)
        memory = normal(rng, 64, dtype=dtype)
        strides = [int(s) * memory.itemsize for s in rng.integers(-3, 6, 2)]
        c = np.lib.stride_tricks.as_strided(memory[24:], (m, n), strides)
        index = random_index(c, memory)
        before = memory.copy()
        a, b = normal(rng, m, 2, dtype=dtype), normal(rng, 2, n, dtype=dtype)
        expected = before.copy()
        expected[index] = _core.gemm(a, b)
        try:
            _core.gemm(a, b, c)
        except ValueError as error:
            assert "share memory" in str(error)
            assert bits(memory) == bits(before)
            refused += 1
        else:
            assert len(np.unique(index)) == index.size
            assert bits(memory) == bits(expected)
    assert 0 < refused < 1500


@pytest.mark.skipif(sys.platform != "linux", reason="needs lazily mapped memory")
def test_more_than_2_to_the_31_elements_apart(target, dtype):
    """Rows 2^30 elements apart, in memory that is mapped when touched."""
    lead, rows = 1 << 30, 3
    size = (lead * (rows - 1) + 8) * np.dtype(dtype).itemsize
    no_reserve = 0x4000  # MAP_NORESERVE, which Python's mmap does not name everywhere
    try:
        pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | no_reserve)
    except OSError:
        pytest.skip(f"the system will not map {size >> 30} GiB that are not used")
    memory = np.frombuffer(pages, dtype)

    def far(*shape: int) -> np.ndarray:
        itemsize = memory.itemsize
        return np.lib.stride_tricks.as_strided(memory, shape, (lead * itemsize, itemsize))

    values = np.arange(rows * 5).reshape(rows, 5).astype(dtype)
    other = np.arange(5 * 5).reshape(5, 5).astype(dtype)
    far(rows, 5)[...] = values
    np.testing.assert_array_equal(_core.gemm(far(rows, 5), other), values @ other)
    np.testing.assert_array_equal(
        _core.gemm(other[:, :rows], far(rows, 5)), other[:, :rows] @ values
    )
    np.testing.assert_array_equal(
        _core.gemm(far(rows, 5), other[:rows], trans_a=True), values.T @ other[:rows]
    )
    np.testing.assert_array_equal(_core.column_sums(far(rows, 5)), values.sum(0))
    _core.gemm(values, other, far(rows, 5))
    np.testing.assert_array_equal(far(rows, 5), values @ other)


@pytest.mark.skipif(sys.platform == "win32", reason="needs mprotect")
def test_nothing_beyond_the_operands_is_touched(target):
    """Operands that end, then start, at a page that must not be touched."""
    guard_pages.run("gemm", target)
