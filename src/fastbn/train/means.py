"""Means over the samples of many batches."""

from __future__ import annotations

from collections.abc import Mapping


class Means:
    """Adds up the means of batches, each weighted by its samples.

    The mean of the batches' means would be another number wherever the last batch is smaller.
    """

    def __init__(self) -> None:
        self.samples = 0
        self._sums: dict[str, float] = {}

    def add(self, values: Mapping[str, float], samples: int) -> None:
        """Add the means of a batch of `samples` samples."""
        self.samples += samples
        sums = self._sums
        for key, value in values.items():
            sums[key] = sums.get(key, 0.0) + value * samples

    def means(self, prefix: str = "") -> dict[str, float]:
        """Return the means over all samples, each key with `prefix` before it."""
        return {prefix + key: value / self.samples for key, value in self._sums.items()}
