"""What the benchmark asks of a library."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fastbn.bench.images import Images
from fastbn.bench.operands import Array, NormalizationOperands, ProductOperands
from fastbn.bench.shapes import Normalization, Product, TrainingStep
from fastbn.train.numpy_baseline import Block

LEARNING_RATE = 0.01
SGD_MOMENTUM = 0.9


def nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Job:
    """One case, ready to be computed again and again.

    Attributes
    ----------
    run : callable
        Computes it once: this is timed.
    results : callable
        Returns the arrays of the last run, or the losses of the first training steps.
    finish : callable
        Waits until what was run is done, for a library that returns before; timed too.
    """

    run: Callable[[], Any]
    results: Callable[[], Sequence[Any]]
    finish: Callable[[], None] = nothing


class Library:
    """A library in this process.

    Parameters
    ----------
    threads : int
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def version(self) -> str:
        """Return its name and version, and what else settles its speed."""
        raise NotImplementedError

    def threads_in_force(self) -> int:
        """Return how many threads it really has."""
        return self.threads

    def product(self, case: Product, operands: ProductOperands) -> Job | None:
        """Prepare a product, or return None."""
        return None

    def normalization(self, case: Normalization, operands: NormalizationOperands) -> Job | None:
        """Prepare a batch normalization, or return None."""
        return None

    def training(self, case: TrainingStep, blocks: Sequence[Block], images: Images) -> Job | None:
        """Prepare training steps from given parameters, or return None."""
        return None


def fastest(jobs: Sequence[Job]) -> Job:
    """Return the fastest of several ways to do the same, by the best of a few runs each."""

    def seconds(job: Job) -> float:
        started = time.perf_counter()
        job.run()
        job.finish()
        return time.perf_counter() - started

    times = [min(seconds(job) for _ in range(7)) for job in jobs]
    return jobs[times.index(min(times))]


class FirstLosses:
    """Keeps the losses of the first steps, which are compared; a later one costs a comparison."""

    WANTED = 3

    def __init__(self) -> None:
        self._losses: list[Any] = []

    def add(self, loss: Any) -> None:
        """Take the loss of a step."""
        if len(self._losses) < self.WANTED:
            self._losses.append(loss)

    def values(self) -> list[float]:
        """Return them as numbers."""
        return [float(loss) for loss in self._losses]


def product_of(operands: ProductOperands) -> Callable[[], Sequence[Array]]:
    """Return `results` of a product; it keeps alive the operands, whose addresses C is given."""
    return lambda: (operands.c,)


def written_to(array: Array) -> Callable[[], Sequence[Array]]:
    """Return `results` of a job that writes into an array."""
    return lambda: (array,)
