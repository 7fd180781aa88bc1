"""The type of all arrays here, and their view as matrices."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

from numpy.typing import NDArray

__all__ = ["Array", "as_rows"]

Array: TypeAlias = NDArray[Any]


def as_rows(x: Array) -> Array:
    """`x` as a matrix of its last axis, a view where the strides allow it."""
    if x.ndim == 2:
        return x
    if x.ndim == 0:
        raise ValueError(f"needs at least 1 dimension, got shape {x.shape}")
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
