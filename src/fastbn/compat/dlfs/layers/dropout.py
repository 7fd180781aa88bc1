"""Dropout that scales at test time."""

from __future__ import annotations

import numpy as np

from fastbn.compat.arrays import float_array
from fastbn.compat.dlfs.layers.base import Layer
from fastbn.functional import Array

__all__ = ["Dropout"]


class Dropout(Layer):
    """In training each value is dropped with probability `dropout_ratio`; else x is scaled.

    Parameters
    ----------
    dropout_ratio : float
        Probability of dropping a value.

    Attributes
    ----------
    dropout_ratio : float
    mask : ndarray of bool, shape of x
        What the last forward in training kept.

    Raises
    ------
    ValueError
        If `dropout_ratio` is no probability; from `backward`, if dout has another shape than x.
    TypeError
        From `forward`, if x is not of numbers.

    Notes
    -----
    Srivastava et al., JMLR 2014, not inverted: survivors are as they were, and inference multiplies
    by ``1 - dropout_ratio``.  The interface is that of ``common.layers`` in the book, and so are
    the random numbers: they come from NumPy's global generator.
    """

    def __init__(self, dropout_ratio: float = 0.5) -> None:
        if not 0 <= dropout_ratio <= 1:
            raise ValueError(f"dropout_ratio must lie between 0 and 1, got {dropout_ratio}")
        self.dropout_ratio = dropout_ratio
        self.mask: Array | None = None

    def forward(self, x: Array, train_flg: bool = True) -> Array:
        """Drop values of x, of any shape, in training; scale it else."""
        x = float_array("x", x)
        if not train_flg:
            return x * (1 - float(self.dropout_ratio))
        self.mask = np.random.rand(*x.shape) > self.dropout_ratio  # noqa: NPY002 (see Notes)
        return x * self.mask

    def backward(self, dout: Array) -> Array:
        """Return dx from dout, of the shape of x."""
        mask = self._recall(self.mask)
        if np.shape(dout) != mask.shape:
            raise ValueError(f"dout has shape {np.shape(dout)}, but x had {mask.shape}")
        dx: Array = np.multiply(dout, mask)
        return dx
