"""One flat array for the parameters of a net, and one for their gradients.

    data:  | weight | weight | weight | . . . | bias | gamma | beta | bias | . . .
           '------- with decay ---------------'----- exempt from decay ----------'
    grad:  the same places

Each parameter starts at a multiple of 64 bytes, a cache line and the widest vector; the padding
between is zero in both arrays, and an update of zero by zero leaves it zero.  An optimizer
therefore updates a net by two kernel calls, one with and one without decay, whatever the number of
layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastbn.functional import Array
from fastbn.layers.parameter import Parameter, Place

__all__ = ["adjoin", "aligned_zeros", "gather"]

ALIGNMENT = 64  # bytes


def gather(parameters: Sequence[Parameter]) -> None:
    """Move `parameters`, all of one dtype, into one flat array each for data and gradients."""
    if not parameters:
        return
    dtype = parameters[0].data.dtype
    for parameter in parameters:
        if parameter.data.dtype != dtype:
            raise TypeError(f"a net has one dtype, got {dtype} and {parameter.data.dtype}")
    ordered = sorted(parameters, key=lambda parameter: not parameter.decay)
    size = sum(_padded(parameter.data.size, dtype) for parameter in ordered)
    data, grad = aligned_zeros(size, dtype), aligned_zeros(size, dtype)
    start = 0
    for parameter in ordered:
        parameter.move_to(data, grad, start)
        start += _padded(parameter.data.size, dtype)


def adjoin(before: Place, after: Place) -> bool:
    """Whether nothing but padding lies between two places."""
    return (
        before.data is after.data
        and before.grad is after.grad
        and after.start == _padded(before.stop, before.data.dtype)
    )


def aligned_zeros(size: int, dtype: np.dtype[Any]) -> Array:
    """`numpy.zeros` of `size` elements that starts at a multiple of `ALIGNMENT` bytes."""
    raw = np.zeros(size * dtype.itemsize + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size * dtype.itemsize].view(dtype)


def _padded(size: int, dtype: np.dtype[Any]) -> int:
    """`size` rounded up to whole blocks of `ALIGNMENT` bytes."""
    block = ALIGNMENT // dtype.itemsize
    return -(-size // block) * block
