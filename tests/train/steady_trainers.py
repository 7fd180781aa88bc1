"""Trainers of small nets, with and without a tape, for the tests of steady steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbn import SGD, CrossEntropyLoss, Layer, Linear, Sequential, Trainer

ROWS, FEATURES, CLASSES = 24, 12, 5


def dense(*layers: Layer, width: int = 16, dtype: Any = np.float32) -> Sequential:
    """Put `layers` between two that are affine."""
    first = Linear(FEATURES, width, rng=0, dtype=dtype)
    return Sequential(first, *layers, Linear(width, CLASSES, rng=1, dtype=dtype))


def by_layers(trainer: Trainer) -> Trainer:
    """Have a trainer go the way through the layers each time."""

    def run(trainer: Trainer, x: Any, y: Any) -> Any:
        values = trainer._gradients(x, y)
        trainer.optimizer.step()
        return values

    trainer._steady.run = run  # type: ignore[method-assign]
    trainer._steady.repeat = lambda *_: None  # type: ignore[method-assign]
    return trainer


def make(net: Layer, loss: Any = None, optimizer: Any = SGD, **options: Any) -> Trainer:
    return Trainer(
        net, loss or CrossEntropyLoss(), optimizer(net.parameters(), lr=0.05), rng=0, **options
    )


def batch(i: int, shape: tuple[int, ...] = (ROWS, FEATURES), dtype: Any = np.float32) -> Any:
    """The i-th batch, in memory of its own."""
    rng = np.random.default_rng(i)
    x = rng.integers(0, 256, shape) if dtype == np.uint8 else rng.standard_normal(shape)
    return x.astype(dtype), rng.integers(0, CLASSES, shape[0])


def layer(trainer: Trainer, place: int) -> Any:
    """A layer of its net, to be changed as no caller should."""
    net: Any = trainer.net
    return net[place]


def on_tape(trainer: Trainer) -> bool:
    return trainer._steady._taped is not None


def whole_state(trainer: Trainer) -> dict[str, Any]:
    gradients = {f"grad.{i}": p.grad.copy() for i, p in enumerate(trainer.net.parameters())}
    return trainer.net.state_dict() | gradients


def require_same(one: Trainer, other: Trainer) -> None:
    theirs = whole_state(other)
    for name, value in whole_state(one).items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name, strict=True)
