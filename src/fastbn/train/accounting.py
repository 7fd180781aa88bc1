"""How many updates a training makes: epoch, batch size and iteration as textbooks use the words.

    iterations per epoch = batches that one pass over the samples is cut into
    updates              = iterations per epoch x epochs

60,000 samples at batch size 100 are 600 iterations an epoch, and 10 epochs are 6,000 updates.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Accounting:
    """The plan of a training in numbers.

    Attributes
    ----------
    samples : int
        Training samples.
    batch_size : int
        Samples per update.  Equal to `samples` it is batch gradient descent, 1 is stochastic
        gradient descent, and anything between is mini-batch gradient descent.
    iterations_per_epoch : int
        Updates in one pass over the training samples.
    epochs : int
        Passes over the training samples.
    tail : str
        What becomes of the samples that do not fill a last batch, in words.
    """

    samples: int
    batch_size: int
    iterations_per_epoch: int
    epochs: int
    tail: str

    @property
    def updates(self) -> int:
        """Updates of the parameters in all: `iterations_per_epoch * epochs`."""
        return self.iterations_per_epoch * self.epochs

    @property
    def descent(self) -> str:
        """The name of the method: "batch", "stochastic" or "mini-batch" (gradient descent)."""
        if self.batch_size >= self.samples:
            return "batch"
        return "stochastic" if self.batch_size == 1 else "mini-batch"

    def rows(self) -> list[tuple[str, str]]:
        """Return the plan as pairs of a name and a value, ready to be printed as a table."""
        return [
            ("samples", f"{self.samples:,}"),
            ("batch size", f"{self.batch_size:,}  ({self.descent} gradient descent)"),
            ("iterations an epoch", f"{self.iterations_per_epoch:,}"),
            ("epochs", f"{self.epochs:,}"),
            ("updates", f"{self.updates:,}  ({self.iterations_per_epoch:,} x {self.epochs:,})"),
            ("tail", self.tail),
        ]
