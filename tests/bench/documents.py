"""Results that nobody measured, to try the report and the comparison on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from fastbn.bench.limits import Level, Limits
from fastbn.bench.record import document
from fastbn.bench.shapes import SUITES, Case, cases
from fastbn.bench.team import Measurement, Settings

LIMITS = Limits(
    {"float32": 400e9, "float64": 200e9},
    [Level("L1", 1e5, 500e9), Level("L2", 2e6, 300e9), Level("memory", 1e18, 40e9)],
)
ROUNDS = 5

# Seconds of a library in a case, as a multiple of fastbn's.
Factor = Callable[[Case, str], float]


def twice_as_fast(case: Case, library: str) -> float:
    return 1.0 if library == "fastbn" else 2.0


def make(
    factor: Factor = twice_as_fast,
    *,
    suites: Sequence[str] = SUITES,
    scatter: float = 0.0,
    warnings: Sequence[str] = (),
    threads: int = 2,
) -> dict[str, Any]:
    """Return the document of a run of the quick set.

    `scatter` is the distance of the first and last round from the median, as a part of it.
    """
    libraries = ("fastbn", "numpy", "torch")
    team: Any = SimpleNamespace(
        settings=Settings(threads, ROUNDS),
        libraries={name: {"version": f"{name} 1.0", "threads": threads} for name in libraries},
        limits=LIMITS,
        warnings=[*warnings],
        target="avx2",
    )
    measurements = []
    for suite in suites:
        for case in cases(suite, quick=True):
            base = 1e-6 * (case.batch or 100)
            seconds = {
                name: [
                    base * factor(case, name) * (1 + scatter * turn)
                    for turn in (-1, -0.5, 0, 0.5, 1)
                ]
                for name in libraries
            }
            measurements.append(Measurement(case, seconds, notes={"data": "noise"}))
    return document(team, measurements, "fastbn bench --quick")
