"""Softmax with cross-entropy."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbn.compat.arrays import float_array, require_ndim
from fastbn.compat.dlfs.layers.base import Layer
from fastbn.functional import Array, softmax

__all__ = ["SoftmaxWithLoss"]

TINY = 1e-7  # keeps the book's logarithm off 0; part of every loss, so that it must be here too


class SoftmaxWithLoss(Layer):
    """Mean over the samples of ``-log(softmax(x)[t] + 1e-7)``.

    Attributes
    ----------
    loss : float
    y : ndarray, shape (N, classes)
        ``softmax(x)`` of the last forward.
    t : ndarray
        Its targets, as they were given.

    Raises
    ------
    TypeError, ValueError
        From `forward`, if dtypes or shapes do not fit, or a label is out of range.

    Notes
    -----
    The interface is that of ``common.layers`` in the book.
    """

    def __init__(self) -> None:
        self.loss: float | None = None
        self.y: Array | None = None
        self.t: Array | None = None

    def forward(self, x: Array, t: Array) -> float:
        """Return the loss of scores x, shape (N, classes), and targets t.

        Targets are labels, shape (N,), or of the shape of x, of which the highest of each row
        tells the class.
        """
        x, t = float_array("x", x), np.asarray(t)
        require_ndim("x", x, 2)
        labels = _labels(x, t)
        self.t, self.y = t, softmax(x)
        right = self.y[np.arange(len(x)), labels]
        self.loss = float(-np.sum(np.log(right + TINY)) / len(x))
        return self.loss

    def backward(self, dout: float = 1) -> Array:
        """Return dx; `dout` is there for the interface, and 1."""
        y, t = self._recall(self.y), self._recall(self.t)
        if t.shape == y.shape:
            dx: Array = (y - t) / len(y)
            return dx.astype(y.dtype, copy=False)
        dx = y.copy()
        dx[np.arange(len(y)), t.reshape(-1)] -= 1
        dx /= len(y)
        return dx


def _labels(x: Array, t: Array) -> Array:
    """Return the class of each sample."""
    if len(x) == 0:
        raise ValueError(f"the mean of no samples is not defined, got x of shape {x.shape}")
    if t.shape == x.shape:
        labels: np.ndarray[Any, Any] = t.argmax(axis=1)
        return labels
    if t.dtype.kind not in "iu":
        raise TypeError(f"t must be of an integer dtype, got {t.dtype}")
    if t.size != len(x):
        raise ValueError(f"t has shape {t.shape}, but x has {x.shape}")
    if t.min() < 0 or t.max() >= x.shape[1]:
        raise ValueError(
            f"t has labels from {t.min()} to {t.max()}, but x of shape {x.shape} has classes "
            f"0 to {x.shape[1] - 1}"
        )
    return t.reshape(-1)
