"""The callback protocol, Keras' names: what may be hooked into a training."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from fastbn.train.trainer import Trainer

Logs: TypeAlias = dict[str, float]


class Callback:
    """Base class of callbacks: every hook does nothing until a subclass overrides it.

    `epoch` and `batch` count from 0, as the index of `History.history`'s lists does; `batch` counts
    within its epoch.  To end the training set `self.trainer.stop_training = True`: it ends after
    the batch, and `fit` returns as always.

    Attributes
    ----------
    trainer : Trainer
        The trainer, set before `on_train_begin`; `trainer.history` is the record so far.
    """

    trainer: Trainer

    def on_train_begin(self, logs: Logs) -> None:
        """Before the first epoch; `logs` is empty."""

    def on_train_end(self, logs: Logs) -> None:
        """After the last epoch, also after an early stop; `logs` is that of the last epoch."""

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Before an epoch; `logs` is empty."""

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """After an epoch and its validation; `logs` holds its values, already in the history."""

    def on_batch_begin(self, batch: int, logs: Logs) -> None:
        """Before an update; `logs` is empty."""

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        """After an update; `logs` holds the batch's `loss` and metrics."""


class CallbackList:
    """Calls the hooks of several callbacks, in order, and only those that are overridden.

    Parameters
    ----------
    callbacks : iterable of Callback
    trainer : Trainer

    Raises
    ------
    TypeError
        If one of them is not a `Callback`.
    """

    def __init__(self, callbacks: Iterable[Callback], trainer: Trainer) -> None:
        callbacks = list(callbacks)
        for callback in callbacks:
            if not isinstance(callback, Callback):
                raise TypeError(
                    f"a callback is an instance of fastbn.train.Callback, not {callback!r}"
                )
            callback.trainer = trainer
        self._train_begin = [c.on_train_begin for c in callbacks]
        self._train_end = [c.on_train_end for c in callbacks]
        self._epoch_begin = [c.on_epoch_begin for c in callbacks]
        self._epoch_end = [c.on_epoch_end for c in callbacks]
        self._batch_begin = _overridden(callbacks, "on_batch_begin")
        self._batch_end = _overridden(callbacks, "on_batch_end")

    def train_begin(self) -> None:
        """Call every `on_train_begin`."""
        for hook in self._train_begin:
            hook({})

    def train_end(self, logs: Logs) -> None:
        """Call every `on_train_end`."""
        for hook in self._train_end:
            hook(logs)

    def epoch_begin(self, epoch: int) -> None:
        """Call every `on_epoch_begin`."""
        for hook in self._epoch_begin:
            hook(epoch, {})

    def epoch_end(self, epoch: int, logs: Logs) -> None:
        """Call every `on_epoch_end`."""
        for hook in self._epoch_end:
            hook(epoch, logs)

    def batch_begin(self, batch: int) -> None:
        """Call every `on_batch_begin`."""
        for hook in self._batch_begin:
            hook(batch, {})

    def batch_end(self, batch: int, logs: Logs) -> None:
        """Call every `on_batch_end`."""
        for hook in self._batch_end:
            hook(batch, logs)


def _overridden(callbacks: Iterable[Callback], name: str) -> list[Callable[[int, Logs], None]]:
    """Return the bound methods `name` of the callbacks that have one of their own.

    A step of a small net takes some 100 microseconds: calls of empty hooks would show.
    """
    base = getattr(Callback, name)
    return [getattr(c, name) for c in callbacks if getattr(type(c), name) is not base]
