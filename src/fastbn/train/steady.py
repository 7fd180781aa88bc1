"""Steady steps: the kernel calls of a training step, kept on a tape and made again in one call.

    step        forward, loss, metrics and backward
    first       by layers and loss, in Python
    second      the same, while a tape records their kernel calls
    the others  by the tape, as long as nothing has changed; else from the first on

The bits are the same, since the kernels and their memory are.  The update has a tape of its own
(steady_update.py), which follows in the same call.  A tape is for samples of one shape; the smaller
last batch of an epoch goes by layers, and the next epoch's second step is recorded anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastbn import _core
from fastbn.layers import Layer, Rescaling, Sequential
from fastbn.layers.taping import ALL_KERNELS, PAUSE, is_plain, watch
from fastbn.losses import CrossEntropyLoss, Loss, MSELoss
from fastbn.train.callbacks import Logs
from fastbn.train.metrics import Metric, accuracy
from fastbn.train.steady_update import SteadyUpdate

if TYPE_CHECKING:
    from fastbn.train.trainer import Trainer

Array: TypeAlias = NDArray[Any]
_LOSSES = frozenset((CrossEntropyLoss, MSELoss))


class _Taped(NamedTuple):
    """A tape and what it holds for."""

    tape: _core.Tape
    net: Layer
    loss: Loss
    metrics: dict[str, Metric]
    names: tuple[str, ...]  # of the results
    watched: _core.Watched  # layers, loss and metrics, as they were


class SteadyStep:
    """Updates from one batch after the other."""

    def __init__(self) -> None:
        self._taped: _Taped | None = None
        self._update = SteadyUpdate()
        self._form: object = None  # of the samples before
        self._pause = 0

    def repeat(self, trainer: Trainer, x: Array, y: Array) -> Logs | None:
        """Make one update by the tape; None, and nothing is done, where there is none that holds.

        Samples and targets need no checks before: the tape holds for none that would fail them,
        and labels are refused as by layers.
        """
        taped = self._taped
        if (
            taped is None
            or trainer.net is not taped.net
            or trainer.loss is not taped.loss
            or trainer.metrics is not taped.metrics
        ):
            return None
        optimizer = trainer.optimizer
        made = taped.tape.run(x, y, taped.watched, taped.names, self._update.of(optimizer))
        if made is None:
            return None
        results, updated = made
        if not updated:
            self._update.make(optimizer)
        return results

    def run(self, trainer: Trainer, x: Array, y: Array) -> Logs:
        """Make one update; return the loss and metrics of before it.  The net forgets the batch."""
        if self._taped is not None:
            if trainer.loss is self._taped.loss:
                trainer.loss.forget()  # predictions of others: tapes hold only without
                repeated = self.repeat(trainer, x, y)
                if repeated is not None:
                    return repeated
            self._taped = self._form = None  # its memory goes back to the layers
        values = self._record(trainer, x, y) if self._recurs(x) else trainer._gradients(x, y)
        _rest(trainer.net)
        trainer.loss.forget()
        trainer.optimizer.step()
        return values

    def _recurs(self, x: Array) -> bool:
        """Whether samples of this form come for the second time, and a tape is worth an attempt."""
        form = x.shape, x.dtype
        recurs = form == self._form and x.flags.c_contiguous and x.flags.aligned
        self._form = form
        self._pause = max(0, self._pause - 1)
        return recurs and self._pause == 0

    def _record(self, trainer: Trainer, x: Array, y: Array) -> Logs:
        if not _tapeable(trainer, x, y):
            self._pause = PAUSE
            return trainer._gradients(x, y)
        net, loss, metrics = trainer.net, trainer.loss, trainer.metrics
        net.forget()
        loss.forget()
        watched = _watch(net, loss, metrics)  # before: what changes meanwhile is another one later
        values, tape = _core.record(lambda: trainer._gradients(x, y), x, y)
        net.forget()  # the tape holds what backward reads
        if tape.whole and tape.results == len(values):  # of one class accuracy is NumPy's
            self._taped = _Taped(tape, net, loss, metrics, tuple(values), watched)
        else:
            self._pause = PAUSE
        return values

    def __reduce__(self) -> tuple[type[SteadyStep], tuple[()]]:
        return SteadyStep, ()  # a copy records its own


def _rest(net: Layer) -> None:
    """Have the net forget the batch; its own tapes may be of use to the next step by layers."""
    if type(net) is Sequential:
        net._passes.rest()
    else:
        net.forget()


def _watch(net: Layer, loss: Loss, metrics: dict[str, Metric]) -> _core.Watched:
    """Objects, their types and their attributes."""
    objects: list[tuple[object, dict[str, Any]]] = [(part, vars(part)) for part in _descend(net)]
    return watch(*objects, (loss, vars(loss)), (metrics, metrics))


def _descend(layer: Layer) -> Iterator[Layer]:
    yield layer
    for _, child in layer.children():
        yield from _descend(child)


def _tapeable(trainer: Trainer, x: Array, y: Array) -> bool:
    """Whether a step does nothing but call kernels, whose arguments are numbers and arrays."""
    net, loss, metrics = trainer.net, trainer.loss, trainer.metrics
    layers = list(_descend(net))
    leaves = [layer for layer in layers if type(layer) is not Sequential]
    if leaves and type(leaves[0]) is Rescaling and x.dtype == np.uint8:  # of floats it uses NumPy
        layers.remove(leaves[0])
    return (
        type(loss) in _LOSSES
        and type(metrics) is dict
        and all(metric is accuracy for metric in metrics.values())
        and all(type(layer) in ALL_KERNELS or type(layer) is Sequential for layer in layers)
        and all(is_plain(part) for part in (*layers, *leaves, loss))
        and not any(np.may_share_memory(given, array) for array in _live(net) for given in (x, y))
    )


def _live(net: Layer) -> Iterator[Array]:
    """All that a step may write which is not its own."""
    for parameter in net.parameters():
        yield from (parameter.data, parameter.grad)
    yield from net.buffers()
