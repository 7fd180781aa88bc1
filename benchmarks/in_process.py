"""For comparisons within one process: import before NumPy, prepare, then time by turns.

The comparisons of libraries run each in a process of its own (fastbn.bench.team); here both sides
are the same program with another import, and share their arrays.
"""

import os
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

# Settings that hold OpenBLAS back; see fastbn.bench.environment, which cannot be imported yet.
HELD_BACK_BY = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
THREAD_VARIABLES = ("FASTBN_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
REST = 0.12  # seconds: OpenBLAS's idle threads spin for a tenth of a second after a call

median = statistics.median


def prepare(threads: int | None = None) -> int:
    """Set the environment and return the number of threads, by default the CPUs at hand."""
    for name in HELD_BACK_BY:
        os.environ.pop(name, None)
    threads = threads or len(os.sched_getaffinity(0))
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    return threads


def interleaved(
    runs: Mapping[str, Callable[[], Any]], rounds: int, seconds: float
) -> dict[str, list[float]]:
    """Return the seconds a call of each function, one value a round.

    A round calls each function in turn, in an order that rotates, for about `seconds` at a time,
    after a rest in which the threads of the one before go to sleep.  The first two calls of a turn,
    which wake threads and fill caches, are not timed.
    """
    calls = {}
    for name, run in runs.items():
        run()
        start = time.perf_counter()
        run()
        calls[name] = max(1, int(seconds / max(time.perf_counter() - start, 1e-7)))
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
