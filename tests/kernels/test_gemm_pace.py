"""Products whose threads have parts of different sizes, as their pace wants them."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest

import fastbn
from fastbn import _core
from fastbn.layers import BatchNorm1d, Linear, ReLU, Sequential

SHARES = [(1, 1), (0.1, 0.9), (0.9, 0.1), (0, 1), (0.3, 0.1, 0.6), (1, 0, 0, 3)]
# Shapes of which every thread of four has its 5 MFLOP, C by ranges of rows and of columns.
SHAPES = [(256, 512, 128), (72, 1000, 300), (1000, 72, 300), (40, 784, 512), (2048, 40, 256)]


@pytest.fixture
def cut(threads: Callable[[int], None]) -> Iterator[Callable[[Sequence[float]], None]]:
    """Cut large products so, on as many threads."""

    def assume(shares: Sequence[float]) -> None:
        threads(len(shares))
        _core.assume_shares(shares)

    yield assume
    _core.assume_shares(None)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("layout", ["NN", "NT", "TN"])
def test_same_bits(
    layout: str,
    shape: tuple[int, int, int],
    cut: Callable[[Sequence[float]], None],
    threads: Callable[[int], None],
    target: str,
) -> None:
    m, n, k = shape
    rng = np.random.default_rng(0)
    draw = lambda *size: rng.standard_normal(size).astype(np.float32)  # noqa: E731
    a = draw(k, m).T if layout == "TN" else draw(m, k)
    b = draw(n, k).T if layout == "NT" else draw(k, n)
    threads(1)
    expected = fastbn.matmul(a, b)
    for shares in SHARES:
        cut(shares)
        c = np.full((m, n), np.nan, np.float32)
        fastbn.matmul(a, b, out=c)
        np.testing.assert_array_equal(c, expected, err_msg=str(shares))


def test_block_same_bits(
    cut: Callable[[Sequence[float]], None], threads: Callable[[int], None]
) -> None:
    rng = np.random.default_rng(0)
    x, dy = (rng.standard_normal((64, n)).astype(np.float32) for n in (512, 640))
    net = Sequential(Linear(512, 640, rng=0), BatchNorm1d(640), ReLU())

    def run() -> list[np.ndarray]:
        y = net.forward(x, training=True).copy()
        dx = net.backward(dy).copy()
        return [y, dx, *(parameter.grad.copy() for parameter in net.parameters())]

    threads(1)
    expected = run()
    for shares in SHARES:
        cut(shares)
        for got, right in zip(run(), expected, strict=True):
            np.testing.assert_array_equal(got, right, err_msg=str(shares))


def test_pace_is_learned(threads: Callable[[int], None]) -> None:
    """Whatever was learned of these threads, the product is right, and equal from call to call."""
    threads(2)
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((256, 256)).astype(np.float32) for _ in range(2))
    first = fastbn.matmul(a, b)
    for _ in range(200):
        np.testing.assert_array_equal(fastbn.matmul(a, b), first)


@pytest.mark.parametrize("shares", [(), (1,), (1,) * 9, (1, -1), (0, 0), (float("nan"), 1)])
def test_wrong_shares(shares: Sequence[float]) -> None:
    with pytest.raises(ValueError, match="2 to 8 numbers"):
        _core.assume_shares(shares)
