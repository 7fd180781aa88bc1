"""Steady steps: the kernel calls of a training step, kept on a tape and made again in one call.

    step        forward, loss, metrics and backward
    first       by layers and loss, in Python
    second      the same, while a tape records their kernel calls
    the others  by the tape, as long as nothing has changed; else from the first on

The bits are the same, since the kernels and their memory are.  The optimizer, whose learning rate
may be another in each step, stays in Python.  A tape is for samples of one shape; the smaller last
batch of an epoch goes by layers, and the next epoch's second step is recorded anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastbn import _core
from fastbn.layers import (
    GELU,
    BatchNorm1d,
    BatchNorm2d,
    Flatten,
    Layer,
    LeakyReLU,
    Linear,
    ReLU,
    Rescaling,
    Sequential,
    Sigmoid,
    Tanh,
)
from fastbn.losses import CrossEntropyLoss, MSELoss
from fastbn.train.callbacks import Logs
from fastbn.train.metrics import accuracy

if TYPE_CHECKING:
    from fastbn.train.trainer import Trainer

Array: TypeAlias = NDArray[Any]
Watched: TypeAlias = tuple[tuple[dict[str, Any], tuple[str, ...], tuple[Any, ...]], ...]

# Layers that do nothing in training but call kernels.  Exact types: a subclass may do more.
_ALL_KERNELS = frozenset(
    (BatchNorm1d, BatchNorm2d, Flatten, GELU, LeakyReLU, Linear, ReLU, Sequential, Sigmoid, Tanh)
)
_LOSSES = frozenset((CrossEntropyLoss, MSELoss))
_NOTHING = None, None, None
_METHODS = frozenset(("forward", "backward", "backward_parameters", "forget"))


class SteadyStep:
    """Loss, metrics and gradients of one batch after the other."""

    def __init__(self) -> None:
        self._tape: _core.Tape | None = None
        self._of: tuple[object, object, object] = _NOTHING  # net, loss and metrics of the tape
        self._names: tuple[str, ...] = ()
        self._watched: Watched = ()  # what the tape holds for: attributes, as they were
        self._form: object = None  # of the last samples that went by layers
        self._refused: object = None  # the form of those whose step no tape could repeat

    def run(self, trainer: Trainer, x: Array, y: Array) -> Logs:
        """Forward and backward; return the loss and the metrics.  The layers forget the batch."""
        tape, (net, loss, metrics) = self._tape, self._of
        if tape is not None:
            if trainer.net is net and trainer.loss is loss and trainer.metrics is metrics:
                results = tape.run(x, y, self._watched)
                if results is not None:
                    return dict(zip(self._names, results, strict=True))
            self._drop()
        form = x.shape, x.strides, x.dtype
        recurs = form == self._form and form != self._refused
        self._form = form
        if recurs and _tapeable(trainer, x, y):
            return self._record(trainer, x, y)
        values = trainer._gradients(x, y)
        trainer.net.forget()
        return values

    def _drop(self) -> None:
        """Give the tape's memory back to the layers."""
        self._tape, self._of, self._watched, self._form = None, _NOTHING, (), None

    def _record(self, trainer: Trainer, x: Array, y: Array) -> Logs:
        tape = _core.Tape(x, y)
        tape.start()
        try:
            values = trainer._gradients(x, y)
        finally:
            tape.stop()
        trainer.net.forget()  # the tape holds what backward reads
        if not tape.whole or tape.results != len(values):  # of one class accuracy is NumPy's
            self._refused = self._form
            return values
        self._of = trainer.net, trainer.loss, trainer.metrics
        self._tape, self._names = tape, tuple(values)
        attributes = [vars(layer) for layer in _descend(trainer.net)]
        self._watched = _watch([*attributes, vars(trainer.loss), trainer.metrics])
        return values

    def __reduce__(self) -> tuple[type[SteadyStep], tuple[()]]:
        return SteadyStep, ()  # a copy records its own


def _watch(dicts: Iterable[dict[str, Any]]) -> Watched:
    return tuple(
        (attributes, tuple(attributes), tuple(attributes.values())) for attributes in dicts
    )


def _descend(layer: Layer) -> Iterator[Layer]:
    yield layer
    for _, child in layer.children():
        yield from _descend(child)


def _tapeable(trainer: Trainer, x: Array, y: Array) -> bool:
    """Whether a step does nothing but call kernels."""
    net, loss, metrics = trainer.net, trainer.loss, trainer.metrics.values()
    layers = list(_descend(net))
    leaves = [layer for layer in layers if type(layer) is not Sequential]
    if leaves and type(leaves[0]) is Rescaling and x.dtype == np.uint8:  # of floats it uses NumPy
        layers.remove(leaves[0])
    return (
        type(loss) in _LOSSES
        and all(metric is accuracy for metric in metrics)
        and all(type(layer) in _ALL_KERNELS for layer in layers)
        and not any(_METHODS & vars(part).keys() for part in (*layers, loss))
        and not any(np.may_share_memory(given, array) for array in _live(net) for given in (x, y))
    )


def _live(net: Layer) -> Iterator[Array]:
    """All that a step may write which is not its own."""
    for parameter in net.parameters():
        yield from (parameter.data, parameter.grad)
    yield from net.buffers()
