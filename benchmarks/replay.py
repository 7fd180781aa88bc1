"""pytest-benchmark, given times that were taken before.

Left to itself pytest-benchmark runs one implementation to the end and then the next, minutes later
and on a machine that has changed.  Here the first test of a case has all libraries measured in
turns, each in its process, and every test hands its library's rounds to pytest-benchmark through
this clock.
"""

from collections.abc import Sequence

from pytest_benchmark.fixture import BenchmarkFixture


class Replay:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self._now = 0.0

    def time(self) -> float:
        """Return the time, as `time.perf_counter` would."""
        return self._now

    def hand_over(self, benchmark: BenchmarkFixture, seconds: Sequence[float]) -> None:
        """Let a benchmark record rounds of so many seconds."""
        rounds = iter(seconds)
        self._now = 0.0  # small, so that sums of short times stay exact

        def round_() -> None:
            self._now += next(rounds)

        benchmark.pedantic(round_, rounds=len(seconds), iterations=1)


CLOCK = Replay()
