"""The libraries side by side: a worker each, and rounds in which they take turns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any

from fastbn.bench import environment, limits, turns
from fastbn.bench.libraries import ON_ONE_THREAD, WITH_OPENBLAS, WITH_OPENMP
from fastbn.bench.limits import Limits
from fastbn.bench.shapes import Case, to_dict
from fastbn.bench.watch import UNDISTURBED, Look, Watch

_SECONDS_A_LIMIT = 0.05
# Limits are measured at the start and again after so many cases, and the best of all is kept: on a
# machine that others use, one look was seen to give half of what it has.
_CASES_BETWEEN_LIMITS = 25

# A look at the machine before a round and after each of its turns; where one finds it disturbed the
# round is taken again, up to so often, after a pause: disturbances last 10 ms at least.  A case has
# no more such tries than rounds, for some last minutes.
_SECONDS_A_LOOK = 0.0005
_TRIES = 4
_PAUSE = 0.02

# A training step takes up to 30 ms: one a turn would be timed by a single look at the clock.
_LONGER_TURNS = {"training": 8}


class WorkerError(RuntimeError):
    """A library could not be loaded, or its process ended."""


@dataclass(frozen=True)
class Settings:
    """How is measured.

    Attributes
    ----------
    threads : int
        Of every library.
    rounds : int
        Turns of each library.
    seconds : float
        What a turn takes.
    environ : mapping
        Variables for single libraries, by name: what a user wants to hold back knowingly.
    """

    threads: int
    rounds: int = 9
    seconds: float = 0.004
    environ: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Measurement:
    """Seconds a call, one value a round, by library; and why a library has none.

    Attributes
    ----------
    case : Case
    seconds : dict of str to list of float
    failed : dict of str to str
        Wrong answers and other errors, by library.
    notes : dict of str to str
        Such as the data that were trained on.
    tries : list of int
        How often each round was taken.
    least : list of float
        The least share of the machine that a look during each round found.
    """

    case: Case
    seconds: dict[str, list[float]]
    failed: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    tries: list[int] = field(default_factory=list)
    least: list[float] = field(default_factory=list)

    @property
    def disturbed(self) -> int:
        """How many rounds count although the machine was disturbed each time."""
        return sum(share < UNDISTURBED for share in self.least)


@dataclass(frozen=True)
class _Round:
    """A turn of each library: seconds a call, and the least share of the machine meanwhile."""

    seconds: dict[str, float]
    least: float


class _Worker:
    """The process of one library.

    Parameters
    ----------
    name : str
    settings : Settings

    Raises
    ------
    WorkerError
        If the library cannot be loaded.
    """

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self._stderr = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        variables = environment.freed(
            settings.threads, bind=name in WITH_OPENMP, numpy_idle=name not in WITH_OPENBLAS
        )
        variables |= settings.environ.get(name, {})
        with _bound_to(settings.threads):
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "fastbn.bench.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                text=True,
                env=variables,
            )
        try:
            self.description = self.ask({"library": name, "threads": settings.threads})
        except WorkerError:
            self.close()
            raise
        if "error" in self.description:
            self.close()
            raise WorkerError(f"{name}: {self.description['error']}")

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request and return the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            turns.resume(self._process)
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
            turns.pause(self._process)
        except BrokenPipeError:
            line = ""
        if not line:
            raise WorkerError(f"the process of {self.name} ended: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        code = self._process.wait()
        self._stderr.seek(0)
        lines = self._stderr.read().strip().splitlines()
        return lines[-1] if lines else f"exit code {code}"

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._stderr.close()


@contextmanager
def _bound_to(cpus: int) -> Iterator[None]:
    """Let processes that start here run on so many CPUs: all libraries on the same ones.

    The last ones, since interrupts mostly go to the first.
    """
    at_hand = environment.cpus_at_hand()
    if cpus >= len(at_hand) or not hasattr(os, "sched_setaffinity"):
        yield
        return
    os.sched_setaffinity(0, at_hand[-cpus:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, at_hand)


class Team:
    """Workers for several libraries; a context manager that ends them.

    Parameters
    ----------
    libraries : sequence of str
        "fastbn" must be among them; others that cannot be loaded are left out, with a warning.
    settings : Settings

    Attributes
    ----------
    settings : Settings
    libraries : dict of str to dict
        Version and threads of those that take part.
    warnings : list of str
        What a reader of the results must know.
    limits : Limits
        Of the machine: the best of what was measured so far.

    Raises
    ------
    WorkerError
        If fastbn itself cannot be loaded.
    """

    def __init__(self, libraries: Sequence[str], settings: Settings) -> None:
        self.settings = settings
        self.warnings = _warnings_of_environment(settings)
        self._workers: dict[str, _Worker] = {}
        self._cases = 0
        # A process of its own, so that no library comes from a look with its threads awake.
        self._watcher: _Worker | None = None
        self._watch = Watch(self._look)
        try:
            self._watcher = _Worker("fastbn", replace(settings, environ={}))
            for name in libraries:
                self._start(name)
            self.limits = self._measure_limits()
            self._look_at_limits()
        except BaseException:
            self.close()
            raise

    def _start(self, name: str) -> None:
        try:
            worker = _Worker(name, self.settings)
        except WorkerError as error:
            if name == "fastbn":
                raise
            self.warnings.append(f"left out: {error}")
            return
        self._workers[name] = worker
        threads = worker.description["threads"]
        if threads != self.settings.threads and name not in ON_ONE_THREAD:
            self.warnings.append(
                f"{name} has {threads} threads where {self.settings.threads} were asked for: "
                "its figures are not comparable"
            )

    @property
    def libraries(self) -> dict[str, dict[str, Any]]:
        """Version and threads of the libraries that take part."""
        return {name: worker.description for name, worker in self._workers.items()}

    @property
    def target(self) -> str:
        """The instruction set of fastbn's worker, which may be forced."""
        return str(self._workers["fastbn"].description["version"]).split()[-1]

    def measure(self, case: Case, libraries: Sequence[str] | None = None) -> Measurement:
        """Time a case.

        Parameters
        ----------
        case : Case
        libraries : sequence of str, optional
            Which of the team; by default all.  Those that cannot compute the case are left out.

        Returns
        -------
        Measurement
        """
        measurement = Measurement(case, {})
        self._cases += 1
        if self._cases % _CASES_BETWEEN_LIMITS == 0:
            self._look_at_limits()
        names = [n for n in (libraries or self._workers) if n in self._workers]
        ready = [name for name in names if self._prepare(name, measurement)]
        for round_ in range(self.settings.rounds):
            shift = round_ % max(len(ready), 1)
            self._round(ready[shift:] + ready[:shift], measurement)
        return measurement

    def _round(self, names: Sequence[str], measurement: Measurement) -> None:
        """Take a round, and take it again where the machine was disturbed: the least so counts."""
        tries = [self._one_try(names, measurement)]
        left = self.settings.rounds - sum(count - 1 for count in measurement.tries)
        while tries[-1].least < UNDISTURBED and len(tries) <= min(left, _TRIES - 1):
            time.sleep(_PAUSE)
            tries.append(self._one_try(names, measurement))
        best = max(tries, key=lambda one: one.least)
        measurement.tries.append(len(tries))
        measurement.least.append(best.least)
        for name, seconds in measurement.seconds.items():  # those that failed are in there no more
            seconds.append(best.seconds[name])

    def _one_try(self, names: Sequence[str], measurement: Measurement) -> _Round:
        seconds = {}
        least = self._watch.share()
        for name in names:
            if name not in measurement.seconds:
                continue  # failed in an earlier round
            answer = self._ask(name, {"do": "run"}, measurement)
            if answer is None:
                del measurement.seconds[name]
            else:
                seconds[name] = answer["seconds"]
            least = min(least, self._watch.share())
        return _Round(seconds, least)

    def _look(self) -> Look | None:
        """Return what the machine gives now; None without a watcher."""
        if self._watcher is None:
            return None
        try:
            return Look(**self._watcher.ask({"do": "look", "seconds": _SECONDS_A_LOOK}))
        except WorkerError as error:
            self._watcher.close()
            self._watcher = None
            self.warnings.append(f"disturbed rounds are taken for others from now on: {error}")
            return None

    def _measure_limits(self) -> Limits:
        request = {"do": "limits", "seconds": _SECONDS_A_LIMIT}
        return limits.from_dict(self._workers["fastbn"].ask(request))

    def _look_at_limits(self) -> None:
        if "fastbn" not in self._workers:  # it ended in an earlier case
            return
        with suppress(WorkerError):  # it ended since: the next case says so
            self.limits = limits.best_of(self.limits, self._measure_limits())

    def _prepare(self, name: str, measurement: Measurement) -> bool:
        request = {
            "do": "prepare",
            "case": to_dict(measurement.case),
            "seconds": self.settings.seconds * _LONGER_TURNS.get(measurement.case.suite, 1),
        }
        answer = self._ask(name, request, measurement)
        if answer is None or "unsupported" in answer:
            return False
        if "data" in answer:
            measurement.notes["data"] = answer["data"]
        measurement.seconds[name] = []
        return True

    def _ask(
        self, name: str, request: dict[str, Any], measurement: Measurement
    ) -> dict[str, Any] | None:
        """Ask a worker; None, and a note in the measurement, if it failed."""
        try:
            answer = self._workers[name].ask(request)
        except WorkerError as error:
            self._workers.pop(name).close()
            answer = {"error": str(error)}
        if "error" in answer:
            measurement.failed[name] = answer["error"]
            return None
        return answer

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()
        if self._watcher is not None:
            self._watcher.close()
            self._watcher = None

    def __enter__(self) -> Team:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _warnings_of_environment(settings: Settings) -> list[str]:
    """Say which settings would have held a library back, and which do so knowingly."""
    warnings = []
    if found := environment.held_back(settings.threads):
        warnings.append(f"{', '.join(found)} would hold a library back: all were measured without")
    for name, variables in settings.environ.items():
        if slowing := environment.held_back(settings.threads, variables):
            warnings.append(f"{name} WAS HELD BACK by {', '.join(slowing)}, as asked for")
    return warnings
