"""Checks of the layers' arguments; those of arrays in general are the compiled module's."""

from __future__ import annotations

import operator
from typing import Any, Protocol, SupportsIndex

import numpy as np
from numpy.typing import DTypeLike

from fastbn.functional import Array

__all__ = ["check_gradient", "check_input", "float_dtype", "positive", "require_array"]


class _Typed(Protocol):
    dtype: np.dtype[Any]


def positive(name: str, value: SupportsIndex) -> int:
    """`value` as an int, which must be positive."""
    number = operator.index(value)
    if number <= 0:
        raise ValueError(f"{name} must be positive, got {number}")
    return number


def float_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """`dtype` as a numpy.dtype, which must be float32 or float64."""
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise TypeError(f"dtype must be float32 or float64, got {dtype}")
    return dtype


def require_array(layer: object, x: object) -> None:
    """Refuse lists and scalars by name, before an attribute of an array is missing."""
    if not isinstance(x, np.ndarray):
        raise TypeError(f"{type(layer).__name__} takes a NumPy array, got {type(x).__name__}")


def check_input(layer: _Typed, x: Array, size: int, *, axis: int) -> None:
    """Check that `x` has the layer's dtype and `size` elements along `axis`."""
    require_array(layer, x)
    if x.dtype != layer.dtype:
        raise TypeError(f"{type(layer).__name__} is {layer.dtype}, got x of {x.dtype}")
    if x.shape[axis : axis + 1 or None] != (size,):  # of no elements where there is no such axis
        raise ValueError(
            f"{type(layer).__name__} takes {size} features along axis {axis}, "
            f"got x of shape {x.shape}"
        )


def check_gradient(layer: object, dy: Array, shape: tuple[int, ...]) -> None:
    """Check that `dy` has the shape of the result whose gradient it is."""
    require_array(layer, dy)
    if dy.shape != shape:
        raise ValueError(
            f"{type(layer).__name__} had a result of shape {shape}, got dy of shape {dy.shape}"
        )
