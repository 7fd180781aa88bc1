"""The affine layer."""

from __future__ import annotations

import numpy as np

from fastbn.compat.arrays import common_dtype, flattened
from fastbn.compat.dlfs.layers.base import Layer
from fastbn.functional import Array, linear, linear_backward

__all__ = ["Affine"]


class Affine(Layer):
    """``x @ W + b``, each sample flattened.

    Parameters
    ----------
    W : ndarray, shape (D, M)
    b : ndarray, shape (M,)
        Both are kept by reference: whoever updates them in place trains the layer.

    Attributes
    ----------
    W, b : ndarray
    x : ndarray, shape (N, D)
        Of the last forward.
    original_x_shape : tuple of int
        Before flattening.
    dW, db : ndarray, shapes of W and b
        Of the last backward.

    Raises
    ------
    TypeError, ValueError
        From `forward` and `backward`, if dtypes or shapes do not fit.

    Notes
    -----
    The interface is that of ``common.layers`` in the book, with `params` and `grads` of its second
    volume.
    """

    parameter_names = ("W", "b")

    def __init__(self, W: Array, b: Array) -> None:
        self.W, self.b = W, b
        self.x: Array | None = None
        self.original_x_shape: tuple[int, ...] | None = None
        self.dW: Array | None = None
        self.db: Array | None = None

    def forward(self, x: Array) -> Array:
        """Apply the layer to x of shape (N, d1, ..., dk) with d1 * ... * dk = D."""
        x = np.asarray(x)
        rows = flattened("x", x)
        y = linear(*common_dtype(x=rows, W=self.W, b=self.b))
        self.original_x_shape, self.x = x.shape, rows
        return y

    def backward(self, dout: Array) -> Array:
        """Return dx, in the shape that x had, from dout of shape (N, M)."""
        dout, x, W = common_dtype(dout=dout, x=self._recall(self.x), W=self.W)
        dx, dW, db = linear_backward(dout, x, W)
        assert dx is not None  # as need_dx is True
        assert self.original_x_shape is not None
        self._write(dW, db)
        return dx.reshape(self.original_x_shape)
