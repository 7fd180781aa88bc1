"""Nets that go by tapes, beside others that do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastbn import _core
from fastbn.layers import (
    GELU,
    BatchNorm1d,
    Layer,
    LeakyReLU,
    Linear,
    ReLU,
    Sequential,
    Sigmoid,
    Tanh,
)


class MyReLU(ReLU):
    """Of another type: it may do more."""


FEATURES, OUT, ROWS = 12, 12, 10  # as many out as in: what is made may be given again


def linear(rows: int, columns: int, dtype: Any, bias: bool = True) -> Linear:
    return Linear(rows, columns, bias, dtype=dtype, rng=rows + columns)


NETS: dict[str, Callable[[Any], list[Layer]]] = {
    "one layer": lambda t: [linear(FEATURES, OUT, t)],
    "one block": lambda t: [linear(FEATURES, OUT, t), BatchNorm1d(OUT, dtype=t), ReLU()],
    "a block without ReLU": lambda t: [linear(FEATURES, OUT, t, False), BatchNorm1d(OUT, dtype=t)],
    "blocks": lambda t: [
        linear(FEATURES, 20, t, False),
        BatchNorm1d(20, dtype=t),
        ReLU(),
        linear(20, 16, t),
        BatchNorm1d(16, affine=False, dtype=t),
        ReLU(),
        linear(16, OUT, t),
    ],
    "ghosts": lambda t: [
        linear(FEATURES, 20, t),
        BatchNorm1d(20, virtual_batch_size=4, dtype=t),
        ReLU(),
        linear(20, OUT, t),
        BatchNorm1d(OUT, virtual_batch_size=5, dtype=t),
        ReLU(),
    ],
    "pairs": lambda t: [
        linear(FEATURES, 20, t),
        ReLU(),
        linear(20, 9, t),
        ReLU(),
        linear(9, OUT, t),
    ],
    "activations": lambda t: [
        linear(FEATURES, 20, t),
        GELU(),
        BatchNorm1d(20, track_running_stats=False, dtype=t),
        LeakyReLU(0.2),
        linear(20, 9, t),
        Sigmoid(),
        Tanh(),
        BatchNorm1d(9, virtual_batch_size=4, dtype=t),
        ReLU(),
        linear(9, OUT, t),
        BatchNorm1d(OUT, dtype=t),
        ReLU(),
    ],
}


def pair(name: str = "blocks", dtype: Any = np.float32) -> tuple[Sequential, Sequential]:
    """Two like nets: the second goes by units always."""
    taped, plain = (Sequential(*NETS[name](dtype)) for _ in range(2))
    plain._passes._repeats = plain._inference._repeats = False
    return taped, plain


def batch(i: int, dtype: Any = np.float32, rows: int = ROWS) -> tuple[Any, Any]:
    """The i-th samples and gradients, in memory of their own."""
    rng = np.random.default_rng(i)
    x, dy = rng.standard_normal((rows, FEATURES)), rng.standard_normal((rows, OUT))
    return x.astype(dtype), dy.astype(dtype)


def require_same(one: list[Any], other: list[Any]) -> None:
    """Compare arrays to the bit."""
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        if a is None or b is None:
            assert a is b
            continue
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        if a.tobytes() != b.tobytes():
            np.testing.assert_array_equal(a, b)
            raise AssertionError("the sign of a zero, or a NaN, is another")


def by_tape(net: Sequential) -> bool:
    return net._passes._taped is not None


def passes(net: Sequential, x: Any, dy: Any, need_dx: bool = True) -> list[Any]:
    """Results of a step, and all that it leaves behind."""
    y = net.forward(x, training=True)
    dx = net.backward(dy, need_dx=need_dx)
    return [y, dx, *(p.grad.copy() for p in net.parameters()), *(b.copy() for b in net.buffers())]


def train(nets: tuple[Sequential, Sequential], steps: Any, dtype: Any = np.float32) -> None:
    for i in steps:
        require_same(*(passes(net, *batch(i, dtype)) for net in nets))


class Interrupted:
    """The compiled module, whose call of a name is followed by something else once, if armed.

    As by a finalizer or a signal handler, or by another thread.
    """

    def __init__(self, name: str, then: Callable[[], Any]) -> None:
        self.name, self.then, self.armed = name, then, False

    def __getattr__(self, name: str) -> Any:
        function = getattr(_core, name)

        def call(*arguments: Any, **named: Any) -> Any:
            result = function(*arguments, **named)
            if self.armed:
                self.armed = False
                self.then()
            return result

        return call if name == self.name else function
