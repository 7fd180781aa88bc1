"""`CosineDecay`: the learning rate falls to nothing along half a cosine."""

from __future__ import annotations

import math

from fastbn.train.callbacks.base import Callback, Logs


class CosineDecay(Callback):
    """Set the learning rate before each update, from the optimizer's own down along half a cosine.

        lr(t) = final + (lr - final) (1 + cos(pi t)) / 2,   t = updates made / updates planned

    Parameters
    ----------
    warmup : float
        This part of the training, in [0, 1), raises the rate from 0 in a straight line first; large
        batches with large rates need it (Goyal and others 2017, arXiv 1706.02677).
    final : float
        Learning rate at the end.

    Raises
    ------
    ValueError
        If `warmup` is outside [0, 1), or `final` is negative.

    Notes
    -----
    Loshchilov and Hutter 2017, arXiv 1608.03983, without restarts.  The rate that the optimizer had
    before comes back at the end of the training, so that the next one does not begin at `final`.
    """

    def __init__(self, *, warmup: float = 0.0, final: float = 0.0) -> None:
        if not 0 <= warmup < 1:
            raise ValueError(f"warmup is a part of the training in [0, 1), not {warmup}")
        if not final >= 0:
            raise ValueError(f"final is a learning rate, 0 or more, not {final}")
        self.warmup = warmup
        self.final = final
        self._lr = 0.0

    def on_train_begin(self, logs: Logs) -> None:
        """Note the learning rate to start from."""
        self._lr = self.trainer.optimizer.lr

    def on_batch_begin(self, batch: int, logs: Logs) -> None:
        """Set the learning rate of the update."""
        history = self.trainer.history
        self.trainer.optimizer.lr = self.rate(history.iterations, history.accounting.updates)

    def on_train_end(self, logs: Logs) -> None:
        """Give the optimizer its learning rate back."""
        self.trainer.optimizer.lr = self._lr

    def rate(self, iteration: int, updates: int) -> float:
        """Return the learning rate of update `iteration`, counted from 0, of `updates` in all."""
        warm = round(self.warmup * updates)
        if iteration < warm:
            return self._lr * (iteration + 1) / warm
        t = min((iteration - warm) / (updates - warm), 1.0)
        return self.final + (self._lr - self.final) * (1 + math.cos(math.pi * t)) / 2
