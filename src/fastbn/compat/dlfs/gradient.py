"""Gradients by differences, to check others by."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fastbn.functional import Array

__all__ = ["numerical_gradient"]

STEP = 1e-4


def numerical_gradient(f: Callable[[Array], float], x: Array) -> Array:
    """Gradient of f at x by central differences, two calls of f for each element.

    Parameters
    ----------
    f : callable
        Called with x itself, whose elements are changed one by one and restored.
    x : ndarray, any shape

    Returns
    -------
    ndarray, shape of x

    Raises
    ------
    TypeError
        If x is not an array of floats: a step would be rounded away.

    Notes
    -----
    The interface is that of ``common.gradient`` in the book.
    """
    if not isinstance(x, np.ndarray) or x.dtype.kind != "f":
        raise TypeError(
            f"x must be an array of floats, got {getattr(x, 'dtype', type(x).__name__)}"
        )
    gradient = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        value = x[i]
        x[i] = value + STEP
        above = f(x)
        x[i] = value - STEP
        below = f(x)
        x[i] = value
        gradient[i] = (above - below) / (2 * STEP)
    return gradient
