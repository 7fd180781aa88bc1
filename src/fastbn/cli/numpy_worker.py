"""The process that trains the plain NumPy net while `fastbn train` compares speeds.

A process of its own, because the number of threads of a BLAS and its choice of kernels are settled
when NumPy is imported, and because its idle threads would disturb ours.  It reads one line of JSON,
the `Task`; then for each line with a number of steps it answers with their seconds.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass

import numpy as np

from fastbn.bench import turns
from fastbn.train.numpy_baseline import NumpyNet, random_blocks


@dataclass(frozen=True)
class Task:
    """What to train: plain values, fit for JSON."""

    sizes: tuple[int, ...]
    batch_norm: bool
    dtype: str
    optimizer: str
    momentum: float
    weight_decay: float
    samples: int
    batch_size: int
    lr: float = 1e-3  # small, as the data are noise: a training that diverges computes with NaN


class Worker:
    """A plain NumPy net, and noise in the size of the data to train it on.

    Parameters
    ----------
    task : Task
    """

    def __init__(self, task: Task) -> None:
        rng = np.random.default_rng(0)
        blocks = random_blocks(task.sizes, batch_norm=task.batch_norm, dtype=task.dtype, rng=rng)
        self._net = NumpyNet(
            blocks,
            optimizer=task.optimizer,
            lr=task.lr,
            momentum=task.momentum,
            weight_decay=task.weight_decay,
        )
        shape = (task.samples, task.sizes[0])
        self._x = rng.standard_normal(shape, np.float32).astype(task.dtype, copy=False)
        self._y = rng.integers(task.sizes[-1], size=task.samples)
        self._order = rng.permutation(task.samples)
        self._batch = np.empty((task.batch_size, task.sizes[0]), task.dtype)
        self._position = 0

    def seconds(self, steps: int) -> float:
        """Return the seconds of so many steps, the gathering of their batches included."""
        started = time.perf_counter()
        for _ in range(steps):
            rows = self._next_rows()
            np.take(self._x, rows, axis=0, out=self._batch, mode="clip")
            self._net.step(self._batch, self._y[rows])
        return time.perf_counter() - started

    def _next_rows(self) -> np.ndarray:
        size = len(self._batch)
        if self._position + size > len(self._order):
            self._position = 0
        self._position += size
        return self._order[self._position - size : self._position]


def main() -> None:
    """Serve on stdin and stdout."""
    turns.end_with_parent()
    fields = json.loads(sys.stdin.readline())
    worker = Worker(Task(**fields))
    for line in sys.stdin:
        print(worker.seconds(int(line)), flush=True)


if __name__ == "__main__":
    main()
