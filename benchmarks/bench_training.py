"""Training steps of a small net, by batch size."""

from collections.abc import Callable

import pytest
from replay import CLOCK

from fastbn.bench.shapes import Case

SUITE = "training"


@pytest.mark.benchmark(timer=CLOCK.time)
def test_training(case: Case, library: str, compare: Callable[[Case, str], None]) -> None:
    compare(case, library)
