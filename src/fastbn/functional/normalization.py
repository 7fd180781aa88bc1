"""Batch normalization, alone and as a block with the product before it and the ReLU after it."""

from __future__ import annotations

import operator
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastbn import _core
from fastbn.functional.array import Array, as_array
from fastbn.functional.product import check_linear_backward, check_output

__all__ = [
    "LinearBatchNormReLUCache",
    "batch_norm",
    "batch_norm_backward",
    "linear_bn_relu",
    "linear_bn_relu_backward",
]


def batch_norm(
    x: Array,
    gamma: Array | None,
    beta: Array | None,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    *,
    training: bool,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
    axis: int = 1,
    unbiased: bool = True,
    activation: Literal["relu"] | None = None,
    out: Array | None = None,
    num_batches_tracked: NDArray[np.int64] | None = None,
    weights: Array | None = None,
    virtual_batch_size: int | None = None,
) -> tuple[Array, _core.BatchNormCache]:
    """Batch normalization, ``y = gamma * (x - mean) / sqrt(var + eps) + beta``, channel by channel.

    Parameters
    ----------
    x : ndarray, shape (N, C, ...) or (N, ..., C)
    gamma, beta : ndarray, shape (C,), or None
        Scale and shift; None stands for 1 and 0.
    running_mean, running_var : ndarray, shape (C,), optional
        Read if not `training`; if `training`, updated in place to
        ``(1 - momentum) * running + momentum * batch``.
    training : bool
        Normalize by the mean and biased variance of this batch instead of the running ones.
    momentum : float or None
        Weight of the *new* value, as in PyTorch (Keras and TensorFlow give the weight of the old
        one).  None is the cumulative average over all batches: weight 1 / (batches so far).
    eps : float
        Added to the variance, inside the root.
    axis : int
        The channel axis: 1 for (N, C) and NCHW, -1 for NHWC.
    unbiased : bool
        The running variance takes the batch's variance times n / (n - 1), as in PyTorch; False
        takes the biased one, as in Keras and most textbooks.
    activation : {"relu", None}
        Applied to y, to the same bits as a separate `relu`.
    out : ndarray, shape of `x`, optional
    num_batches_tracked : ndarray of int64, shape (), optional
        Counts the batches that entered the running statistics; one is added in place by a
        training call with values in it.  Needed if `momentum` is None.
    weights : ndarray of bool or of x's dtype, shape of `x` without its channel axis, or (N,)
        How often each position counts: ``mean = sum(w * x) / sum(w)``, the variance likewise.
        Where the weight is 0 or False, which is for padding, y and dx are 0, and neither x nor dy
        is used, whatever they hold.
    virtual_batch_size : int, optional
        Ghost batches: in training the N samples are cut into ``N // virtual_batch_size`` (at least
        one) groups of near-equal size, as by `numpy.array_split`, each with statistics of its own
        that enter the running ones in turn.

    Returns
    -------
    y : ndarray, shape of `x`
    cache : BatchNormCache
        For `batch_norm_backward`; holds a reference to `x`.

    Raises
    ------
    TypeError
        If the dtypes differ or are not floats, or `num_batches_tracked` is no int64 array.
    ValueError
        If sizes do not fit, if a channel (of a group) has one value only in training, if a weight
        is negative or not finite, if statistics are missing out of training, or if `momentum` is
        None without `num_batches_tracked`.

    Notes
    -----
    Ioffe and Szegedy, "Batch Normalization", 2015 (arXiv:1502.03167).  The defaults are those of
    ``torch.nn.functional.batch_norm``.  Ghost batches: Hoffer, Hubara and Soudry, 2017
    (arXiv:1705.08741).
    """
    groups = 1
    if weights is not None:
        x = as_array("x", x)
        weights = _weight_of_positions(weights, x, axis)
    if virtual_batch_size is not None:
        groups = _number_of_groups(x, virtual_batch_size)
    return _core.batch_norm(
        x,
        gamma,
        beta,
        running_mean,
        running_var,
        training,
        momentum,
        eps,
        axis,
        unbiased,
        activation,
        out,
        weights,
        groups,
        num_batches_tracked,
    )


def batch_norm_backward(
    dy: Array, cache: _core.BatchNormCache, *, out: Array | None = None
) -> tuple[Array, Array, Array]:
    """Gradients of `batch_norm`, for batch statistics and for frozen ones (``training=False``).

    Parameters
    ----------
    dy : ndarray, shape of x
    cache : BatchNormCache
        From `batch_norm`, with its activation if it had one.
    out : ndarray, shape of x, optional
        Receives dx.

    Returns
    -------
    dx : ndarray, shape of x
    dgamma, dbeta : ndarray, shape (C,)

    Raises
    ------
    TypeError, ValueError
        If `dy` or `out` has another shape or dtype than x.

    Notes
    -----
    With xhat the normalized input and n the values of a channel,
    ``dbeta = sum(dy)``, ``dgamma = sum(dy * xhat)`` and
    ``dx = gamma / sqrt(var + eps) * (dy - dbeta / n - xhat * dgamma / n)``; with frozen statistics
    the last two terms are absent.
    """
    return _core.batch_norm_backward(dy, cache, out)


class LinearBatchNormReLUCache(NamedTuple):
    """What `linear_bn_relu_backward` needs of the forward pass: references, no copies."""

    x: Array
    weight: Array
    has_bias: bool
    batch_norm: _core.BatchNormCache


def linear_bn_relu(
    x: Array,
    weight: Array,
    bias: Array | None,
    gamma: Array | None,
    beta: Array | None,
    running_mean: Array | None,
    running_var: Array | None,
    *,
    training: bool,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
    unbiased: bool = True,
    num_batches_tracked: NDArray[np.int64] | None = None,
) -> tuple[Array, LinearBatchNormReLUCache]:
    """``relu(batch_norm(linear(x)))``, the same bits as the three calls one by one.

    Parameters
    ----------
    x : ndarray, shape (N, in)
    weight : ndarray, shape (in, out)
    bias : ndarray, shape (out,), or None
        The mean takes it out again, so that a net loses nothing by None.
    gamma, beta, running_mean, running_var : ndarray, shape (out,), or None
    training, momentum, eps, unbiased, num_batches_tracked
        As in `batch_norm`.

    Returns
    -------
    y : ndarray, shape (N, out)
    cache : LinearBatchNormReLUCache
        For `linear_bn_relu_backward`.

    Raises
    ------
    TypeError, ValueError
        As `gemm` and `batch_norm`.
    """
    x, weight = as_array("x", x), as_array("weight", weight)
    if not training or x.size == 0 or weight.size == 0:
        y, cache = batch_norm(
            _core.gemm(x, weight, bias=bias),
            gamma,
            beta,
            running_mean,
            running_var,
            training=training,
            momentum=momentum,
            eps=eps,
            unbiased=unbiased,
            activation="relu",
            num_batches_tracked=num_batches_tracked,
        )
        return y, LinearBatchNormReLUCache(x, weight, bias is not None, cache)
    y, cache = _core.linear_batch_norm(
        x,
        weight,
        bias,
        gamma,
        beta,
        running_mean,
        running_var,
        momentum,
        eps,
        unbiased,
        True,
        None,
        None,
        num_batches_tracked,
    )
    return y, LinearBatchNormReLUCache(x, weight, bias is not None, cache)


def linear_bn_relu_backward(
    dy: Array,
    cache: LinearBatchNormReLUCache,
    *,
    need_dx: bool = True,
    dweight: Array | None = None,
    dbias: Array | None = None,
    dgamma: Array | None = None,
    dbeta: Array | None = None,
) -> tuple[Array | None, Array, Array | None, Array, Array]:
    """Gradients of `linear_bn_relu`.

    Parameters
    ----------
    dy : ndarray, shape (N, out)
    cache : LinearBatchNormReLUCache
    need_dx : bool
        False spares the product for dx.
    dweight, dbias, dgamma, dbeta : ndarray, optional
        Where the gradients are written; new arrays by default.

    Returns
    -------
    dx : ndarray, shape (N, in), or None unless `need_dx`
    dweight : ndarray, shape (in, out)
    dbias : ndarray, shape (out,), or None if the forward had no bias
    dgamma, dbeta : ndarray, shape (out,)

    Raises
    ------
    TypeError, ValueError
        If dtypes or shapes do not fit; nothing is written then.
    """
    dy, x, weight = as_array("dy", dy), cache.x, cache.weight
    check_linear_backward(dy, x, weight, dweight, dbias)
    if x.size and weight.size:
        return _core.linear_batch_norm_backward(
            dy,
            x,
            weight,
            cache.batch_norm,
            need_dx,
            cache.has_bias,
            None,
            None,
            dweight,
            dbias,
            dgamma,
            dbeta,
        )
    # Nothing to multiply.  What is given is written last, when all has been checked.
    check_output("dgamma", dgamma, weight.shape[1:], weight.dtype)
    check_output("dbeta", dbeta, weight.shape[1:], weight.dtype)
    dz, to_gamma, to_beta = _core.batch_norm_backward(dy, cache.batch_norm)
    dx, dweight, dbias = _core.linear_backward(
        dz, x, weight, need_dx, cache.has_bias, dweight=dweight, dbias=dbias
    )
    return dx, dweight, dbias, _into(dgamma, to_gamma), _into(dbeta, to_beta)


def _into(out: Array | None, values: Array) -> Array:
    """Return `out` with the values, or the values where there is none."""
    if out is None:
        return values
    out[...] = values
    return out


def _weight_of_positions(weights: Array, x: Array, axis: int) -> Array:
    """One weight of x's dtype for each position: from a mask, or from one for each sample."""
    weights = np.asarray(weights)
    if weights.dtype == np.bool_:
        weights = weights.astype(x.dtype)
    if not -x.ndim <= axis < x.ndim:
        return weights  # refused by the kernel's own check of axis
    positions = x.shape[: axis % x.ndim] + x.shape[axis % x.ndim + 1 :]
    if weights.ndim == 1 and weights.shape == positions[:1]:
        weights = np.broadcast_to(weights.reshape(-1, *[1] * (len(positions) - 1)), positions)
    return weights


def _number_of_groups(x: Array, virtual_batch_size: int) -> int:
    size = operator.index(virtual_batch_size)
    if size < 1:
        raise ValueError(f"virtual_batch_size must be at least 1, got {size}")
    return max(1, len(x) // size)
