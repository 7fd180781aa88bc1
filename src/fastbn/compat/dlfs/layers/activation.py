"""The rectifier and the logistic function."""

from __future__ import annotations

import numpy as np

from fastbn.compat.arrays import common_dtype, float_array
from fastbn.compat.dlfs.layers.base import Layer
from fastbn.functional import Array, relu, relu_backward, sigmoid, sigmoid_backward

__all__ = ["Relu", "Sigmoid"]


class Relu(Layer):
    """``max(x, 0)``.

    Attributes
    ----------
    mask : ndarray of bool, shape of x
        Where the last x was not positive.

    Raises
    ------
    TypeError, ValueError
        From `forward` and `backward`, if dtypes or shapes do not fit.

    Notes
    -----
    The interface is that of ``common.layers`` in the book: `backward` overwrites `dout` and
    returns it.
    """

    def __init__(self) -> None:
        self._x: Array | None = None

    @property
    def mask(self) -> Array | None:
        """Where the last x was not positive; None before the first forward."""
        return None if self._x is None else self._x <= 0

    def forward(self, x: Array) -> Array:
        """Apply the function to x of any shape."""
        self._x = float_array("x", x)
        return relu(self._x)

    def backward(self, dout: Array) -> Array:
        """Return `dout`, set to 0 in place where x was not positive."""
        given, saved = common_dtype(dout=dout, x=self._recall(self._x))
        in_place = given is dout and given.flags.writeable
        return relu_backward(given, saved, out=given if in_place else None)


class Sigmoid(Layer):
    """``1 / (1 + exp(-x))``.

    Attributes
    ----------
    out : ndarray, shape of x
        The last result.

    Raises
    ------
    TypeError, ValueError
        From `forward` and `backward`, if dtypes or shapes do not fit.

    Notes
    -----
    The interface is that of ``common.layers`` in the book.
    """

    def __init__(self) -> None:
        self.out: Array | None = None

    def forward(self, x: Array) -> Array:
        """Apply the function to x of any shape."""
        self.out = sigmoid(float_array("x", x))
        return self.out

    def backward(self, dout: Array) -> Array:
        """Return dx from dout, of the shape of x."""
        dout, out = common_dtype(dout=np.asarray(dout), out=self._recall(self.out))
        return sigmoid_backward(dout, out)
