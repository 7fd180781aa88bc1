"""Metrics: functions of predictions and targets whose value is a mean over the samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastbn import _core

Array: TypeAlias = NDArray[Any]

_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))

Metric: TypeAlias = Callable[[Array, Array], float]
"""`metric(predictions, targets) -> float`, the mean over the samples of one batch."""


def accuracy(predictions: Array, targets: Array) -> float:
    """Return the share of samples that are put into the right class.

    Parameters
    ----------
    predictions : ndarray, shape (n, classes), (n, 1) or (n,)
        Logits or probabilities by class, of which the largest counts; or one logit a sample, whose
        sign decides between the classes 0 and 1.
    targets : ndarray, shape (n,), (n, 1) or (n, classes)
        Class numbers, or one-hot rows where the predictions have several columns.

    Returns
    -------
    float
        Between 0 and 1; NaN of no sample.

    Raises
    ------
    ValueError
        If the two shapes do not belong to one another.
    """
    if _are_scores_and_labels(predictions, targets):
        return _core.accuracy(predictions, targets)
    if predictions.ndim == 2 and predictions.shape[1] > 1:
        classes: Array = predictions.argmax(axis=1)
        if targets.shape == predictions.shape:
            targets = targets.argmax(axis=1)
    else:
        classes = predictions.reshape(-1) > 0
        targets = targets.reshape(-1)
    if classes.shape != targets.shape:
        raise ValueError(
            f"accuracy: predictions of shape {predictions.shape} need class numbers or one-hot "
            f"rows, not targets of shape {targets.shape}; pass metrics=() to go without"
        )
    n = targets.size
    return int(np.count_nonzero(classes == targets)) / n if n else float("nan")


def _are_scores_and_labels(predictions: Array, targets: Array) -> bool:
    """Whether they are what the kernel takes."""
    return (
        type(predictions) is np.ndarray
        and type(targets) is np.ndarray
        and predictions.ndim == 2
        and predictions.shape[1] > 1
        and targets.shape == predictions.shape[:1]
        and targets.dtype.kind in "iu"
        and predictions.dtype in _FLOATS
    )


_BY_NAME: dict[str, Metric] = {"accuracy": accuracy}


def resolve_metrics(metrics: Iterable[str | Metric]) -> dict[str, Metric]:
    """Metrics by name.

    Parameters
    ----------
    metrics : iterable of str or callable
        A callable goes by its `__name__`.

    Returns
    -------
    dict of str to callable

    Raises
    ------
    ValueError
        If a name is unknown, or is there twice, or is "loss".
    TypeError
        If `metrics` is a single string, or an element is neither a string nor callable.
    """
    if isinstance(metrics, str):
        raise TypeError(f'metrics is a tuple or list of metrics: write ("{metrics}",)')
    resolved: dict[str, Metric] = {}
    for metric in metrics:
        name, function = _resolve(metric)
        if name in resolved or name == "loss":
            raise ValueError(f"two metrics have the name {name!r}")
        resolved[name] = function
    return resolved


def _resolve(metric: str | Metric) -> tuple[str, Metric]:
    if isinstance(metric, str):
        if metric not in _BY_NAME:
            raise ValueError(f"unknown metric {metric!r}: there is {', '.join(sorted(_BY_NAME))}")
        return metric, _BY_NAME[metric]
    if not callable(metric):
        raise TypeError(f"a metric is a name or a function, not {type(metric).__name__}")
    return getattr(metric, "__name__", type(metric).__name__), metric
