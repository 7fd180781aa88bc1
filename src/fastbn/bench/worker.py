"""A process with one library: prepares a case, checks its answer, and times it turn by turn.

A process of its own for each library, because BLAS settles its kernels and threads when NumPy is
imported, because OpenMP runtimes in one process wait spinning on the CPUs that the next one needs,
and because XLA can be bound to CPUs by no other way.

It reads a line of JSON for each request on stdin and answers with one on stdout.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from functools import lru_cache
from typing import Any, TextIO

from fastbn import _core
from fastbn.bench import answers, limits, operands, turns
from fastbn.bench.images import Batches, Images, load_images
from fastbn.bench.libraries import Job, Library, load
from fastbn.bench.libraries.base import LEARNING_RATE, SGD_MOMENTUM, FirstLosses
from fastbn.bench.shapes import Case, Normalization, Product, TrainingStep, from_dict
from fastbn.train.numpy_baseline import Block, NumpyNet, random_blocks

_MOST_CALLS = 1 << 20
_LOOKS = 3


class Worker:
    """What a process does.

    Parameters
    ----------
    library : Library
    """

    def __init__(self, library: Library) -> None:
        self._library = library
        self._job: Job | None = None
        self._calls = 1

    def describe(self) -> dict[str, Any]:
        """Return the version and the threads of the library."""
        return {
            "version": self._library.version(),
            "threads": self._library.threads_in_force(),
        }

    def limits(self, seconds: float) -> dict[str, Any]:
        """Measure the limits of the machine, with the threads of this process."""
        return dataclasses.asdict(limits.measure(seconds))

    def look(self, seconds: float) -> dict[str, Any]:
        """Look at what the machine gives now, for `seconds`: the fields of a `watch.Look`.

        A thread that does not come, asked for again, takes a second for whoever compares.
        """
        flop_per_s = _core.fma_rate("float32", seconds)  # first: it wakes the threads
        handover = 0.0
        if _core.get_num_threads() > 1:
            looks = (_core.handover_seconds() for _ in range(_LOOKS))
            handover = next(filter(None, looks), 1.0)
        return {"flop_per_s": flop_per_s, "handover_seconds": handover}

    def prepare(self, case: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Prepare and check a case, and find out how many calls take about `seconds`."""
        self._job = None  # frees its memory before the next is taken
        job, note = _prepared(self._library, from_dict(case))
        if job is None:
            return {"unsupported": True}
        self._job = job
        self._calls = self._calls_for(job, seconds)
        return {"calls": self._calls, **note}

    def run(self) -> dict[str, Any]:
        """Time a turn: seconds a call.

        Its first two calls are not timed: they wake threads and fill caches with this job's data.
        """
        job, calls = self._job, self._calls
        assert job is not None
        for _ in range(2):
            job.run()
        job.finish()
        return {"seconds": _timed(job, calls) / calls}

    @staticmethod
    def _calls_for(job: Job, seconds: float) -> int:
        calls = 1
        while (spent := _timed(job, calls)) < seconds / 4 and calls < _MOST_CALLS:
            calls *= 2
        return max(1, min(_MOST_CALLS, round(calls * seconds / max(spent, 1e-7))))


def _timed(job: Job, calls: int) -> float:
    run = job.run
    started = time.perf_counter()
    for _ in range(calls):
        run()
    job.finish()
    return time.perf_counter() - started


def _prepared(library: Library, case: Case) -> tuple[Job | None, dict[str, str]]:
    """Return the job of a case, its answer checked, and what there is to say of the data."""
    if isinstance(case, Product):
        given = operands.of_product(case)
        job = library.product(case, given)
        if job is not None:
            job.run()
            answers.check_product(given, job.results()[0])
        return job, {}
    if isinstance(case, Normalization):
        values = operands.of_normalization(case)
        job = library.normalization(case, values)
        if job is not None:
            job.run()
            answers.check_normalization(case, values, job.results())
        return job, {}
    images, blocks = _images(case.sizes, case.dtype), _blocks(case)
    job = library.training(case, blocks, images)
    if job is not None:
        for _ in range(FirstLosses.WANTED):
            job.run()
        answers.check_losses(job.results(), _expected_losses(case, blocks, images))
    return job, {"data": images.name}


@lru_cache(maxsize=1)
def _images(sizes: tuple[int, ...], dtype: str) -> Images:
    return load_images(TrainingStep(1, sizes, dtype))


def _blocks(case: TrainingStep) -> list[Block]:
    return random_blocks(case.sizes, dtype=case.dtype, rng=0)


def _expected_losses(case: TrainingStep, blocks: list[Block], images: Images) -> list[float]:
    """Return the losses of the first steps, by NumPy in float64."""
    net = NumpyNet(blocks, lr=LEARNING_RATE, momentum=SGD_MOMENTUM, dtype="float64")
    batches = Batches(len(images.x), case.batch)
    rows = [batches.next() for _ in range(FirstLosses.WANTED)]
    return [net.step(images.x[r], images.y[r]) for r in rows]


def serve(requests: TextIO, answers_to: TextIO) -> None:
    """Answer requests until there are no more."""
    task = json.loads(requests.readline())
    try:
        worker = Worker(load(task["library"], task["threads"]))
        _answer(answers_to, worker.describe())
    except Exception as error:  # a broken library is left out, whatever ails it
        _answer(answers_to, {"error": _one_line(error)})
        return
    for line in requests:
        request = json.loads(line)
        action = getattr(worker, request.pop("do"))
        try:
            _answer(answers_to, action(**request))
        except Exception as error:  # likewise, for this case
            _answer(answers_to, {"error": _one_line(error)})


def _answer(to: TextIO, message: dict[str, Any]) -> None:
    to.write(json.dumps(message) + "\n")
    to.flush()


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]


def main() -> None:
    """Serve on stdin and stdout; whatever a library prints goes to stderr."""
    turns.end_with_parent()
    private = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(sys.stdin, private)


if __name__ == "__main__":
    main()
