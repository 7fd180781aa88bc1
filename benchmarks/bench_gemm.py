"""Matrix products of layers, forward and backward, by batch size."""

from collections.abc import Callable

import pytest
from replay import CLOCK

from fastbn.bench.shapes import Case

SUITE = "gemm"


@pytest.mark.benchmark(timer=CLOCK.time)
def test_gemm(case: Case, library: str, compare: Callable[[Case, str], None]) -> None:
    compare(case, library)
