"""Products whose threads have parts of different sizes, as their pace wants them."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

import fastbn
from fastbn import _core
from fastbn.layers import BatchNorm1d, Linear, ReLU, Sequential

pytestmark = pytest.mark.usefixtures("core")

SHARES = [(1, 1), (0.1, 0.9), (0.9, 0.1), (0, 1), (1, 0), (0.3, 0.1, 0.6), (1, 0, 0, 3)]
# Shapes of which four threads have 5 MFLOP each: C by ranges of rows, of columns, and row by row.
SHAPES = [(256, 512, 128), (72, 1000, 300), (1000, 72, 300), (40, 784, 512), (1000, 500, 24)]

Cut = Callable[[Sequence[float]], None]
Threads = Callable[[int], None]


@pytest.fixture
def cut(threads: Threads) -> Iterator[Cut]:
    """Share out large products so, on as many threads, none of them far apart."""

    def assume(shares: Sequence[float]) -> None:
        threads(len(shares))
        _core.assume_shares(shares)

    _core.assume_far_apart(False)
    yield assume
    _core.assume_shares(None)
    _core.assume_far_apart(None)


def drawn(layout: str, shape: tuple[int, int, int], dtype: Any) -> list[np.ndarray]:
    """Return A, B, an old C and a bias."""
    m, n, k = shape
    rng = np.random.default_rng(0)
    sizes = [(k, m) if layout == "TN" else (m, k), (n, k) if layout == "NT" else (k, n), (m, n), n]
    a, b, c, bias = (rng.standard_normal(size).astype(dtype) for size in sizes)
    return [a.T if layout == "TN" else a, b.T if layout == "NT" else b, c, bias]


def check_same_bits(run: Callable[[], list[np.ndarray]], cut: Cut, threads: Threads) -> None:
    """Compare what it returns on one thread with what it does by each of SHARES."""
    threads(1)
    expected = run()
    for shares in SHARES:
        cut(shares)
        for got, right in zip(run(), expected, strict=True):
            np.testing.assert_array_equal(got, right, err_msg=str(shares))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("layout", ["NN", "NT", "TN"])
def test_same_bits(
    layout: str, shape: tuple[int, int, int], dtype: Any, cut: Cut, threads: Threads, target: str
) -> None:
    """Every element once: one that is not written stays NaN, and beta counts a second time."""
    a, b, old, bias = drawn(layout, shape, dtype)

    def run() -> list[np.ndarray]:
        plain, added = np.full_like(old, np.nan), old.copy()
        fortran = np.asfortranarray(np.full_like(old, np.nan))
        fastbn.matmul(a, b, out=plain)
        fastbn.gemm(a, b, added, beta=-1.0, bias=bias)
        fastbn.matmul(a, b, out=fortran)
        return [plain, added, fortran]

    check_same_bits(run, cut, threads)


def test_same_bits_where_a_part_ends_in_few_rows(
    dtype: Any, cut: Cut, threads: Threads, target: str
) -> None:
    """A part of 361 rows in blocks of 176, those of the larger one: the last block has 9."""
    a, b, *_ = drawn("NN", (881, 512, 1024), dtype)
    threads(1)
    expected = fastbn.matmul(a, b)
    for shares in ((489, 351), (1, 85), (85, 1)):
        cut(shares)
        np.testing.assert_array_equal(fastbn.matmul(a, b), expected, err_msg=str(shares))


@pytest.mark.parametrize("rows", [64, 256])  # one panel of columns to a thread, and several
def test_block_same_bits(rows: int, cut: Cut, threads: Threads, target: str) -> None:
    rng = np.random.default_rng(0)
    x, dy = (rng.standard_normal((rows, n)).astype(np.float32) for n in (512, 1200))
    net = Sequential(Linear(512, 1200, rng=0), BatchNorm1d(1200), ReLU())

    def run() -> list[np.ndarray]:
        y = net.forward(x, training=True).copy()
        dx = net.backward(dy).copy()
        return [y, dx, *(parameter.grad.copy() for parameter in net.parameters())]

    check_same_bits(run, cut, threads)


def test_same_bits_while_it_learns(cut: Cut, threads: Threads, target: str) -> None:
    threads(2)
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((256, 256)).astype(np.float32) for _ in range(2))
    first = fastbn.matmul(a, b)
    for _ in range(100):
        np.testing.assert_array_equal(fastbn.matmul(a, b), first)


@pytest.mark.parametrize(
    "shares", [(), (1,), (1,) * 9, (1, -1), (0, 0), (float("nan"), 1), (float("inf"), 1)]
)
def test_wrong_shares(shares: Sequence[float]) -> None:
    with pytest.raises(ValueError, match="2 to 8 finite numbers"):
        _core.assume_shares(shares)
