"""Losses of classification, with their gradients: ``(loss, dx)``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbn.compat.arrays import float_array, require_ndim
from fastbn.functional import Array, cross_entropy, cross_entropy_backward

__all__ = ["softmax_loss", "svm_loss"]


def softmax_loss(x: Array, y: NDArray[np.integer[Any]]) -> tuple[float, Array]:
    """Softmax cross-entropy, the mean over the samples, and its gradient.

    Parameters
    ----------
    x : ndarray, shape (N, C)
        Scores.
    y : ndarray of integers, shape (N,)
        The right class of each sample, 0 <= y < C.

    Returns
    -------
    loss : float
    dx : ndarray, shape (N, C)

    Raises
    ------
    TypeError, ValueError
        If dtypes or shapes do not fit, or a label is out of range.

    Notes
    -----
    The interface is that of ``cs231n.layers``.
    """
    loss, cache = cross_entropy(float_array("x", x), y)
    return loss, cross_entropy_backward(cache)


def svm_loss(x: Array, y: NDArray[np.integer[Any]]) -> tuple[float, Array]:
    """Multiclass hinge loss with margin 1, the mean over the samples, and its gradient.

    Parameters
    ----------
    x : ndarray, shape (N, C)
        Scores.
    y : ndarray of integers, shape (N,)
        The right class of each sample, 0 <= y < C.

    Returns
    -------
    loss : float
        Mean of ``sum over j != y of max(0, x_j - x_y + 1)``.
    dx : ndarray, shape (N, C)

    Raises
    ------
    TypeError, ValueError
        If dtypes or shapes do not fit, or a label is out of range.

    Notes
    -----
    Weston and Watkins, ESANN 1999; the interface is that of ``cs231n.layers``.
    """
    x = float_array("x", x)
    _check_labels(x, y)
    right = np.arange(len(x)), y
    margins = np.maximum(x - x[right][:, np.newaxis] + 1, 0)
    margins[right] = 0
    dx = (margins > 0).astype(x.dtype)
    dx[right] = -dx.sum(axis=1)
    dx /= len(x)
    return float(margins.sum() / len(x)), dx


def _check_labels(x: Array, y: NDArray[np.integer[Any]]) -> None:
    require_ndim("x", x, 2)
    if np.asarray(y).dtype.kind not in "iu":
        raise TypeError(f"y must be of an integer dtype, got {np.asarray(y).dtype}")
    if np.shape(y) != x.shape[:1] or len(x) == 0:
        raise ValueError(f"y has shape {np.shape(y)}, but x has {x.shape}")
    if y.min() < 0 or y.max() >= x.shape[1]:
        raise ValueError(
            f"y has labels from {y.min()} to {y.max()}, but x of shape {x.shape} has classes "
            f"0 to {x.shape[1] - 1}"
        )
