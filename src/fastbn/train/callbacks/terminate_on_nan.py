"""`TerminateOnNaN`: end a training whose loss is no longer a number."""

from __future__ import annotations

import math

from fastbn.train.callbacks.base import Callback, Logs


class TerminateOnNaN(Callback):
    """End the training after the first batch whose loss is NaN or infinite."""

    def on_batch_end(self, batch: int, logs: Logs) -> None:
        """Look at the loss."""
        if not math.isfinite(logs["loss"]):
            self.trainer.stop_training = True
