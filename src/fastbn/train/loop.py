"""The loop over epochs and batches: what `Trainer.fit` runs once everything is checked."""

from __future__ import annotations

import math
import time
import warnings
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastbn.data import Indices, MiniBatches, take_batch
from fastbn.train.callbacks import CallbackList, Logs
from fastbn.train.means import Means

if TYPE_CHECKING:
    from fastbn.train.trainer import Trainer

Array: TypeAlias = NDArray[Any]


class TrainingLoop:
    """One training: epochs of batches, recorded in the trainer's history.

    Parameters
    ----------
    trainer : Trainer
        Whose `history` holds the plan and takes the record.
    x, y : ndarray, shape (n, ...)
        Training samples and targets.
    batches : MiniBatches
        Which samples are in which batch.
    validation : tuple of x and y, or None
    hooks : CallbackList
    """

    def __init__(
        self,
        trainer: Trainer,
        x: Array,
        y: Array,
        batches: MiniBatches,
        validation: tuple[Array, Array] | None,
        hooks: CallbackList,
    ) -> None:
        self._trainer = trainer
        self._history = trainer.history
        self._x, self._y = x, y
        self._batches = batches
        self._validation = validation
        self._hooks = hooks
        self._warned = False
        # One pair of buffers for all batches: a steady step allocates nothing of their size.
        rows = batches.largest_batch if batches.shuffle else 0
        self._x_buffer = np.empty((rows, *x.shape[1:]), x.dtype)
        self._y_buffer = np.empty((rows, *y.shape[1:]), y.dtype)

    def run(self) -> None:
        """Train until the plan is fulfilled, or the trainer is told to stop."""
        logs: Logs = {}
        self._hooks.train_begin()
        for epoch in range(self._history.epochs, self._history.accounting.epochs):
            if self._trainer.stop_training:
                break
            self._hooks.epoch_begin(epoch)
            means, seconds = self._train_epoch(epoch)
            if means.samples < self._batches.samples_per_epoch:
                break  # part of an epoch is no epoch: its updates are recorded, and that is all
            logs = means.means()
            if self._validation is not None:
                logs |= self._trainer._evaluate(*self._validation).means("val_")
            self._history.record_epoch(logs, means.samples, seconds)
            self._hooks.epoch_end(epoch, logs)
        self._hooks.train_end(logs)

    def _train_epoch(self, epoch: int) -> tuple[Means, float]:
        """Train the batches of one epoch, or those before a stop: their means and their seconds."""
        means = Means()
        started = time.perf_counter()
        for batch, indices in enumerate(self._batches.epoch_indices(epoch)):
            if self._trainer.stop_training:
                break
            self._hooks.batch_begin(batch)
            values = self._train_batch(indices, means)
            self._hooks.batch_end(batch, values)
        seconds = time.perf_counter() - started
        self._history.record_work(means.samples, seconds)
        return means, seconds

    def _train_batch(self, indices: Indices, means: Means) -> Logs:
        x = take_batch(self._x, indices, self._x_buffer)
        y = take_batch(self._y, indices, self._y_buffer)
        values = self._trainer._train_batch(x, y)
        means.add(values, len(x))
        self._history.record_batch(values["loss"])
        if not math.isfinite(values["loss"]) and not self._warned:
            self._warned = True
            self._warn(values["loss"])
        return values

    def _warn(self, loss: float) -> None:
        history = self._history
        warnings.warn(
            f"the loss is {loss} in iteration {history.iterations} (epoch {history.epochs + 1}); "
            "the training goes on. A smaller learning rate often helps; the callback "
            "TerminateOnNaN ends such a training",
            RuntimeWarning,
            stacklevel=6,  # the line that called fit
        )
