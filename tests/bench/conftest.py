"""Teams whose machine's limits are known beforehand, as measuring them takes seconds."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

from fastbn.bench.limits import Level, Limits
from fastbn.bench.team import Settings, Team

KNOWN = Limits(
    {"float32": 2e11, "float64": 1e11},
    [Level("L1", 48 << 10, 2e11), Level("memory", math.inf, 1e10)],
)


@pytest.fixture
def known_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Team, "_measure_limits", lambda _: KNOWN)


@pytest.fixture
def small_team(known_limits: None) -> Iterator[Team]:
    with Team(["fastbn", "numpy"], Settings(1, rounds=3, seconds=1e-4)) as made:
        yield made
