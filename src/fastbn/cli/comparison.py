"""The speed of fastbn beside that of the same net in plain NumPy, measured in one run."""

from __future__ import annotations

import dataclasses
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType

import fastbn
from fastbn.bench import turns
from fastbn.bench.environment import freed
from fastbn.cli.numpy_worker import Task
from fastbn.data import Indices, MiniBatches, take_batch
from fastbn.layers import Layer
from fastbn.losses import CrossEntropyLoss
from fastbn.optim import Optimizer
from fastbn.train.trainer import Array

_ROUNDS = 9
_SECONDS_A_ROUND = 0.15  # of each side
_WARM_UP_STEPS = 3  # untimed in each round: they wake the threads and refill the caches

# Our idle threads go on spinning for a while before they sleep and leave the cores to NumPy, whose
# process is stopped while ours computes.
_SECONDS_OF_REST = 0.06


@dataclass(frozen=True)
class Comparison:
    """Speeds of the two, medians over interleaved rounds.

    Attributes
    ----------
    fastbn, numpy : float
        Samples trained per second.
    batch_size, threads, rounds : int
        Of both sides.
    """

    fastbn: float
    numpy: float
    batch_size: int
    threads: int
    rounds: int

    @property
    def ratio(self) -> float:
        """How many times as fast fastbn is."""
        return self.fastbn / self.numpy


def compare(net: Layer, optimizer: Optimizer, x: Array, y: Array, task: Task) -> Comparison:
    """Train both nets in turn, for about three seconds.

    Parameters
    ----------
    net, optimizer
        Our net, which is trained on.
    x, y : ndarray
        Its training samples.
    task : Task
        The same net for NumPy.

    Raises
    ------
    OSError
        If the process of the NumPy net cannot be started, or ends early.
    """
    threads = fastbn.get_num_threads()
    with _NumpySide(task, freed(threads)) as theirs:
        ours = _OurSide(net, optimizer, x, y, task.batch_size)
        steps = _steps_a_round(ours, theirs)
        times = []
        for _ in range(_ROUNDS):
            times.append((_round(ours, steps), _round(theirs, steps)))
    mine, other = (statistics.median(side) for side in zip(*times, strict=True))
    samples = steps * task.batch_size
    return Comparison(samples / mine, samples / other, task.batch_size, threads, _ROUNDS)


def _steps_a_round(ours: _OurSide, theirs: _NumpySide) -> int:
    """Return a number of steps that takes both sides long enough to be timed."""
    steps = 2
    while min(_round(ours, steps), _round(theirs, steps)) < _SECONDS_A_ROUND / 2:
        steps *= 2
    return steps


def _round(side: _OurSide | _NumpySide, steps: int) -> float:
    time.sleep(_SECONDS_OF_REST)
    side.seconds(_WARM_UP_STEPS)
    return side.seconds(steps)


class _OurSide:
    """The net of fastbn, and the real data."""

    def __init__(
        self, net: Layer, optimizer: Optimizer, x: Array, y: Array, batch_size: int
    ) -> None:
        self._net, self._optimizer, self._loss = net, optimizer, CrossEntropyLoss()
        self._x, self._y = x, y
        self._x_batch = x[:batch_size].copy()
        self._y_batch = y[:batch_size].copy()
        self._batches = _endless(MiniBatches(len(x), batch_size, tail="drop", rng=0))

    def seconds(self, steps: int) -> float:
        """Return the seconds of so many steps, the gathering of their batches included."""
        started = time.perf_counter()
        for _ in range(steps):
            rows = next(self._batches)
            x = take_batch(self._x, rows, self._x_batch)
            y = take_batch(self._y, rows, self._y_batch)
            self._loss.forward(self._net.forward(x, training=True), y)
            self._net.backward_parameters(self._loss.backward())
            self._optimizer.step()
        return time.perf_counter() - started


def _endless(batches: MiniBatches) -> Iterator[Indices]:
    while True:
        yield from batches.epoch_indices(0)


class _NumpySide:
    """The process with the NumPy net."""

    def __init__(self, task: Task, variables: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "fastbn.cli.numpy_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=variables,
        )
        self._send(json.dumps(dataclasses.asdict(task)))

    def seconds(self, steps: int) -> float:
        """Return the seconds of so many steps."""
        turns.resume(self._process)
        self._send(str(steps))
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        turns.pause(self._process)
        if not answer:
            raise OSError("the process of the NumPy net ended early")
        return float(answer)

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def __enter__(self) -> _NumpySide:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()
