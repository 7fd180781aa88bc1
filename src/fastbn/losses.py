"""Losses: a number from predictions and targets, and its gradient by the predictions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from fastbn import _core
from fastbn.functional import Array

__all__ = ["BCEWithLogitsLoss", "CrossEntropyLoss", "Loss", "MSELoss"]


class Loss(ABC):
    """``loss.forward(predictions, targets)`` is a float, ``loss.backward()`` its gradient."""

    _saved: Any = None  # what `backward` needs of the last forward

    def __init__(self) -> None:
        self._dx = _core.Workspace()

    @abstractmethod
    def forward(self, predictions: Array, targets: Array) -> float:
        """Return the loss of a batch, a mean, and keep what `backward` needs."""

    @abstractmethod
    def backward(self) -> Array:
        """Gradient of the last forward by its predictions, in their shape and dtype.

        Raises
        ------
        RuntimeError
            Without a forward before.
        """

    def __call__(self, predictions: Array, targets: Array) -> float:
        """Call `forward`."""
        return self.forward(predictions, targets)

    def forget(self) -> None:
        """Drop what the last forward kept for `backward`: a training step ends so."""
        self._saved = None

    def _recall(self) -> Any:
        if self._saved is None:
            raise RuntimeError(f"{type(self).__name__}.backward needs a forward before it")
        return self._saved

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_saved": None}

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class CrossEntropyLoss(Loss):
    """Softmax cross-entropy of scores, the mean over the rows, in nats.

    Predictions are the (N, classes) scores before softmax, targets the (N,) labels of any integer
    dtype.

    Parameters
    ----------
    label_smoothing : float
        Part of the target, 0 to 1, that is spread evenly over all classes (arXiv:1512.00567).

    Raises
    ------
    ValueError
        If `label_smoothing` is out of range; from `forward`, if shapes do not fit or a label is
        out of range.
    TypeError
        From `forward`, if predictions are not floats or labels not integers.

    Notes
    -----
    The same as ``torch.nn.CrossEntropyLoss`` of class indices.
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f"label_smoothing must lie between 0 and 1, got {label_smoothing}")
        self.label_smoothing = float(label_smoothing)

    def forward(self, predictions: Array, targets: Array) -> float:
        """Average ``log(sum(exp(scores))) - target @ scores`` over the rows; see `Loss.forward`."""
        self._saved = None
        loss, self._saved = _core.cross_entropy(
            predictions, targets, label_smoothing=self.label_smoothing
        )
        return loss

    def backward(self) -> Array:
        """``(softmax(scores) - target) / N``; see `Loss.backward`."""
        cache: _core.CrossEntropyCache = self._recall()
        return _core.cross_entropy_backward(cache, self._dx)

    def __repr__(self) -> str:
        return f"CrossEntropyLoss(label_smoothing={self.label_smoothing})"


class MSELoss(Loss):
    """Mean of the squared differences over *all* elements, as ``torch.nn.MSELoss``.

    Predictions and targets have one shape and one dtype, float32 or float64.  Shapes are not
    broadcast: (N, 1) against (N,) would silently be N * N differences.

    Raises
    ------
    ValueError
        From `forward`, if the shapes differ or are empty.
    TypeError
        From `forward`, if the dtypes differ or are not floats.
    """

    def __init__(self) -> None:
        super().__init__()
        self._difference = _core.Workspace()

    def forward(self, predictions: Array, targets: Array) -> float:
        """``mean((predictions - targets)**2)``; see `Loss.forward`."""
        _check_pair(predictions, targets)
        self._saved = None
        loss, self._saved = _core.squared_error(predictions, targets, self._difference)
        return loss

    def backward(self) -> Array:
        """``2 * (predictions - targets) / size``; see `Loss.backward`."""
        difference: Array = self._recall()
        return _core.scale(difference, 2.0 / difference.size, self._dx)


class BCEWithLogitsLoss(Loss):
    """Binary cross-entropy of scores, the mean over *all* elements, in nats.

    Predictions are scores z before the sigmoid; targets t, 0 to 1, have their shape and dtype.

    Raises
    ------
    ValueError
        From `forward`, if the shapes differ or are empty.
    TypeError
        From `forward`, if the dtypes differ or are not floats.

    Notes
    -----
    ``-t * log(s) - (1 - t) * log(1 - s)`` with ``s = sigmoid(z)`` is ``log(1 + exp(z)) - t * z``,
    which overflows nowhere.  The same as ``torch.nn.BCEWithLogitsLoss``.
    """

    def __init__(self) -> None:
        super().__init__()
        self._terms, self._product = _core.Workspace(), _core.Workspace()

    def forward(self, predictions: Array, targets: Array) -> float:
        """``mean(log(1 + exp(z)) - t * z)``; see `Loss.forward`."""
        _check_pair(predictions, targets)
        self._saved = None
        shape, dtype = predictions.shape, predictions.dtype
        terms = np.logaddexp(0.0, predictions, out=self._terms.lend(shape, dtype))
        terms -= np.multiply(predictions, targets, out=self._product.lend(shape, dtype))
        self._saved = predictions, targets
        return _mean(terms)

    def backward(self) -> Array:
        """``(sigmoid(z) - t) / size``; see `Loss.backward`."""
        predictions, targets = self._recall()
        dx = self._dx.lend(predictions.shape, predictions.dtype)
        _core.activation_forward("sigmoid", predictions, dx)
        dx -= targets
        dx *= 1.0 / predictions.size
        return dx


def _mean(terms: Array) -> float:
    """Average in the terms' own dtype: NumPy adds contiguous floats pairwise.

    The error is a few units in the last place even of millions; adding in double would convert
    through a buffer of 64 KiB.
    """
    return float(terms.mean())


def _check_pair(predictions: Array, targets: Array) -> None:
    for name, array in (("predictions", predictions), ("targets", targets)):
        if not isinstance(array, np.ndarray) or array.dtype not in (np.float32, np.float64):
            kind = getattr(array, "dtype", type(array).__name__)
            raise TypeError(f"{name} must be an array of float32 or float64, got {kind}")
    if predictions.dtype != targets.dtype:
        raise TypeError(f"predictions are {predictions.dtype}, but targets {targets.dtype}")
    if predictions.shape != targets.shape:
        raise ValueError(f"predictions have shape {predictions.shape}, targets {targets.shape}")
    if predictions.size == 0:
        raise ValueError(f"the mean of no elements is not defined, got shape {predictions.shape}")
