"""Layer normalization."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from fastbn import _core
from fastbn.compat.arrays import common_dtype, require_ndim
from fastbn.functional import Array, batch_norm, batch_norm_backward

__all__ = ["LayerNormCache", "layernorm_backward", "layernorm_forward"]


class LayerNormCache(NamedTuple):
    """What `layernorm_backward` needs."""

    normalized: Array
    gamma: Array
    rows: _core.BatchNormCache


def layernorm_forward(
    x: Array, gamma: Array, beta: Array, ln_param: Mapping[str, Any]
) -> tuple[Array, LayerNormCache]:
    """Layer normalization: each row to mean 0 and variance 1, then ``gamma * row + beta``.

    Parameters
    ----------
    x : ndarray, shape (N, D)
    gamma, beta : ndarray, shape (D,)
    ln_param : mapping
        ``eps`` (1e-5) is optional.

    Returns
    -------
    out : ndarray, shape (N, D)
    cache : LayerNormCache

    Raises
    ------
    TypeError, ValueError
        If dtypes or shapes do not fit, or if D is 1.

    Notes
    -----
    Ba, Kiros and Hinton, 2016 (arXiv:1607.06450); the interface is that of ``cs231n.layers``.  To
    the kernel of batch normalization, rows are the channels of one image.
    """
    x, gamma, beta = common_dtype(x=x, gamma=gamma, beta=beta)
    require_ndim("x", x, 2)
    for name, vector in (("gamma", gamma), ("beta", beta)):
        if vector.shape != x.shape[1:]:
            raise ValueError(f"{name} has shape {vector.shape}, but x has {x.shape}")
    image, rows = batch_norm(
        x[np.newaxis], None, None, training=True, eps=ln_param.get("eps", 1e-5)
    )
    out = image[0] * gamma
    out += beta
    return out, LayerNormCache(image[0], gamma, rows)


def layernorm_backward(dout: Array, cache: LayerNormCache) -> tuple[Array, Array, Array]:
    """Gradients of `layernorm_forward`.

    Parameters
    ----------
    dout : ndarray, shape (N, D)
    cache : LayerNormCache

    Returns
    -------
    dx : ndarray, shape (N, D)
    dgamma, dbeta : ndarray, shape (D,)

    Raises
    ------
    TypeError, ValueError
        If `dout` does not fit.
    """
    dout, normalized, gamma = common_dtype(
        dout=dout, normalized=cache.normalized, gamma=cache.gamma
    )
    if dout.shape != normalized.shape:
        raise ValueError(f"dout has shape {dout.shape}, but x had {normalized.shape}")
    by_rows = (dout * gamma)[np.newaxis].astype(cache.rows.x.dtype, copy=False)
    dx, _, _ = batch_norm_backward(by_rows, cache.rows)
    return dx[0], _core.column_sums(dout * normalized), _core.column_sums(dout)
