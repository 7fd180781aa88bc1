"""What the arrays of NumPy nets need before a kernel takes them: one dtype, and rows."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from fastbn.functional import Array

__all__ = ["common_dtype", "flattened", "float_array", "require_ndim"]


def common_dtype(**arrays: ArrayLike) -> list[Array]:
    """Return the arrays in the one dtype that NumPy's arithmetic on all of them gives.

    NumPy nets mix dtypes without a word: float32 images times float64 weights.  Arrays that have
    the common dtype already are returned as they are; integers count as float64.

    Raises
    ------
    TypeError
        If that dtype is neither float32 nor float64; the message names all of them.
    """
    given = {name: np.asarray(array) for name, array in arrays.items()}
    dtype = np.result_type(*given.values())
    if dtype.kind in "biu":
        dtype = np.dtype(np.float64)
    if dtype not in (np.float32, np.float64):
        dtypes = ", ".join(f"{name} is {array.dtype}" for name, array in given.items())
        raise TypeError(f"fastbn computes in float32 and float64, but {dtypes}")
    return [array.astype(dtype, copy=False) for array in given.values()]


def float_array(name: str, array: ArrayLike) -> Array:
    """`common_dtype` of one array."""
    return common_dtype(**{name: array})[0]


def require_ndim(name: str, array: Array, ndim: int) -> None:
    """Raise ValueError unless the array has `ndim` dimensions."""
    if array.ndim != ndim:
        raise ValueError(f"{name} must have {ndim} dimensions, got shape {array.shape}")


def flattened(name: str, x: Array) -> Array:
    """`x` of shape (N, d1, ..., dk) as a matrix of N rows."""
    if x.ndim == 0:
        raise ValueError(f"{name} must have at least 1 dimension, got shape {x.shape}")
    return x.reshape(len(x), math.prod(x.shape[1:]))
