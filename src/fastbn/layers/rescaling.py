"""Samples as they are stored, to numbers that a net learns from."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from fastbn import _core
from fastbn.functional import Array
from fastbn.layers.base import Layer
from fastbn.layers.check import check_gradient, float_dtype, require_array

__all__ = ["Rescaling"]

_BYTES = np.dtype(np.uint8)


class Rescaling(Layer):
    """``y = x * scale + offset``, of bytes or of floats: the first layer of a net of images.

    Images stay uint8, a fourth of the memory and of what a shuffled batch has to gather;
    `Trainer.fit`, `step`, `evaluate` and `predict` take them as they are if this layer is the first
    of a `Sequential`.  The bits are those of ``x.astype(dtype) * dtype(scale) + dtype(offset)``,
    computed beforehand in NumPy.

    Parameters
    ----------
    scale : float
        1 / 255 for pixels from 0 to 1.  ``x / 255`` differs from it in the last bit here and there.
    offset : float
        Such as -mean / std with a scale of 1 / (255 * std).
    dtype : {numpy.float32, numpy.float64}
        Of y.

    Raises
    ------
    TypeError
        From `forward`, if x is neither uint8 nor of `dtype`.

    Notes
    -----
    ``keras.layers.Rescaling``.

    Examples
    --------
    >>> net = Sequential(Rescaling(1 / 255), Flatten(), Linear(784, 10))
    """

    def __init__(self, scale: float, offset: float = 0.0, *, dtype: DTypeLike = np.float32) -> None:
        self.scale, self.offset = float(scale), float(offset)
        self.dtype = float_dtype(dtype)
        self._y, self._dx = _core.Workspace(), _core.Workspace()

    def takes(self, dtype: np.dtype[Any]) -> bool:
        """Whether x may have this dtype."""
        return dtype == _BYTES or dtype == self.dtype

    def forward(self, x: Array, *, training: bool = False) -> Array:
        """Rescale x of any shape; see `Layer.forward`."""
        x = require_array(self, x)
        if not self.takes(x.dtype):
            raise TypeError(f"Rescaling takes uint8 or {self.dtype}, got x of {x.dtype}")
        if training:
            self.forget()
            y = self._y.lend(x.shape, self.dtype)
            self._saved = x.shape
        else:
            y = np.empty(x.shape, self.dtype)
        if x.dtype == _BYTES:
            return _core.rescale(x, y, self.scale, self.offset)
        np.multiply(x, self.scale, out=y)
        y += self.offset
        return y

    def backward(self, dy: Array) -> Array:
        """``dy * scale``; see `Layer.backward`."""
        shape = self._recall()
        dy = check_gradient(self, dy, shape)
        return np.multiply(dy, self.scale, out=self._dx.lend(shape, self.dtype))

    def __repr__(self) -> str:
        return f"Rescaling({self.scale}, {self.offset}, dtype={self.dtype})"
