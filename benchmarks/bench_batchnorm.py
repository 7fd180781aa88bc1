"""Batch normalization, forward, backward and inference, by batch size."""

from collections.abc import Callable

import pytest
from replay import CLOCK

from fastbn.bench.shapes import Case

SUITE = "batchnorm"


@pytest.mark.benchmark(timer=CLOCK.time)
def test_batchnorm(case: Case, library: str, compare: Callable[[Case, str], None]) -> None:
    compare(case, library)
