"""Results on a terminal: a line a case as it is measured, then means, worst cases and limits."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence

from fastbn.bench.record import rates, ratios
from fastbn.bench.shapes import Case, is_neighbour
from fastbn.bench.team import Measurement, Team

_UNITS = {"gemm": "GFLOP/s", "batchnorm": "GB/s", "training": "images/s"}
_RATES = {"gemm": "gflops", "batchnorm": "gb_per_s", "training": "images_per_s"}
_NAME_WIDTH = 32
_WORST = 5


def geometric_mean(values: Sequence[float]) -> float:
    """Return the geometric mean; NaN of no values."""
    return math.exp(statistics.fmean(map(math.log, values))) if values else math.nan


def measure_and_print(
    team: Team,
    cases: Iterable[Case],
    libraries: Sequence[str],
    write: Callable[[str], None] = print,
) -> Iterator[Measurement]:
    """Measure cases of one suite, and write a line for each.

    Parameters
    ----------
    team : Team
    cases : iterable of Case
    libraries : sequence of str
        The columns.
    write : callable
        Takes a line.

    Yields
    ------
    Measurement
    """
    columns = [name for name in libraries if name in team.libraries]
    heading = ""
    for case in cases:
        unit = _UNITS[case.suite]
        if unit != heading:
            heading = unit
            names = "".join(f"{name:>{_width(name)}}" for name in columns)
            write(f"{unit:{_NAME_WIDTH}}{names}    share   best  numpy")
        measurement = team.measure(case, columns)
        write(_line(measurement, columns, team))
        for name, why in measurement.failed.items():
            write(f"  {name} FAILED: {why}")
        yield measurement


def _line(measurement: Measurement, columns: Sequence[str], team: Team) -> str:
    case = measurement.case
    speeds = {
        name: rates(case, statistics.median(seconds), team.limits)
        for name, seconds in measurement.seconds.items()
    }
    cells = ""
    for name in columns:
        value = speeds[name][_RATES[case.suite]] if name in speeds else math.nan
        cells += f"{_digits(value):>{_width(name)}}"
    share = speeds.get("fastbn", {}).get("share", math.nan)
    found = ratios(measurement.seconds)
    best, numpy = (found.get(key, math.nan) for key in ("ratio_to_best", "ratio_to_numpy"))
    return f"{case.name:{_NAME_WIDTH}}{cells}{share:9.0%}{best:7.2f}{numpy:7.2f}"


def _digits(value: float) -> str:
    """Return at least two digits of a speed."""
    return "-" if math.isnan(value) else f"{value:,.{0 if value >= 10 else 1}f}"


def _width(name: str) -> int:
    return max(9, len(name) + 2)


def summary(measurements: Sequence[Measurement], team: Team) -> list[str]:
    """Return geometric means and worst cases of each operation, and the limits of the machine.

    Batches that are no multiples of 8 have lines of their own.
    """
    lines: list[str] = []
    kinds = dict.fromkeys((m.case.suite, m.case.operation) for m in measurements)
    for suite, operation in kinds:
        chosen = [m for m in measurements if (m.case.suite, m.case.operation) == (suite, operation)]
        for beside in (False, True):
            part = [m for m in chosen if is_neighbour(m.case.batch) == beside]
            label = f"{suite} {operation}" + (", batches beside multiples of 8" if beside else "")
            lines += _means(label, part)
    if len(kinds) > 1:
        lines += _means("all", [m for m in measurements if not is_neighbour(m.case.batch)])
    return [*lines, "", *_disturbances(measurements), *_limits(team)]


def _disturbances(measurements: Sequence[Measurement]) -> list[str]:
    rounds = sum(len(m.tries) for m in measurements)
    taken = sum(sum(m.tries) for m in measurements)
    disturbed = sum(m.disturbed for m in measurements)
    return [
        f"{rounds} rounds, taken {taken} times in all; {disturbed} are kept from a disturbed "
        "machine"
    ]


def _means(label: str, measurements: Sequence[Measurement]) -> list[str]:
    lines = []
    for key, peer in (("ratio_to_best", "the best peer"), ("ratio_to_numpy", "NumPy")):
        found = {m.case.name: ratios(m.seconds).get(key) for m in measurements}
        values = {name: value for name, value in found.items() if value is not None}
        if not values:
            continue
        worst = sorted(values, key=values.__getitem__)[:_WORST]
        lines += [
            f"{label}, against {peer}: geometric mean {geometric_mean([*values.values()]):.2f}, "
            f"below 1: {sum(v < 1 for v in values.values())} of {len(values)}",
            "  worst: " + ", ".join(f"{name} {values[name]:.2f}" for name in worst),
        ]
    return ["", *lines] if lines else []


def _limits(team: Team) -> list[str]:
    limits = team.limits
    peaks = ", ".join(f"{name} {peak / 1e9:,.0f}" for name, peak in limits.fma.items())
    levels = ", ".join(f"{level.name} {level.bandwidth / 1e9:,.0f}" for level in limits.levels)
    return [
        f"measured limits, {team.settings.threads} threads: multiply-adds {peaks} GFLOP/s;",
        f"copies {levels} GB/s (read and written)",
    ]


def loud(warnings: Sequence[str]) -> list[str]:
    """Return warnings as lines that cannot be missed."""
    return [f"!!! WARNING: {warning}" for warning in warnings]
