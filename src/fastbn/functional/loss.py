"""The loss of classification."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbn import _core
from fastbn.functional.array import Array

__all__ = ["cross_entropy", "cross_entropy_backward"]


def cross_entropy(
    logits: Array, labels: NDArray[np.integer[Any]], *, label_smoothing: float = 0.0
) -> tuple[float, _core.CrossEntropyCache]:
    """Softmax cross-entropy, the mean over the rows.

    Parameters
    ----------
    logits : ndarray, shape (N, classes)
        Scores before softmax.
    labels : ndarray of any integer dtype, shape (N,)
        The right class of each row, 0 <= label < classes.
    label_smoothing : float
        This part of the target is spread evenly over all classes (Szegedy et al., 2016,
        arXiv:1512.00567, section 7), as in ``torch.nn.functional.cross_entropy``.

    Returns
    -------
    loss : float
        In nats.
    cache : CrossEntropyCache
        For `cross_entropy_backward`.

    Raises
    ------
    TypeError
        If `logits` are not floats or `labels` not integers.
    ValueError
        If the shapes do not fit or a label is out of range.
    """
    return _core.cross_entropy(logits, labels, label_smoothing=label_smoothing)


def cross_entropy_backward(cache: _core.CrossEntropyCache, *, out: Array | None = None) -> Array:
    """Gradient of `cross_entropy` by the logits: ``(softmax - target) / N``.

    Parameters
    ----------
    cache : CrossEntropyCache
    out : ndarray, shape (N, classes), optional

    Returns
    -------
    ndarray, shape (N, classes)

    Raises
    ------
    TypeError, ValueError
        If `out` does not fit; nothing is written then.
    """
    return _core.cross_entropy_backward(cache, out)
