"""Layers that often follow each other, as one pair of functions."""

from __future__ import annotations

from typing import Any, TypeAlias

from fastbn.compat.arrays import common_dtype, flattened
from fastbn.compat.cs231n.layers.affine import (
    AffineCache,
    affine_backward,
    affine_forward,
    relu_backward,
    relu_forward,
)
from fastbn.compat.cs231n.layers.batchnorm import RunningStatistics
from fastbn.functional import (
    Array,
    LinearBatchNormReLUCache,
    linear_bn_relu,
    linear_bn_relu_backward,
)

__all__ = [
    "affine_bn_relu_backward",
    "affine_bn_relu_forward",
    "affine_relu_backward",
    "affine_relu_forward",
]

AffineReluCache: TypeAlias = tuple[AffineCache, Array]
BlockCache: TypeAlias = tuple[tuple[int, ...], LinearBatchNormReLUCache]


def affine_relu_forward(x: Array, w: Array, b: Array) -> tuple[Array, AffineReluCache]:
    """`affine_forward`, then `relu_forward`.

    Parameters
    ----------
    x : ndarray, shape (N, d1, ..., dk)
    w : ndarray, shape (D, M)
    b : ndarray, shape (M,)

    Returns
    -------
    out : ndarray, shape (N, M)
    cache : tuple
        The caches of the two.

    Raises
    ------
    TypeError, ValueError
        If dtypes or shapes do not fit.

    Notes
    -----
    The interface is that of ``cs231n.layer_utils``.  The kernel could apply the ReLU in the same
    pass, but the backward pass would then need `out` as it was, and nets in this style may change
    it in place.
    """
    z, affine_cache = affine_forward(x, w, b)
    out, relu_cache = relu_forward(z)
    return out, (affine_cache, relu_cache)


def affine_relu_backward(dout: Array, cache: AffineReluCache) -> tuple[Array, Array, Array]:
    """Gradients of `affine_relu_forward`.

    Parameters
    ----------
    dout : ndarray, shape (N, M)
    cache : tuple
        Of `affine_relu_forward`.

    Returns
    -------
    dx : ndarray, shape (N, d1, ..., dk)
    dw : ndarray, shape (D, M)
    db : ndarray, shape (M,)

    Raises
    ------
    TypeError, ValueError
        If `dout` does not fit.
    """
    affine_cache, relu_cache = cache
    return affine_backward(relu_backward(dout, relu_cache), affine_cache)


def affine_bn_relu_forward(
    x: Array, w: Array, b: Array, gamma: Array, beta: Array, bn_param: dict[str, Any]
) -> tuple[Array, BlockCache]:
    """`affine_forward`, `batchnorm_forward` and `relu_forward`, as one block.

    Parameters
    ----------
    x : ndarray, shape (N, d1, ..., dk)
    w : ndarray, shape (D, M)
    b, gamma, beta : ndarray, shape (M,)
    bn_param : dict
        As in `batchnorm_forward`.

    Returns
    -------
    out : ndarray, shape (N, M)
    cache : tuple
        For `affine_bn_relu_backward`.

    Raises
    ------
    TypeError, ValueError
        If dtypes, shapes or `bn_param` do not fit, or if N is 1 in training.

    Notes
    -----
    The interface is that of ``cs231n.layer_utils``.
    """
    x, w, b, gamma, beta = common_dtype(x=x, w=w, b=b, gamma=gamma, beta=beta)
    rows = flattened("x", x)
    running = RunningStatistics.of(bn_param, len(gamma), x.dtype)
    out, cache = linear_bn_relu(
        rows, w, b, gamma, beta, running.mean, running.var, **running.options
    )
    running.store(bn_param)
    return out, (x.shape, cache)


def affine_bn_relu_backward(
    dout: Array, cache: BlockCache
) -> tuple[Array, Array, Array, Array, Array]:
    """Gradients of `affine_bn_relu_forward`.

    Parameters
    ----------
    dout : ndarray, shape (N, M)
    cache : tuple
        Of `affine_bn_relu_forward`.

    Returns
    -------
    dx : ndarray, shape (N, d1, ..., dk)
    dw : ndarray, shape (D, M)
    db, dgamma, dbeta : ndarray, shape (M,)

    Raises
    ------
    TypeError, ValueError
        If `dout` does not fit.
    """
    shape, block = cache
    dout = dout.astype(block.x.dtype, copy=False)
    dx, dw, db, dgamma, dbeta = linear_bn_relu_backward(dout, block)
    assert dx is not None  # as need_dx is True
    assert db is not None  # as there is a bias
    return dx.reshape(shape), dw, db, dgamma, dbeta
