"""Options of `pytest benchmarks/`, the libraries side by side, and what is said of the machine."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from replay import CLOCK

from fastbn.bench import record
from fastbn.bench.command import QUICK_ROUNDS, ROUNDS
from fastbn.bench.environment import cpus_at_hand, held_back
from fastbn.bench.libraries import of_suite
from fastbn.bench.ratios import loud, summary
from fastbn.bench.shapes import SUITES, Case, cases
from fastbn.bench.team import Measurement, Settings, Team


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("fastbn")
    group.addoption("--quick", action="store_true", help="a selection: less than two minutes")
    group.addoption("--threads", type=int, help="threads of every library (default: all CPUs)")
    group.addoption("--dtype", choices=("float32", "float64"), default="float32")
    group.addoption("--rounds", type=int, help="turns of each library")


class Comparison:
    """The team of this run, and what it has measured."""

    def __init__(self, config: pytest.Config) -> None:
        self.quick = config.getoption("--quick")
        self.dtype = config.getoption("--dtype")
        self.threads = config.getoption("--threads") or len(cpus_at_hand())
        rounds = config.getoption("--rounds") or (QUICK_ROUNDS if self.quick else ROUNDS)
        self.settings = Settings(self.threads, rounds)
        self.command = _command(config)
        self.measurements: dict[Case, Measurement] = {}
        self._team: Team | None = None

    @property
    def team(self) -> Team:
        """The libraries of all suites, started when the first case is measured."""
        if self._team is None:
            names = (n for suite in SUITES for n in of_suite(suite, quick=self.quick))
            self._team = Team([*dict.fromkeys(names)], self.settings)
        return self._team

    def measure(self, case: Case) -> Measurement:
        """Measure a case, once for all tests of it."""
        if case not in self.measurements:
            libraries = of_suite(case.suite, quick=self.quick)
            self.measurements[case] = self.team.measure(case, libraries)
        return self.measurements[case]

    def report(self) -> list[str]:
        """Summarize what was measured."""
        return [] if self._team is None else summary([*self.measurements.values()], self._team)

    def machine(self) -> dict[str, Any] | None:
        """Return what is known of the machine, if anything was measured."""
        return None if self._team is None else record.machine(self._team, self.command)

    def warnings(self) -> list[str]:
        """Return what must not be missed."""
        if self._team is not None:
            return self._team.warnings
        found = held_back(self.threads)
        return [f"{', '.join(found)} would hold a library back: measured without"] if found else []

    def close(self) -> None:
        """End the processes."""
        if self._team is not None:
            self._team.close()


def _command(config: pytest.Config) -> str:
    """Return the command but for what says where files are, on this machine alone."""
    words = map(str, config.invocation_params.args)
    kept = [w for w in words if not (w.startswith("--benchmark") or Path(w).is_absolute())]
    return " ".join(["pytest", *kept])


COMPARISON = pytest.StashKey[Comparison]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[COMPARISON] = Comparison(config)


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[COMPARISON].close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each case and library, where a test asks for both."""
    if "case" not in metafunc.fixturenames:
        return
    suite = metafunc.module.SUITE
    comparison = metafunc.config.stash[COMPARISON]
    pairs = [
        pytest.param(case, library, id=f"{case.name}-{library}")
        for case in cases(suite, quick=comparison.quick, dtype=comparison.dtype)
        for library in of_suite(suite, quick=comparison.quick)
    ]
    metafunc.parametrize(("case", "library"), pairs)


@pytest.fixture
def compare(
    request: pytest.FixtureRequest, benchmark: BenchmarkFixture
) -> Callable[[Case, str], None]:
    """Hand the rounds of a library in a case to pytest-benchmark; its answer was checked."""
    comparison = request.config.stash[COMPARISON]

    def run(case: Case, library: str) -> None:
        measurement = comparison.measure(case)
        if library in measurement.failed:
            pytest.fail(measurement.failed[library])
        if library not in measurement.seconds:
            pytest.skip(f"{library} does not compute this")
        benchmark.group = case.name
        benchmark.extra_info |= record.extra_info(measurement, library, comparison.team)
        CLOCK.hand_over(benchmark, measurement.seconds[library])

    return run


# -- what is said ----------------------------------------------------------------------------------


def pytest_report_header(config: pytest.Config) -> list[str]:
    return loud(config.stash[COMPARISON].warnings())


def pytest_benchmark_update_machine_info(
    config: pytest.Config, machine_info: dict[str, Any]
) -> None:
    """Asked for before anything has been measured: what is known by then."""
    machine_info.pop("node", None)  # the name of the computer is nobody's business
    machine_info["fastbn_warnings"] = config.stash[COMPARISON].warnings()


def pytest_benchmark_update_json(
    config: pytest.Config, benchmarks: list[Any], output_json: dict[str, Any]
) -> None:
    """Record the machine, the libraries and the limits with the results."""
    machine = config.stash[COMPARISON].machine()
    if machine is not None:
        output_json["machine_info"]["fastbn"] = machine


@pytest.hookimpl(trylast=True)  # below the tables: what comes last is read
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    comparison = config.stash[COMPARISON]
    for line in comparison.report():
        terminalreporter.write_line(line)
    for line in loud(comparison.warnings()):
        terminalreporter.write_line(line, red=True, bold=True)
