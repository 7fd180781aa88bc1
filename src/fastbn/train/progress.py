"""What `fit` shows while it runs: a line an epoch, and a moving bar where there is a terminal."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from typing import TYPE_CHECKING, TextIO

from fastbn.train.callbacks.base import Callback, Logs

if TYPE_CHECKING:
    from rich.progress import Progress

_SPEED = "samples/s"


class EpochLines(Callback):
    """Print a table while it grows: a header once, then one line after each epoch.

    Parameters
    ----------
    file : text file, optional
        Where to; None is `sys.stdout` as it is when the training begins.
    speed_name : str
        Heading of the last column, the training samples per second of the epoch.
    """

    def __init__(self, file: TextIO | None = None, *, speed_name: str = _SPEED) -> None:
        self._file = file
        self._speed_name = speed_name
        self._has_header = False

    def on_train_begin(self, logs: Logs) -> None:
        """Start a new table."""
        self._has_header = False

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Print the line of the epoch, which the trainer's history has already."""
        history = self.trainer.history
        columns = {
            "epoch": f"{epoch + 1}/{history.accounting.epochs}",
            **{name: f"{value:.4f}" for name, value in logs.items()},
            self._speed_name: f"{history.epoch_samples[-1] / history.epoch_seconds[-1]:,.0f}",
        }
        widths = [max(len(name), 7) for name in columns]
        if not self._has_header:
            self._has_header = True
            self.write("  ".join(name.rjust(w) for name, w in zip(columns, widths, strict=True)))
        self.write("  ".join(v.rjust(w) for v, w in zip(columns.values(), widths, strict=True)))

    def close(self) -> None:
        """Leave the terminal as it was, after an exception too."""

    def write(self, line: str) -> None:
        """Put one line out."""
        print(line, file=self._file or sys.stdout, flush=True)


class ProgressBar(EpochLines):
    """The lines of `EpochLines`, and below them a bar that moves through the current epoch.

    Needs rich, and a terminal.

    Parameters
    ----------
    speed_name : str
        Heading of the last column.
    """

    # Redrawing costs a millisecond, a step of a small net a tenth of one.
    _SECONDS_BETWEEN_DRAWINGS = 0.1

    def __init__(self, *, speed_name: str = _SPEED) -> None:
        super().__init__(speed_name=speed_name)
        self._bar: Progress | None = None
        self._drawn = 0.0

    def on_train_begin(self, logs: Logs) -> None:
        """Open the bar."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        super().on_train_begin(logs)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("iterations{task.fields[rest]}"),
            transient=True,
            auto_refresh=False,
        )
        self._task = self._bar.add_task("", total=0, rest="")

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Start the bar anew."""
        assert self._bar is not None
        plan = self.trainer.history.accounting
        self._started = time.perf_counter()
        self._bar.reset(
            self._task,
            total=plan.iterations_per_epoch,
            description=f"epoch {epoch + 1}/{plan.epochs}",
        )
        self._bar.start()

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        """Move the bar, now and then."""
        now = time.perf_counter()
        if now - self._drawn < self._SECONDS_BETWEEN_DRAWINGS:
            return
        assert self._bar is not None
        self._drawn = now
        plan = self.trainer.history.accounting
        seconds = (now - self._started) * (plan.iterations_per_epoch / (batch + 1) - 1)
        self._bar.update(
            self._task, completed=batch + 1, rest=f", {seconds:.0f} s left", refresh=True
        )

    def on_train_end(self, logs: Logs) -> None:
        """Take the bar away."""
        self.close()

    def close(self) -> None:
        """Take the bar away, if it is still there: also after an exception."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def write(self, line: str) -> None:
        """Put one line out, above the bar."""
        if self._bar is None:
            super().write(line)
        else:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)


def terminal_has_bar() -> bool:
    """Whether a moving bar can be shown: rich is installed and stdout is a terminal that moves."""
    return (
        sys.stdout.isatty()
        and os.environ.get("TERM") != "dumb"
        and importlib.util.find_spec("rich") is not None
    )


def make_progress(*, speed_name: str = _SPEED) -> EpochLines:
    """Return the best that this terminal can show: a `ProgressBar`, or else `EpochLines`."""
    if terminal_has_bar():
        return ProgressBar(speed_name=speed_name)
    return EpochLines(speed_name=speed_name)
