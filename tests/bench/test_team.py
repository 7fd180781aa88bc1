"""The processes side by side: what they answer, and what becomes of one that fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastbn.bench import environment, operands, team
from fastbn.bench.limits import Level, Limits
from fastbn.bench.shapes import Normalization, Product
from fastbn.bench.team import Settings, Team

SMALL = Product("NN", 8, 8, 8, "8x8", 8)


def test_a_case_is_timed_in_rounds() -> None:
    with Team(["fastbn", "numpy"], Settings(1, rounds=2, seconds=1e-4)) as made:
        for case in (SMALL, Normalization("backward", (8, 16))):
            measurement = made.measure(case)
            assert not measurement.failed
            assert {name: len(times) for name, times in measurement.seconds.items()} == {
                "fastbn": 2,
                "numpy": 2,
            }
            assert all(0 < s < 10 for times in measurement.seconds.values() for s in times)
        assert made.limits.level_of(1).bandwidth > 0
        assert made.limits.level_of(1 << 50).name == "memory"
        json.dumps(made.libraries, allow_nan=False)


def test_the_best_of_repeated_limits_is_kept(
    small_team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = small_team.limits
    slow = Limits(
        {dtype: peak / 2 for dtype, peak in first.fma.items()},
        [Level(x.name, x.capacity, x.bandwidth / 2) for x in first.levels],
    )
    fast = Limits(
        {dtype: peak * 2 for dtype, peak in first.fma.items()},
        [Level(x.name, x.capacity, x.bandwidth * 2) for x in first.levels],
    )
    measured = iter([slow, fast])
    monkeypatch.setattr(small_team, "_measure_limits", lambda: next(measured))
    monkeypatch.setattr(team, "_CASES_BETWEEN_LIMITS", 2)
    expected = [first, first, first, fast]
    for limits in expected:
        small_team.measure(SMALL)
        assert small_team.limits == limits


def test_operands_start_where_large_arrays_of_numpy_do() -> None:
    product = operands.of_product(Product("TN", 8, 9, 10, "9x10", 8))
    normalization = operands.of_normalization(Normalization("forward", (8, 24)))
    arrays = [product.a, product.b, product.c, normalization.x, normalization.dy]
    assert {array.ctypes.data % 64 for array in arrays} == {16}


def test_a_process_that_dies_is_left_out_and_named(small_team: Team) -> None:
    small_team._workers["numpy"]._process.kill()
    measurement = small_team.measure(SMALL)
    assert "the process of numpy ended" in measurement.failed["numpy"]
    assert [*measurement.seconds] == ["fastbn"]
    assert [*small_team.libraries] == ["fastbn"]
    assert [*small_team.measure(SMALL).seconds] == ["fastbn"]


def test_a_library_that_does_not_load_is_left_out_with_a_warning() -> None:
    with Team(["fastbn", "no-such-library"], Settings(1, rounds=1, seconds=1e-4)) as made:
        assert [*made.libraries] == ["fastbn"]
        assert any("no-such-library" in warning for warning in made.warnings)


def test_a_case_that_fails_is_reported_and_the_next_one_measured(small_team: Team) -> None:
    bad = Product("NN", -1, 8, 8, "impossible")
    assert set(small_team.measure(bad).failed) == {"fastbn", "numpy"}
    assert len(small_team.measure(SMALL).seconds) == 2


def test_what_holds_a_library_back_is_taken_away_and_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in (*environment.HELD_BACK_BY, *environment.THREAD_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    freed = environment.freed(2)
    assert "OPENBLAS_CORETYPE" not in freed
    assert freed["OMP_NUM_THREADS"] == freed["FASTBN_NUM_THREADS"] == "2"
    assert environment.held_back(2, freed) == []
    assert environment.freed(2, numpy_idle=True) == freed | {"OPENBLAS_NUM_THREADS": "1"}
    (warning,) = team._warnings_of_environment(Settings(2))
    assert "OPENBLAS_CORETYPE=Haswell, OMP_NUM_THREADS=7" in warning
    knowingly = Settings(2, environ={"numpy": {"OPENBLAS_CORETYPE": "Haswell"}})
    assert any("numpy WAS HELD BACK" in w for w in team._warnings_of_environment(knowingly))


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system has no affinity")
def test_processes_are_bound_and_this_one_is_not() -> None:
    before = os.sched_getaffinity(0)
    with team._bound_to(1):
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before


def state(process: subprocess.Popen[str]) -> str:
    """Return the letter by which Linux calls the state of a process: T is stopped."""
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system has no /proc")
def test_only_whose_turn_it_is_runs(small_team: Team) -> None:
    small_team.measure(SMALL)
    processes = [worker._process for worker in small_team._workers.values()]
    deadline = time.monotonic() + 10
    while [state(p) for p in processes] != ["T", "T"]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's end")
def test_stopped_processes_end_with_their_parent() -> None:
    code = """
import os, signal
from fastbn.bench.team import Settings, Team
team = Team(["fastbn"], Settings(1))
print(team._workers["fastbn"]._process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    pid = int(done.stdout)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
