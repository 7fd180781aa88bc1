"""Time several functions side by side: interleaved in each round, so that what disturbs the machine
disturbs all of them alike."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

REST = 0.02  # seconds; GNU's OpenMP spins for some milliseconds


def _calls_for(run: Callable[[], Any], seconds: float) -> int:
    """Calls that take about `seconds`, from a first estimate."""
    run()
    start = time.perf_counter()
    run()
    once = max(time.perf_counter() - start, 1e-7)
    return max(1, int(seconds / once))


def interleaved(
    runs: Mapping[str, Callable[[], Any]], rounds: int, seconds: float
) -> dict[str, list[float]]:
    """Return the seconds a call of each function, one value a round.

    A round calls each function in turn, in an order that rotates, for `seconds` at a time.  Before
    each turn comes a rest in which the threads of the one before, which wait spinning for its next
    call, go to sleep: else they hold the CPUs that this one needs.  The turn's first two calls are
    not timed: they wake threads and fill caches with this function's data.
    """
    calls = {name: _calls_for(run, seconds) for name, run in runs.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for round_ in range(rounds):
        shift = round_ % len(names)
        for name in names[shift:] + names[:shift]:
            run, count = runs[name], calls[name]
            time.sleep(REST)
            run()
            run()
            start = time.perf_counter()
            for _ in range(count):
                run()
            times[name].append((time.perf_counter() - start) / count)
    return times


def median(values: list[float]) -> float:
    """Return the median."""
    return statistics.median(values)
