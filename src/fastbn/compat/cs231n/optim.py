"""Update rules: ``rule(w, dw, config) -> (next_w, config)``, parameters updated in place.

The course lets a rule change `w` and return it; all of these do, so that `next_w` is the caller's
own array.  What a rule remembers lies in `config`, whose arrays are updated in place too.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastbn import _core
from fastbn.functional import Array

__all__ = ["adam", "rmsprop", "sgd", "sgd_momentum"]


def sgd(w: Array, dw: Array, config: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
    """Gradient descent, ``w -= learning_rate * dw``.

    Parameters
    ----------
    w : ndarray, any shape
        Updated in place.
    dw : ndarray, shape of w
    config : dict, optional
        ``learning_rate`` (1e-2).

    Returns
    -------
    next_w : ndarray
        `w`.
    config : dict
        With the defaults filled in.

    Raises
    ------
    TypeError, ValueError
        If dtypes or shapes do not fit, or a number is out of range.

    Notes
    -----
    The interface is that of ``cs231n.optim``.
    """
    config = _with_defaults(config, learning_rate=1e-2)
    _core.sgd_update(w, _gradient(w, dw), None, lr=config["learning_rate"])
    return w, config


def sgd_momentum(
    w: Array, dw: Array, config: dict[str, Any] | None = None
) -> tuple[Array, dict[str, Any]]:
    """Gradient descent with momentum, ``v = momentum * v - learning_rate * dw; w += v``.

    Parameters
    ----------
    w : ndarray, any shape
        Updated in place.
    dw : ndarray, shape of w
    config : dict, optional
        ``learning_rate`` (1e-2), ``momentum`` (0.9) and ``velocity`` (zeros).

    Returns
    -------
    next_w : ndarray
        `w`.
    config : dict
        With the defaults filled in and the new velocity.

    Raises
    ------
    TypeError, ValueError
        If dtypes or shapes do not fit, or a number is out of range.

    Notes
    -----
    The interface is that of ``cs231n.optim``.  The velocity contains the learning rate, while that
    of `fastbn.SGD` does not: the two differ once the rate changes.
    """
    config = _with_defaults(config, learning_rate=1e-2, momentum=0.9)
    (velocity,) = _state(config, w, "velocity")
    dw = _gradient(w, dw)
    velocity *= config["momentum"]
    _core.sgd_update(velocity, dw, None, lr=config["learning_rate"])
    w += velocity
    return w, config


def rmsprop(
    w: Array, dw: Array, config: dict[str, Any] | None = None
) -> tuple[Array, dict[str, Any]]:
    """RMSProp: the step of each parameter divided by the root of its mean squared gradient.

    Parameters
    ----------
    w : ndarray, any shape
        Updated in place.
    dw : ndarray, shape of w
    config : dict, optional
        ``learning_rate`` (1e-2), ``decay_rate`` (0.99), ``epsilon`` (1e-8), outside of the root,
        and ``cache`` (zeros), the mean square.

    Returns
    -------
    next_w : ndarray
        `w`.
    config : dict
        With the defaults filled in and the new cache.

    Raises
    ------
    TypeError, ValueError
        If dtypes or shapes do not fit, or a number is out of range.

    Notes
    -----
    Tieleman and Hinton, 2012; the interface is that of ``cs231n.optim``.
    """
    config = _with_defaults(config, learning_rate=1e-2, decay_rate=0.99, epsilon=1e-8)
    (cache,) = _state(config, w, "cache")
    dw = _gradient(w, dw)
    cache *= config["decay_rate"]
    cache += (1 - config["decay_rate"]) * dw**2
    w -= config["learning_rate"] * dw / (np.sqrt(cache) + config["epsilon"])
    return w, config


def adam(w: Array, dw: Array, config: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
    """Adam with the correction of both means' bias.

    Parameters
    ----------
    w : ndarray, any shape
        Updated in place.
    dw : ndarray, shape of w
    config : dict, optional
        ``learning_rate`` (1e-3), ``beta1`` (0.9), ``beta2`` (0.999), ``epsilon`` (1e-8), ``m`` and
        ``v`` (zeros), and ``t`` (0), the number of updates so far.

    Returns
    -------
    next_w : ndarray
        `w`.
    config : dict
        With the defaults filled in, the new means and ``t`` one higher.

    Raises
    ------
    TypeError, ValueError
        If dtypes or shapes do not fit, or a number is out of range.

    Notes
    -----
    Kingma and Ba, 2014 (arXiv:1412.6980); the interface is that of ``cs231n.optim``.
    """
    config = _with_defaults(config, learning_rate=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8, t=0)
    m, v = _state(config, w, "m", "v")
    _core.adam_update(
        w,
        _gradient(w, dw),
        m,
        v,
        step=config["t"] + 1,
        lr=config["learning_rate"],
        beta1=config["beta1"],
        beta2=config["beta2"],
        eps=config["epsilon"],
    )
    config["t"] += 1
    return w, config


def _with_defaults(config: dict[str, Any] | None, **defaults: float) -> dict[str, Any]:
    """Fill in what is missing, and check all numbers before the first is used."""
    config = {} if config is None else config
    for name, value in defaults.items():
        given = config.setdefault(name, value)
        if not 0 <= given < math.inf:
            raise ValueError(f"config[{name!r}] must be finite and not negative, got {given}")
    return config


def _gradient(w: Array, dw: Array) -> Array:
    """`dw` in the dtype of `w`, which is what an update in place gives it in the end."""
    if np.shape(dw) != w.shape:
        raise ValueError(f"dw has shape {np.shape(dw)}, but w has {w.shape}")
    return np.asarray(dw).astype(w.dtype, copy=False)


def _state(config: dict[str, Any], w: Array, *names: str) -> list[Array]:
    """Arrays of `config`, zeros where there are none yet; they must fit `w`."""
    for name in names:
        array = config.setdefault(name, np.zeros_like(w))
        if array.shape != w.shape:
            raise ValueError(f"config[{name!r}] has shape {array.shape}, but w has {w.shape}")
        if array.dtype != w.dtype:
            raise TypeError(f"config[{name!r}] is {array.dtype}, but w is {w.dtype}")
    return [config[name] for name in names]
