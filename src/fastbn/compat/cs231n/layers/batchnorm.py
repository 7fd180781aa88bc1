"""Batch normalization of rows and of images."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastbn import _core
from fastbn.compat.arrays import common_dtype, float_array, require_ndim
from fastbn.compat.cs231n.layers.mode import is_training
from fastbn.functional import Array, batch_norm
from fastbn.functional import batch_norm_backward as batch_norm_gradients

__all__ = [
    "RunningStatistics",
    "batchnorm_backward",
    "batchnorm_backward_alt",
    "batchnorm_forward",
    "spatial_batchnorm_backward",
    "spatial_batchnorm_forward",
]


def batchnorm_forward(
    x: Array, gamma: Array, beta: Array, bn_param: dict[str, Any]
) -> tuple[Array, _core.BatchNormCache]:
    """Batch normalization, ``gamma * (x - mean) / sqrt(var + eps) + beta``.

    Parameters
    ----------
    x : ndarray, shape (N, D)
    gamma, beta : ndarray, shape (D,)
    bn_param : dict
        ``mode`` is 'train', by the statistics of this batch, or 'test', by the running ones.
        ``eps`` (1e-5), ``momentum`` (0.9, the weight of the *old* value), ``running_mean`` and
        ``running_var`` (zeros) are optional.  The two last are set by the call: in training to new
        arrays ``momentum * running + (1 - momentum) * batch``.

    Returns
    -------
    out : ndarray, shape (N, D)
    cache : BatchNormCache
        For the backward function, also in mode 'test', whose statistics are then constants.

    Raises
    ------
    TypeError, ValueError
        If dtypes, shapes or `bn_param` do not fit, or if N is 1 in training; `bn_param` is
        unchanged then.

    Notes
    -----
    The interface is that of ``cs231n.layers``: the variance is the biased one, in the running
    statistics too.
    """
    x, gamma, beta = common_dtype(x=x, gamma=gamma, beta=beta)
    require_ndim("x", x, 2)
    return _forward(x, gamma, beta, bn_param)


def batchnorm_backward(dout: Array, cache: _core.BatchNormCache) -> tuple[Array, Array, Array]:
    """Gradients of `batchnorm_forward`.

    Parameters
    ----------
    dout : ndarray, shape of x
    cache : BatchNormCache
        Of the forward function.

    Returns
    -------
    dx : ndarray, shape of x
    dgamma, dbeta : ndarray, shape (D,)

    Raises
    ------
    TypeError, ValueError
        If `dout` does not fit.
    """
    return batch_norm_gradients(float_array("dout", dout).astype(cache.x.dtype, copy=False), cache)


def batchnorm_backward_alt(dout: Array, cache: _core.BatchNormCache) -> tuple[Array, Array, Array]:
    """`batchnorm_backward` under the name of the course's second derivation.

    Parameters
    ----------
    dout : ndarray, shape of x
    cache : BatchNormCache
        Of the forward function.

    Returns
    -------
    dx : ndarray, shape of x
    dgamma, dbeta : ndarray, shape (D,)

    Raises
    ------
    TypeError, ValueError
        If `dout` does not fit.
    """
    return batchnorm_backward(dout, cache)


def spatial_batchnorm_forward(
    x: Array, gamma: Array, beta: Array, bn_param: dict[str, Any]
) -> tuple[Array, _core.BatchNormCache]:
    """Batch normalization of images, each channel over N, H and W.

    Parameters
    ----------
    x : ndarray, shape (N, C, H, W)
    gamma, beta : ndarray, shape (C,)
    bn_param : dict
        As in `batchnorm_forward`.

    Returns
    -------
    out : ndarray, shape (N, C, H, W)
    cache : BatchNormCache

    Raises
    ------
    TypeError, ValueError
        As `batchnorm_forward`.
    """
    x, gamma, beta = common_dtype(x=x, gamma=gamma, beta=beta)
    require_ndim("x", x, 4)
    return _forward(x, gamma, beta, bn_param)


def spatial_batchnorm_backward(
    dout: Array, cache: _core.BatchNormCache
) -> tuple[Array, Array, Array]:
    """Gradients of `spatial_batchnorm_forward`.

    Parameters
    ----------
    dout : ndarray, shape (N, C, H, W)
    cache : BatchNormCache
        Of the forward function.

    Returns
    -------
    dx : ndarray, shape (N, C, H, W)
    dgamma, dbeta : ndarray, shape (C,)

    Raises
    ------
    TypeError, ValueError
        If `dout` does not fit.
    """
    return batchnorm_backward(dout, cache)


class RunningStatistics(NamedTuple):
    """What a call takes from `bn_param`, and what it puts back."""

    mean: Array
    var: Array
    options: dict[str, Any]  # of `batch_norm`

    @classmethod
    def of(cls, bn_param: dict[str, Any], channels: int, dtype: np.dtype[Any]) -> RunningStatistics:
        """Read `bn_param`; copies of its arrays in training, as the call updates them in place."""
        training = is_training("bn_param", bn_param)
        options = {
            "training": training,
            "momentum": 1 - bn_param.get("momentum", 0.9),
            "eps": bn_param.get("eps", 1e-5),
            "unbiased": False,
        }

        def read(name: str) -> Array:
            array = float_array(name, bn_param.get(name, np.zeros(channels)))
            return array.astype(dtype, copy=training)

        return cls(read("running_mean"), read("running_var"), options)

    def store(self, bn_param: dict[str, Any]) -> None:
        """Put the arrays into `bn_param`."""
        bn_param["running_mean"], bn_param["running_var"] = self.mean, self.var


def _forward(
    x: Array, gamma: Array, beta: Array, bn_param: dict[str, Any]
) -> tuple[Array, _core.BatchNormCache]:
    running = RunningStatistics.of(bn_param, x.shape[1], x.dtype)
    result = batch_norm(x, gamma, beta, running.mean, running.var, **running.options)
    running.store(bn_param)
    return result
