"""The limits of this machine, measured: multiply-adds a second, bytes a second by level of cache.

A share of a limit says how far a kernel is from the machine, where a ratio only says how far from
another library.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import fastbn
from fastbn import _core

# Where the system does not tell its caches, only the memory is measured.
_MEMORY = "memory"
_LEAST_FOR_MEMORY = 128 << 20


@dataclass(frozen=True)
class Level:
    """A level of cache, of all threads together.

    Attributes
    ----------
    name : str
        "L1", "L2", "L3" or "memory".
    capacity : float
        Bytes; more than there can be for the memory.
    bandwidth : float
        Bytes a second, read and written, of copies within it.
    """

    name: str
    capacity: float
    bandwidth: float


@dataclass(frozen=True)
class Limits:
    """What was measured.

    Attributes
    ----------
    fma : dict of str to float
        FLOP a second of fused multiply-adds in registers, by dtype.
    levels : list of Level
        From the fastest, the memory last.
    """

    fma: dict[str, float]
    levels: list[Level]

    def level_of(self, size: int) -> Level:
        """Return the fastest level that holds so many bytes."""
        return next(level for level in self.levels if size <= level.capacity)


def measure(seconds: float = 0.05) -> Limits:
    """Measure for `seconds` each, with the threads and the instruction set in force.

    The caches of levels 1 and 2 belong to a core each, further ones to all: so many threads have so
    many of the former.  A level is measured with arrays that fill half of it, and no level above.
    """
    threads = fastbn.get_num_threads()
    fma = {dtype: _core.fma_peak(dtype, seconds) for dtype in ("float32", "float64")}
    levels = []
    last = 0
    for number, size in enumerate(fastbn.info()["cache_sizes"], 1):
        last = size * threads if number <= 2 else size
        rate = _core.copy_bandwidth(last // 2, seconds)
        levels.append(Level(f"L{number}", float(last), rate))
    rate = _core.copy_bandwidth(max(_LEAST_FOR_MEMORY, 4 * last), seconds)
    return Limits(fma, [*levels, Level(_MEMORY, float(sys.maxsize), rate)])


def best_of(one: Limits, other: Limits) -> Limits:
    """Return the higher of two measurements of each limit.

    What else runs on a machine only lowers what is measured, so the highest of many is the limit.

    Parameters
    ----------
    one, other : Limits
        Of one machine and as many threads.

    Returns
    -------
    Limits
    """
    fma = {dtype: max(peak, other.fma[dtype]) for dtype, peak in one.fma.items()}
    levels = [
        Level(a.name, a.capacity, max(a.bandwidth, b.bandwidth))
        for a, b in zip(one.levels, other.levels, strict=True)
    ]
    return Limits(fma, levels)


def from_dict(fields: dict[str, Any]) -> Limits:
    """Return the limits that were written as plain values."""
    return Limits(fields["fma"], [Level(**level) for level in fields["levels"]])
