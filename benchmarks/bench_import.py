"""What `import fastbn` costs beside `import numpy`: new processes, taken in turn."""

import statistics
import subprocess
import sys
from functools import lru_cache

import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from replay import CLOCK

MODULES = ("numpy", "numpy, fastbn")
ROUNDS = 7
TARGET_MS = 30.0
CODE = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"


def seconds(modules: str) -> float:
    """Return what the import of the modules takes in a process of its own."""
    command = [sys.executable, "-c", CODE.format(modules)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@lru_cache
def rounds() -> dict[str, list[float]]:
    """Measure both in turn; the first round, which fills the file system's cache, is left out."""
    turns = [{modules: seconds(modules) for modules in MODULES} for _ in range(ROUNDS + 1)]
    return {modules: [turn[modules] for turn in turns[1:]] for modules in MODULES}


@pytest.mark.benchmark(group="import", timer=CLOCK.time)
@pytest.mark.parametrize("modules", MODULES)
def test_import(modules: str, benchmark: BenchmarkFixture) -> None:
    times = rounds()
    more = [both - numpy for numpy, both in zip(*times.values(), strict=True)]
    benchmark.extra_info |= {
        "seconds": times[modules],
        "fastbn_alone_ms": 1e3 * statistics.median(more),
        "aim_ms": TARGET_MS,
    }
    CLOCK.hand_over(benchmark, times[modules])
    if modules != "numpy":
        print(f"\nfastbn alone: {1e3 * statistics.median(more):.1f} ms (aim: {TARGET_MS:g} ms)")
