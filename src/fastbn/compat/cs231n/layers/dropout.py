"""Dropout, by the probability of keeping a value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from fastbn.compat.arrays import float_array
from fastbn.compat.cs231n.layers.mode import is_training
from fastbn.functional import Array

__all__ = ["DropoutCache", "dropout_backward", "dropout_forward"]

DropoutCache: TypeAlias = tuple[Mapping[str, Any], Array | None]


def dropout_forward(x: Array, dropout_param: Mapping[str, Any]) -> tuple[Array, DropoutCache]:
    """Inverted dropout: in training each value is kept with probability p and divided by p.

    Parameters
    ----------
    x : ndarray, any shape
    dropout_param : mapping
        ``p``, the probability of *keeping* a value (that of `fastbn.Dropout` is of dropping it);
        ``mode``, 'train' or 'test', in which x is returned as it is; optional ``seed``, by which
        NumPy's global generator is seeded first.

    Returns
    -------
    out : ndarray, shape of x
    cache : tuple
        ``(dropout_param, mask)``; mask is None in mode 'test'.

    Raises
    ------
    TypeError, ValueError
        If x is not of numbers, or `dropout_param` does not fit.

    Notes
    -----
    Srivastava et al., JMLR 2014; the interface is that of ``cs231n.layers``, and so are the random
    numbers: they come from NumPy's global generator, so that a seeded net gives the same results.
    """
    x = float_array("x", x)
    training, p = is_training("dropout_param", dropout_param), dropout_param["p"]
    if not 0 < p <= 1:
        raise ValueError(f"dropout_param['p'], the probability of keeping, is {p}: not in (0, 1]")
    if "seed" in dropout_param:
        np.random.seed(dropout_param["seed"])  # noqa: NPY002 (the course's generator)
    if not training:
        return x, (dropout_param, None)
    kept = np.random.rand(*x.shape) < p  # noqa: NPY002
    mask = kept.astype(x.dtype)
    mask /= p
    return x * mask, (dropout_param, mask)


def dropout_backward(dout: Array, cache: DropoutCache) -> Array:
    """Gradient of `dropout_forward`.

    Parameters
    ----------
    dout : ndarray, shape of x
    cache : tuple
        Of `dropout_forward`.

    Returns
    -------
    dx : ndarray, shape of x

    Raises
    ------
    ValueError
        If `dout` has another shape than x.
    """
    _, mask = cache
    if mask is None:
        return dout
    if dout.shape != mask.shape:
        raise ValueError(f"dout has shape {dout.shape}, but x had {mask.shape}")
    return dout * mask
