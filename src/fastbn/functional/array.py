"""The type of all arrays here, and their view as matrices."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastbn import _core

__all__ = ["Array", "as_array", "as_rows"]

Array: TypeAlias = NDArray[Any]


def as_array(name: str, x: Any) -> Array:
    """`x`, or a view of what offers its memory by DLPack or the buffer protocol, a tensor say."""
    return x if isinstance(x, np.ndarray) else _core.as_array(x, name)


def as_rows(x: Array) -> Array:
    """`x` as a matrix of its last axis, a view where the strides allow it."""
    if x.ndim == 2:
        return x
    if x.ndim == 0:
        raise ValueError(f"needs at least 1 dimension, got shape {x.shape}")
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
