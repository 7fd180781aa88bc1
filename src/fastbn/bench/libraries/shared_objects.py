"""Libraries in C that wheels and systems bring: where they are, how they see a matrix."""

from __future__ import annotations

import ctypes
import ctypes.util
import sys
from pathlib import Path

from fastbn.bench.operands import Array


def find(name: str) -> str | None:
    """Return the file of lib<name>: of this environment first, else of the system."""
    for path in sorted((Path(sys.prefix) / "lib").glob(f"lib{name}.so*")):
        return str(path)
    return ctypes.util.find_library(name)


def load(name: str) -> ctypes.CDLL:
    """Load lib<name>.

    Raises
    ------
    OSError
        If it is not there, or does not load.
    """
    path = find(name)
    if path is None:
        raise OSError(f"there is no lib{name}")
    return ctypes.CDLL(path)


def stored(x: Array) -> tuple[bool, int]:
    """Whether a matrix lies transposed, and its leading dimension."""
    transposed = not x.flags.c_contiguous and x.flags.f_contiguous
    rows = x.T if transposed else x
    return transposed, rows.strides[0] // rows.itemsize
