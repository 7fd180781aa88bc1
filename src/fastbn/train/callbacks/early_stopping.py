"""`EarlyStopping`: end the training once a quantity has stopped getting better."""

from __future__ import annotations

import math
from typing import Any, Literal, TypeAlias

from fastbn.train.callbacks.base import Callback, Logs

Mode: TypeAlias = Literal["auto", "min", "max"]

_HIGHER_IS_BETTER = ("acc", "auc", "f1", "precision", "recall", "score")


class EarlyStopping(Callback):
    """End the training after `patience` epochs in a row without an improvement.

    Parameters
    ----------
    monitor : str
        A key of the logs, such as "val_loss" or "val_accuracy".
    patience : int
        Epochs without an improvement that are waited for; with 0 the first one ends the training.
    min_delta : float
        What a value must be better by to count as an improvement; 0 or more.
    restore_best : bool
        Whether the net gets the parameters and statistics of its best epoch back at the end of the
        training, whatever ended it.  The optimizer's state stays that of the last epoch.
    mode : {"auto", "min", "max"}
        Whether lower or higher is better; "auto" takes higher for accuracies and scores and lower
        for everything else.

    Attributes
    ----------
    best : float
        The best value; NaN before the first epoch.
    best_epoch : int or None
        The epoch of that value, counted from 0.
    stopped_epoch : int or None
        The epoch that ended the training; None if this callback did not end it.

    Raises
    ------
    ValueError
        If `patience` or `min_delta` is negative, or `mode` is unknown; and in training, if the
        logs do not have the key `monitor`.

    Notes
    -----
    Prechelt 1998, "Early Stopping - But When?", compares rules of this kind.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 5,
        min_delta: float = 0.0,
        restore_best: bool = True,
        *,
        mode: Mode = "auto",
    ) -> None:
        if patience < 0:
            raise ValueError(f"patience is a number of epochs, 0 or more, not {patience}")
        if not min_delta >= 0:
            raise ValueError(f"min_delta is 0 or more, not {min_delta}")
        if mode not in ("auto", "min", "max"):
            raise ValueError(f'mode is "auto", "min" or "max", not {mode!r}')
        self.monitor = monitor
        self.patience = patience
        self.min_delta = min_delta
        self.restore_best = restore_best
        if mode == "auto":
            higher = any(word in monitor for word in _HIGHER_IS_BETTER)
            mode = "max" if higher else "min"
        self.mode: Mode = mode
        self._forget()

    def _forget(self) -> None:
        self.best = float("nan")
        self.best_epoch: int | None = None
        self.stopped_epoch: int | None = None
        self._waited = 0
        self._best_state: dict[str, Any] | None = None

    def on_train_begin(self, logs: Logs) -> None:
        """Forget an earlier training."""
        self._forget()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Compare the epoch with the best one."""
        if self.monitor not in logs:
            raise ValueError(
                f"EarlyStopping monitors {self.monitor!r}, but the logs hold {', '.join(logs)}"
            )
        value = logs[self.monitor]
        if self._improves(value):
            self.best, self.best_epoch, self._waited = value, epoch, 0
            if self.restore_best:
                self._best_state = self.trainer.net.state_dict()
            return
        self._waited += 1
        if self._waited >= self.patience:
            self.stopped_epoch = epoch
            self.trainer.stop_training = True

    def on_train_end(self, logs: Logs) -> None:
        """Give the net its best state back."""
        if self._best_state is not None:
            self.trainer.net.load_state_dict(self._best_state)
        self._best_state = None

    def _improves(self, value: float) -> bool:
        if self.best_epoch is None:
            return not math.isnan(value)
        gain = value - self.best if self.mode == "max" else self.best - value
        return gain > self.min_delta
