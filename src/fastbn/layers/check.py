"""Checks of the layers' arguments; those of arrays in general are the compiled module's.

What takes an array, as nearly every call does, is one function deep: a call in Python takes 0.05
us, but some 1 us where a batch has displaced the interpreter's code and objects from the cache.
"""

from __future__ import annotations

import operator
from typing import Any, Protocol, SupportsIndex

import numpy as np
from numpy.typing import DTypeLike

from fastbn.functional import Array, as_array

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


def require_array(layer: object, x: Any) -> Array:
    """`x` as an array: what NumPy sees without a copy, but no lists and scalars."""
    if isinstance(x, np.ndarray):
        return x
    if not (hasattr(x, "__dlpack__") or hasattr(x, "__array__") or _has_buffer(x)):
        raise TypeError(f"{type(layer).__name__} takes a NumPy array, got {type(x).__name__}")
    return as_array("x", x)


def _has_buffer(x: object) -> bool:
    try:
        memoryview(x)  # type: ignore[arg-type]
    except TypeError:
        return False
    return True


def check_input(layer: _Typed, x: Any, size: int, *, axis: int) -> Array:
    """`x` as an array of the layer's dtype and `size` elements along `axis`."""
    array = x if type(x) is np.ndarray else require_array(layer, x)
    if array.dtype != layer.dtype:
        raise TypeError(f"{type(layer).__name__} is {layer.dtype}, got x of {array.dtype}")
    if array.shape[axis : axis + 1 or None] != (size,):  # of no elements where there is no axis
        raise ValueError(
            f"{type(layer).__name__} takes {size} features along axis {axis}, "
            f"got x of shape {array.shape}"
        )
    return array


def check_gradient(layer: object, dy: Any, shape: tuple[int, ...]) -> Array:
    """`dy` as an array of the shape of the result whose gradient it is."""
    array = dy if type(dy) is np.ndarray else require_array(layer, dy)
    if array.shape != shape:
        raise ValueError(
            f"{type(layer).__name__} had a result of shape {shape}, got dy of shape {array.shape}"
        )
    return array
