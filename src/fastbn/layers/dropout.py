"""Random omission of units in training."""

from __future__ import annotations

import numpy as np

from fastbn import _core
from fastbn.functional import Array
from fastbn.layers.base import Layer
from fastbn.layers.check import check_gradient, require_array

__all__ = ["Dropout"]


class Dropout(Layer):
    """In training ``y = x * mask / (1 - p)``, mask being 0 with probability `p`; else ``y = x``.

    Parameters
    ----------
    p : float
        Probability of *dropping* a value, 0 to 1 (some courses give that of keeping it).
    rng : int, numpy.random.Generator or None
        Where the mask comes from; None draws a seed from the operating system.

    Raises
    ------
    ValueError
        If `p` is not a probability.

    Notes
    -----
    Srivastava et al., "Dropout", JMLR 2014, in the inverted form: the survivors are scaled in
    training, so that inference is the identity and returns x itself.
    """

    def __init__(self, p: float = 0.5, *, rng: int | np.random.Generator | None = None) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"p must lie between 0 and 1, got {p}")
        self.p = float(p)
        self.rng = np.random.default_rng(rng)
        self._mask, self._y, self._dx = _core.Workspace(), _core.Workspace(), _core.Workspace()

    def forward(self, x: Array, *, training: bool = False) -> Array:
        """Apply a new mask to x of any shape, in training; see `Layer.forward`."""
        x = require_array(self, x)
        if not training:
            return x
        self.forget()
        mask = self._mask.lend(x.shape, x.dtype)
        self.rng.random(dtype=x.dtype.type, out=mask)
        np.greater_equal(mask, self.p, out=mask)
        np.multiply(mask, self._scale(), out=mask)
        self._saved = mask
        return np.multiply(x, mask, out=self._y.lend(x.shape, x.dtype))

    def _scale(self) -> float:
        """Keep the expectation; with p = 1 nothing survives to be scaled."""
        return 1.0 / (1.0 - self.p) if self.p < 1 else 0.0

    def backward(self, dy: Array) -> Array:
        """``dy`` times the mask of the last training forward; see `Layer.backward`."""
        mask = self._recall()
        dy = check_gradient(self, dy, mask.shape)
        if dy.dtype != mask.dtype:
            raise TypeError(f"dy is {dy.dtype}, but x was {mask.dtype}")
        dx = self._dx.lend(mask.shape, mask.dtype)
        np.multiply(dy, mask, out=dx)
        return dx

    def __repr__(self) -> str:
        return f"Dropout({self.p})"
