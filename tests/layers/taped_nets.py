"""Nets that go by tapes, beside others that do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

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
    plain._passes._ends, plain._inference._repeats = None, False
    return taped, plain


def batch(i: int, dtype: Any = np.float32, rows: int = ROWS) -> tuple[Any, Any]:
    """The i-th samples and gradients, in memory of their own."""
    rng = np.random.default_rng(i)
    x, dy = rng.standard_normal((rows, FEATURES)), rng.standard_normal((rows, OUT))
    return x.astype(dtype), dy.astype(dtype)


def require_same(one: list[Any], other: list[Any]) -> None:
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)
