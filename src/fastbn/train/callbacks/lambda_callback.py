"""`LambdaCallback`: hooks from plain functions."""

from __future__ import annotations

from collections.abc import Callable

from fastbn.train.callbacks.base import Callback, Logs


class LambdaCallback(Callback):
    """A callback made of functions.

    Parameters
    ----------
    on_train_begin, on_train_end : callable(logs), optional
    on_epoch_begin, on_epoch_end : callable(epoch, logs), optional
    on_batch_begin, on_batch_end : callable(batch, logs), optional

    Examples
    --------
    >>> printer = LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs["loss"]))
    """

    def __init__(
        self,
        *,
        on_train_begin: Callable[[Logs], object] | None = None,
        on_train_end: Callable[[Logs], object] | None = None,
        on_epoch_begin: Callable[[int, Logs], object] | None = None,
        on_epoch_end: Callable[[int, Logs], object] | None = None,
        on_batch_begin: Callable[[int, Logs], object] | None = None,
        on_batch_end: Callable[[int, Logs], object] | None = None,
    ) -> None:
        self._train_begin, self._train_end = on_train_begin, on_train_end
        self._epoch_begin, self._epoch_end = on_epoch_begin, on_epoch_end
        self._batch_begin, self._batch_end = on_batch_begin, on_batch_end

    def on_train_begin(self, logs: Logs) -> None:
        """Call the function given for it."""
        if self._train_begin is not None:
            self._train_begin(logs)

    def on_train_end(self, logs: Logs) -> None:
        """Call the function given for it."""
        if self._train_end is not None:
            self._train_end(logs)

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Call the function given for it."""
        if self._epoch_begin is not None:
            self._epoch_begin(epoch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Call the function given for it."""
        if self._epoch_end is not None:
            self._epoch_end(epoch, logs)

    def on_batch_begin(self, batch: int, logs: Logs) -> None:
        """Call the function given for it."""
        if self._batch_begin is not None:
            self._batch_begin(batch, logs)

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        """Call the function given for it."""
        if self._batch_end is not None:
            self._batch_end(batch, logs)
