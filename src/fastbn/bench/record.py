"""Results as plain values, in the form of pytest-benchmark's files.

One form for `pytest benchmarks/` and for `fastbn bench`, so that the report, and pytest-benchmark's
own `compare`, read both.  What that form has no place for is in `extra_info` of each result, the
seconds of every round among it, and under "fastbn" in `machine_info`.
"""

from __future__ import annotations

import dataclasses
import datetime
import platform
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import fastbn
from fastbn.bench.limits import Limits
from fastbn.bench.shapes import Case, Normalization, Product, TrainingStep, to_dict
from fastbn.bench.team import Measurement, Team

_PEER_OF_ALL = "numpy"


def ratios(seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Return how many times as fast fastbn is as NumPy and as the best peer, from the medians.

    Parameters
    ----------
    seconds : dict of str to list of float
        By library, one value a round.

    Returns
    -------
    dict
        ``ratio_to_numpy``, ``ratio_to_best`` and ``best_peer``, as far as there are any.
    """
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ours = medians.pop("fastbn", None)
    if ours is None or not medians:
        return {}
    best = min(medians, key=medians.__getitem__)
    found: dict[str, Any] = {"ratio_to_best": medians[best] / ours, "best_peer": best}
    if _PEER_OF_ALL in medians:
        found["ratio_to_numpy"] = medians[_PEER_OF_ALL] / ours
    return found


def rates(case: Case, seconds: float, limits: Limits) -> dict[str, Any]:
    """Return the speed of a case in the unit it is judged by, and the limit beside it.

    Parameters
    ----------
    case : Case
    seconds : float
        Of one call.
    limits : Limits
        Of the machine.
    """
    if isinstance(case, Product):
        peak = limits.fma[case.dtype]
        speed = case.flop / seconds
        return {"gflops": speed / 1e9, "peak_gflops": peak / 1e9, "share": speed / peak}
    if isinstance(case, Normalization):
        level = limits.level_of(case.bytes)
        speed = case.bytes / seconds
        return {
            "gb_per_s": speed / 1e9,
            "level": level.name,
            "level_gb_per_s": level.bandwidth / 1e9,
            "share": speed / level.bandwidth,
        }
    speed = case.batch / seconds
    return {"images_per_s": speed, **roofline(case, limits), "share": speed / _top(case, limits)}


def roofline(case: TrainingStep, limits: Limits) -> dict[str, float]:
    """Return the images a second that the machine allows at most.

    By the multiply-adds at the measured peak, by the traffic of the parameters at the bandwidth of
    the level they are in, and the lower of the two (Williams, Waterman and Patterson 2009).
    """
    compute = case.batch / (case.flop / limits.fma[case.dtype])
    traffic = case.batch / (case.bytes / limits.level_of(case.resident).bandwidth)
    return {
        "compute_images_per_s": compute,
        "traffic_images_per_s": traffic,
        "roofline_images_per_s": min(compute, traffic),
    }


def _top(case: TrainingStep, limits: Limits) -> float:
    return roofline(case, limits)["roofline_images_per_s"]


def extra_info(measurement: Measurement, library: str, team: Team) -> dict[str, Any]:
    """Return all that is known of one library in one case.

    Parameters
    ----------
    measurement : Measurement
    library : str
        One that the measurement has seconds of.
    team : Team
        Those who took part.
    """
    case, seconds = measurement.case, measurement.seconds[library]
    info = {
        "case": to_dict(case),
        "name": case.name,
        "operation": case.operation,
        "curve": case.curve,
        "batch": case.batch,
        "library": library,
        "threads": team.libraries.get(library, {}).get("threads", team.settings.threads),
        "seconds": seconds,
        "tries": measurement.tries,
        "least_share_of_machine": measurement.least,
        **rates(case, statistics.median(seconds), team.limits),
        **measurement.notes,
    }
    if library == "fastbn":
        info |= ratios(measurement.seconds)
    return info


def machine(team: Team, command: str) -> dict[str, Any]:
    """Return what a reader of the results must know of the machine and the libraries.

    Parameters
    ----------
    team : Team
    command : str
        What made the results.
    """
    info = fastbn.info()
    return {
        "command": command,
        "cpu": cpu_name(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "fastbn": info["version"],
        "target": team.target,
        "compiler": info["compiler"],
        "threads": team.settings.threads,
        "rounds": team.settings.rounds,
        "libraries": team.libraries,
        "limits": dataclasses.asdict(team.limits),
        "warnings": list(team.warnings),
    }


def cpu_name() -> str:
    """Return the processor's name for itself."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def name_of(measurement: Measurement, library: str) -> str:
    """Return the name of a result, as `pytest benchmarks/` has it."""
    return f"test_{measurement.case.suite}[{measurement.case.name}-{library}]"


def document(team: Team, measurements: Iterable[Measurement], command: str) -> dict[str, Any]:
    """Return everything as a file of pytest-benchmark.

    Parameters
    ----------
    team : Team
    measurements : iterable of Measurement
    command : str
        What made them.
    """
    now = datetime.datetime.now(datetime.UTC)
    return {
        "machine_info": {
            "python_version": platform.python_version(),
            "system": platform.system(),
            "machine": platform.machine(),
            "cpu": {"brand_raw": cpu_name()},
            "fastbn": machine(team, command),
        },
        "commit_info": {},
        "benchmarks": [
            _benchmark(measurement, library, team)
            for measurement in measurements
            for library in measurement.seconds
        ],
        "datetime": now.isoformat(),
        "version": "5.0.0",  # of the form, which is that of pytest-benchmark 5
    }


def _benchmark(measurement: Measurement, library: str, team: Team) -> dict[str, Any]:
    name, case = name_of(measurement, library), measurement.case
    return {
        "group": case.name,
        "name": name,
        "fullname": f"benchmarks/bench_{case.suite}.py::{name}",
        "params": None,
        "param": f"{case.name}-{library}",
        "extra_info": extra_info(measurement, library, team),
        "options": {"timer": "perf_counter", "warmup": True},
        "stats": _statistics(measurement.seconds[library]),
    }


def _statistics(seconds: Sequence[float]) -> dict[str, Any]:
    """Return the statistics that pytest-benchmark keeps."""
    q1, median, q3 = quartiles(seconds)
    iqr = q3 - q1
    mean = statistics.fmean(seconds)
    stddev = statistics.stdev(seconds) if len(seconds) > 1 else 0.0
    kept = [s for s in seconds if q1 - 1.5 * iqr <= s <= q3 + 1.5 * iqr]
    outside = sum(abs(s - mean) > stddev for s in seconds)
    return {
        "min": min(seconds),
        "max": max(seconds),
        "mean": mean,
        "stddev": stddev,
        "rounds": len(seconds),
        "median": median,
        "iqr": iqr,
        "q1": q1,
        "q3": q3,
        "iqr_outliers": len(seconds) - len(kept),
        "stddev_outliers": outside,
        "outliers": f"{outside};{len(seconds) - len(kept)}",
        "ld15iqr": min(kept),
        "hd15iqr": max(kept),
        "ops": 1 / mean,
        "total": sum(seconds),
        "iterations": 1,
    }


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the quartiles, each by interpolation between two values."""
    if len(values) == 1:
        return (values[0],) * 3
    q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
    return q1, median, q3
