"""The measurement of the machine's limits: that it measures, not how fast the machine is."""

from __future__ import annotations

import math

import pytest

from fastbn import _core


@pytest.mark.parametrize("name", ["float32", "float64"])
def test_the_peak_of_multiply_adds_is_a_rate(name: str, target: str) -> None:
    peak = _core.fma_peak(name, seconds=0.002)
    assert math.isfinite(peak)
    assert peak > 0


@pytest.mark.parametrize("size", [1, 4096, 1 << 20])
def test_the_bandwidth_of_copies_is_a_rate(size: int, target: str) -> None:
    rate = _core.copy_bandwidth(size, seconds=0.002)
    assert math.isfinite(rate)
    assert rate > 0


def test_no_compiler_leaves_the_measured_work_out(target: str) -> None:
    """1 PFLOP/s a thread is some thousand times what a core can do."""
    assert _core.fma_peak("float32", seconds=0.002) < 1e15 * _core.get_num_threads()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: _core.fma_peak("int8"), "'float32', 'float64', got 'int8'"),
        (lambda: _core.fma_peak("float32", seconds=-1.0), "seconds .* got -1.0"),
        (lambda: _core.fma_peak("float32", seconds=math.nan), "seconds .* got nan"),
        (lambda: _core.copy_bandwidth(0), "bytes .* got 0.0"),
        (lambda: _core.copy_bandwidth(1 << 62), "bytes must be from 1.0 to"),
    ],
)
def test_nonsense_is_refused(call: object, message: str) -> None:
    assert callable(call)
    with pytest.raises(ValueError, match=message):
        call()
