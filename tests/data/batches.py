"""What the tests of mini-batches share."""

from typing import Any

import numpy as np

from fastbn.data import MiniBatches, Tail

TAILS: tuple[Tail, ...] = ("keep", "drop", "merge")


def sizes(batches: MiniBatches, epoch: int = 0) -> list[int]:
    rows = np.arange(batches.n_samples)
    return [len(rows[indices]) for indices in batches.epoch_indices(epoch)]


def order(batches: MiniBatches, epoch: int = 0, start: int = 0) -> np.ndarray[Any, Any]:
    rows = np.arange(batches.n_samples)
    parts = [rows[indices] for indices in batches.epoch_indices(epoch, start)]
    return np.concatenate([rows[:0], *parts])
