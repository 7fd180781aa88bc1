"""From images to rows."""

from __future__ import annotations

import math

from fastbn.functional import Array
from fastbn.layers.base import Layer
from fastbn.layers.check import check_gradient, require_array

__all__ = ["Flatten"]


class Flatten(Layer):
    """(N, ...) to (N, product of the rest), a view of x where its strides allow it.

    Raises
    ------
    ValueError
        If x has no axis at all.
    """

    def forward(self, x: Array, *, training: bool = False) -> Array:
        """Join all axes but the first; see `Layer.forward`."""
        x = require_array(self, x)
        if x.ndim == 0:
            raise ValueError(f"Flatten takes x of at least 1 dimension, got shape {x.shape}")
        if training:
            self._saved = x.shape
        return x.reshape(len(x), math.prod(x.shape[1:]))

    def backward(self, dy: Array) -> Array:
        """``dy`` in the shape of x; see `Layer.backward`."""
        shape = self._recall()
        dy = check_gradient(self, dy, (shape[0], math.prod(shape[1:])))
        return dy.reshape(shape)

    def __repr__(self) -> str:
        return "Flatten()"
