"""Results as they are read from a file: what the report draws and lists."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastbn.bench.limits import Limits
from fastbn.bench.limits import from_dict as limits_from_dict
from fastbn.bench.ratios import geometric_mean
from fastbn.bench.record import quartiles, rates, ratios
from fastbn.bench.shapes import Case, from_dict, is_neighbour

OURS = "fastbn"


class ResultsError(ValueError):
    """A file that holds no results of these benchmarks."""


@dataclass(frozen=True)
class Figure:
    """The speed of a library in one case.

    Attributes
    ----------
    seconds : tuple of float
        A call, one value a round.
    """

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Seconds a call."""
        return quartiles(self.seconds)[1]

    @property
    def spread(self) -> float:
        """The distance between the quartiles, as a part of the median."""
        q1, median, q3 = quartiles(self.seconds)
        return (q3 - q1) / median


@dataclass(frozen=True)
class Result:
    """One case, with a figure for each library that computed it."""

    case: Case
    figures: dict[str, Figure]

    @property
    def ratios(self) -> dict[str, Any]:
        """Of fastbn to NumPy and to the best peer; see `record.ratios`."""
        return ratios({name: [*figure.seconds] for name, figure in self.figures.items()})

    def ratios_by_round(self, peer: str) -> list[float]:
        """Return how many times as fast as a peer fastbn was in each round."""
        pairs = zip(self.figures[peer].seconds, self.figures[OURS].seconds, strict=False)
        return [theirs / ours for theirs, ours in pairs]

    @property
    def lost(self) -> bool:
        """Whether a peer was faster."""
        return bool(self.ratios.get("ratio_to_best", 1.0) < 1)

    @property
    def clearly_lost(self) -> bool:
        """Whether it was so in more than three quarters of the rounds."""
        found = self.ratios
        return self.lost and quartiles(self.ratios_by_round(found["best_peer"]))[2] < 1

    @property
    def beside(self) -> bool:
        """Whether its batch is no multiple of 8."""
        return is_neighbour(self.case.batch)


@dataclass(frozen=True)
class Results:
    """All of a run.

    Attributes
    ----------
    machine : dict
        See `record.machine`.
    results : tuple of Result
    notes : dict
        Such as the data that were trained on.
    date : str
    """

    machine: dict[str, Any]
    results: tuple[Result, ...]
    notes: dict[str, str]
    date: str

    @property
    def limits(self) -> Limits:
        """What the machine can do."""
        return limits_from_dict(self.machine["limits"])

    @property
    def libraries(self) -> list[str]:
        """Those that took part, fastbn first."""
        return [*self.machine["libraries"]]

    def of(self, suite: str, operation: str | None = None) -> list[Result]:
        """Return the results of a suite, or of one operation of it."""
        return [
            r
            for r in self.results
            if r.case.suite == suite and operation in (None, r.case.operation)
        ]

    def operations(self, suite: str) -> list[str]:
        """Return the operations of a suite, in the order they were measured."""
        return [*dict.fromkeys(r.case.operation for r in self.of(suite))]

    def rates(self, result: Result, library: str = OURS) -> dict[str, Any]:
        """Return the speed of a library in a case, and the limit beside it; see `record.rates`."""
        return rates(result.case, result.figures[library].median, self.limits)

    def lost(self) -> list[Result]:
        """Return the cases in which a peer was faster, the worst first."""
        return sorted((r for r in self.results if r.lost), key=lambda r: r.ratios["ratio_to_best"])


@dataclass(frozen=True)
class Summary:
    """Many ratios as a few numbers."""

    mean: float
    worst: float
    lost: int
    cases: int


def summarize(results: Sequence[Result], key: str) -> Summary | None:
    """Return the geometric mean, the worst, and the number below 1 of a ratio; None without any.

    Parameters
    ----------
    results : sequence of Result
    key : {"ratio_to_numpy", "ratio_to_best"}
    """
    values = [r.ratios[key] for r in results if key in r.ratios]
    if not values:
        return None
    return Summary(geometric_mean(values), min(values), sum(v < 1 for v in values), len(values))


def read(path: Path) -> dict[str, Any]:
    """Read a file of `fastbn bench --json` or of pytest-benchmark.

    Raises
    ------
    OSError
        If it cannot be read.
    ResultsError
        If it is no JSON.
    """
    try:
        document = json.loads(path.read_text())
    except ValueError as error:
        raise ResultsError(f"{path} is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise ResultsError(f"{path} holds no results, but a {type(document).__name__}")
    return document


def results_of(document: dict[str, Any]) -> Results:
    """Return what a document holds; results of other benchmarks in it are passed over.

    Raises
    ------
    ResultsError
        If it holds none of these benchmarks, or they are damaged.
    """
    try:
        machine = document["machine_info"]["fastbn"]
        found: dict[Case, dict[str, Figure]] = {}
        notes: dict[str, str] = {}
        for info in _infos(document):
            figure = Figure(tuple(map(float, info["seconds"])))
            found.setdefault(from_dict(info["case"]), {})[info["library"]] = figure
            if "data" in info:
                notes["data"] = info["data"]
        limits_from_dict(machine["limits"])
    except (KeyError, TypeError, ValueError) as error:
        raise ResultsError(f"no results of these benchmarks: {error!r}") from error
    results = tuple(Result(case, figures) for case, figures in found.items() if OURS in figures)
    if not results:
        raise ResultsError("no results of these benchmarks: fastbn is in none of them")
    return Results(machine, results, notes, str(document.get("datetime", ""))[:10])


def _infos(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for benchmark in document["benchmarks"]:
        if "case" in benchmark["extra_info"]:
            yield benchmark["extra_info"]
