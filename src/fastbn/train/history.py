"""What a training recorded."""

from __future__ import annotations

import copy
import importlib
from typing import Any

from fastbn.train.accounting import Accounting


class History:
    """The record of a training, returned by `Trainer.fit`.

    Attributes
    ----------
    history : dict of str to list of float
        One value per finished epoch under Keras' keys: `loss` and the metrics over the training
        samples, while they were being trained; `val_loss` and `val_` before each metric over the
        validation samples after the epoch.  All are means over samples, not over batches.
    batch_losses : list of float
        The loss of every update, in order: the training curve in full.
    epochs : int
        Finished passes over the training samples.
    iterations : int
        Updates made.  Equal to `epochs * iterations_per_epoch` unless the training was stopped
        within an epoch, or was resumed with another batch size.
    accounting : Accounting
        The plan that the last `fit` followed.
    epoch_seconds : list of float
        Wall-clock seconds of training per finished epoch, without the validation.
    epoch_samples : list of int
        Samples trained per finished epoch.
    samples_trained : int
        Samples trained in all, counted anew in each epoch; unfinished epochs included.
    train_seconds : float
        Wall-clock seconds of training in all, without the validation.
    trainer_id : str
        Marks the trainer that it belongs to, for `resume`.
    order_seed : int
        What the orders of the samples were drawn from, for `resume`.
    """

    def __init__(
        self, accounting: Accounting, *, trainer_id: str = "", order_seed: int = 0
    ) -> None:
        self.history: dict[str, list[float]] = {}
        self.batch_losses: list[float] = []
        self.epochs = 0
        self.iterations = 0
        self.accounting = accounting
        self.epoch_seconds: list[float] = []
        self.epoch_samples: list[int] = []
        self.samples_trained = 0
        self.train_seconds = 0.0
        self.trainer_id = trainer_id
        self.order_seed = order_seed

    @property
    def iterations_per_epoch(self) -> int:
        """Updates in one pass over the training samples."""
        return self.accounting.iterations_per_epoch

    @property
    def samples_per_second(self) -> float:
        """Training samples per second of wall-clock time, validation apart; NaN before any."""
        return self.samples_trained / self.train_seconds if self.train_seconds else float("nan")

    def record_batch(self, loss: float) -> None:
        """Count an update, and append its loss."""
        self.batch_losses.append(loss)
        self.iterations += 1

    def record_work(self, samples: int, seconds: float) -> None:
        """Count the samples and the time of an epoch's training, finished or not."""
        self.samples_trained += samples
        self.train_seconds += seconds

    def record_epoch(self, logs: dict[str, float], samples: int, seconds: float) -> None:
        """Append a finished epoch.

        Parameters
        ----------
        logs : dict of str to float
            The values by key.  A key that earlier epochs did not have is filled up with NaN, and
            so is one that this epoch does not have: every list has one value per epoch.
        samples : int
            Samples trained in the epoch.
        seconds : float
            Seconds of training in the epoch.
        """
        for key in logs:
            self.history.setdefault(key, [float("nan")] * self.epochs)
        for key, values in self.history.items():
            values.append(logs.get(key, float("nan")))
        self.epoch_samples.append(samples)
        self.epoch_seconds.append(seconds)
        self.epochs += 1

    def continued(self, accounting: Accounting) -> History:
        """Return a copy that goes on counting under a new plan; this one stays as it is."""
        further = copy.deepcopy(self)
        further.accounting = accounting
        return further

    def plot(self) -> Any:
        """Draw the curves, one panel for each quantity, training beside validation.

        Returns
        -------
        matplotlib.figure.Figure
            Not shown yet: show it with `matplotlib.pyplot.show()`, or save it with `.savefig`.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If no epoch was finished.
        """
        try:
            plt = importlib.import_module("matplotlib.pyplot")
        except ImportError as error:
            raise ImportError(
                "History.plot draws with matplotlib, which is not installed: "
                "pip install 'fastbn[plot]'"
            ) from error
        names = [key for key in self.history if not key.startswith("val_")]
        if not names:
            raise ValueError("nothing to plot: no epoch was finished")
        figure, axes = plt.subplots(
            1, len(names), figsize=(4.5 * len(names), 3.4), squeeze=False, layout="constrained"
        )
        epochs = range(1, self.epochs + 1)
        for axis, name in zip(axes[0], names, strict=True):
            for key, label in ((name, "training"), (f"val_{name}", "validation")):
                if key in self.history:
                    axis.plot(epochs, self.history[key], label=label)
            axis.set(xlabel="epoch", ylabel=name)
            axis.legend()
        return figure

    def __repr__(self) -> str:
        counts = [f"{self.epochs} epochs", f"{self.iterations} iterations"]
        last = [f"{key}={values[-1]:.4g}" for key, values in self.history.items()]
        return f"<History: {', '.join(counts + last)}>"
