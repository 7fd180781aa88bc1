"""A comparison from start to end: what `fastbn bench` and the ratio commands do."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastbn.bench.libraries import of_suite
from fastbn.bench.ratios import loud, measure_and_print, summary
from fastbn.bench.record import document
from fastbn.bench.shapes import SUITES, Case, cases
from fastbn.bench.team import Measurement, Settings, Team

QUICK_ROUNDS, ROUNDS = 5, 9


@dataclass(frozen=True)
class Plan:
    """What is to be compared.

    Attributes
    ----------
    suites : sequence of str
    threads : int
    quick : bool
        A selection that takes less than two minutes, rather than everything.
    dtype : {"float32", "float64"}
    rounds : int, optional
        Turns of each library; None takes the number that fits `quick`.
    seconds : float
        Of a turn.
    only : str
        Cases whose name contains it; all if it is empty.
    peers : sequence of str, optional
        Libraries beside fastbn; None takes all that are installed.
    environ : mapping
        Variables for single libraries, by name.
    """

    suites: Sequence[str]
    threads: int
    quick: bool = False
    dtype: str = "float32"
    rounds: int | None = None
    seconds: float = 0.004
    only: str = ""
    peers: Sequence[str] | None = None
    environ: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def settings(self) -> Settings:
        """Return how is measured."""
        rounds = self.rounds or (QUICK_ROUNDS if self.quick else ROUNDS)
        return Settings(self.threads, rounds, self.seconds, self.environ)

    def libraries(self, suite: str) -> list[str]:
        """Return those that take part in a suite."""
        if self.peers is not None:
            return ["fastbn", *self.peers]
        return of_suite(suite, quick=self.quick)

    def cases(self, suite: str) -> list[Case]:
        """Return what is measured of a suite."""
        every = cases(suite, quick=self.quick, dtype=self.dtype)
        return [case for case in every if self.only in case.name]


def all_suites(name: str) -> tuple[str, ...]:
    """Return the suites that a word means: one of them, or "all"."""
    return SUITES if name == "all" else (name,)


def run(plan: Plan, command: str, write: Callable[[str], None] = print) -> dict[str, Any]:
    """Measure, write the results as they come, and return them.

    Parameters
    ----------
    plan : Plan
    command : str
        The command as the user gave it, for the record.
    write : callable
        Takes a line.

    Returns
    -------
    dict
        A document of `record`.
    """
    names = dict.fromkeys(name for suite in plan.suites for name in plan.libraries(suite))
    with Team([*names], plan.settings()) as team:
        for line in [*_heading(team), *loud(team.warnings), ""]:
            write(line)
        measured: list[Measurement] = []
        for suite in plan.suites:
            measured += measure_and_print(team, plan.cases(suite), plan.libraries(suite), write)
            write("")
        for line in [*summary(measured, team), *loud(team.warnings)]:
            write(line)
        return document(team, measured, command)


def _heading(team: Team) -> list[str]:
    settings = team.settings
    versions = [str(library["version"]) for library in team.libraries.values()]
    return [
        f"{settings.threads} threads each, medians of {settings.rounds} rounds in turn",
        *(f"  {version}" for version in versions),
    ]


def save(results: dict[str, Any], path: Path) -> None:
    """Write a document of `record` to a file."""
    path.write_text(json.dumps(results, indent=1) + "\n")
