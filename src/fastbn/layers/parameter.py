"""A trainable array and its gradient."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastbn.functional import Array

__all__ = ["Parameter", "Place"]


class Place(NamedTuple):
    """Where a parameter lies: elements ``start:stop`` of two flat arrays."""

    data: Array
    grad: Array
    start: int
    stop: int


class Parameter:
    """An array to be trained and its gradient, both live and both of one shape and dtype.

    `data` and `grad` are the very arrays that the kernels read and write, so that
    ``p.data -= lr * p.grad`` trains the net.  Assigning to either writes the values into the live
    array and never replaces it.

    Parameters
    ----------
    data : ndarray of float32 or float64, C-contiguous
        Kept by reference.
    decay : bool
        Whether weight decay applies by default.  Weights take it; biases, gamma and beta do not:
        they set levels, not the size of the function.

    Raises
    ------
    TypeError
        If `data` is not an array of float32 or float64.
    ValueError
        If `data` is not C-contiguous: the flat arrays that optimizers work on need it.

    Notes
    -----
    A `Sequential` moves the parameters of its layers into one flat array (see `flat`).  The array
    that `data` was before is then made read-only: writing to it would train nothing, and now says
    so.
    """

    __slots__ = ("_data", "_grad", "decay", "place")

    def __init__(self, data: Array, *, decay: bool = True) -> None:
        if not isinstance(data, np.ndarray) or data.dtype not in (np.float32, np.float64):
            kind = getattr(data, "dtype", type(data).__name__)
            raise TypeError(f"a parameter must be an array of float32 or float64, got {kind}")
        if not data.flags.c_contiguous:
            raise ValueError(
                f"a parameter must be C-contiguous, got shape {data.shape} "
                f"with strides {data.strides}"
            )
        self._data = data
        self._grad = np.zeros_like(data, order="C")
        self.decay = decay
        self.place = Place(data.reshape(-1), self._grad.reshape(-1), 0, data.size)

    @property
    def data(self) -> Array:
        """The values, live."""
        return self._data

    @data.setter
    def data(self, value: Array) -> None:
        _write("data", self._data, value)

    @property
    def grad(self) -> Array:
        """The gradient of the last backward, live; overwritten by the next."""
        return self._grad

    @grad.setter
    def grad(self, value: Array) -> None:
        _write("grad", self._grad, value)

    def move_to(self, data: Array, grad: Array, start: int) -> None:
        """Move into the flat arrays `data` and `grad` at element `start` (see `flat`)."""
        place = Place(data, grad, start, start + self._data.size)
        shape = self._data.shape
        new_data = data[place.start : place.stop].reshape(shape)
        new_grad = grad[place.start : place.stop].reshape(shape)
        new_data[...] = self._data
        new_grad[...] = self._grad
        self._data.flags.writeable = self._grad.flags.writeable = False
        self._data, self._grad, self.place = new_data, new_grad, place

    def __reduce__(self) -> tuple[object, ...]:
        # A copy stands alone: the flat arrays are a matter of the net that it was copied from.
        return _restore, (self._data, self._grad, self.decay)

    def __repr__(self) -> str:
        return f"Parameter(shape={self._data.shape}, dtype={self._data.dtype}, decay={self.decay})"


def _write(name: str, array: Array, value: Array) -> None:
    if value is array:  # the second half of `p.data -= ...`: already done in place
        return
    if np.shape(value) != array.shape:
        raise ValueError(f"{name} has shape {array.shape}, got {np.shape(value)}")
    dtype = getattr(value, "dtype", None)
    if dtype != array.dtype:
        raise TypeError(f"{name} is {array.dtype}, got {dtype or type(value).__name__}")
    array[...] = value


def _restore(data: Array, grad: Array, decay: bool) -> Parameter:
    parameter = Parameter(data, decay=decay)
    parameter.grad = grad
    return parameter
