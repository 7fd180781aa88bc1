"""Optimizers: ``update(params, grads)`` changes the arrays of `params` in place.

Both are dicts with the same keys, as in the book's first volume, or lists, as in its second.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from fastbn import _core
from fastbn.functional import Array

__all__ = ["SGD", "AdaGrad", "Adam", "Momentum", "Nesterov", "RMSprop"]

Arrays: TypeAlias = Mapping[str, Array] | Sequence[Array]
State: TypeAlias = dict[Any, Array]

TINY = 1e-7  # the book's, added to roots


class SGD:
    """``p -= lr * grad``.

    Parameters
    ----------
    lr : float

    Raises
    ------
    ValueError, TypeError
        From `update`, if dtypes or shapes do not fit, or `lr` is negative.
    """

    def __init__(self, lr: float = 0.01) -> None:
        self.lr = lr

    def update(self, params: Arrays, grads: Arrays) -> None:
        """Update dicts or lists of arrays in place."""
        for _, p, g in _pairs(params, grads, self.lr):
            _core.sgd_update(p, g, None, lr=self.lr)


class Momentum:
    """``v = momentum * v - lr * grad; p += v``.

    Parameters
    ----------
    lr, momentum : float

    Attributes
    ----------
    v : dict of ndarray, or None
        By key or place; None before the first update.

    Raises
    ------
    ValueError, TypeError
        From `update`, if dtypes or shapes do not fit, or `lr` is negative.
    """

    def __init__(self, lr: float = 0.01, momentum: float = 0.9) -> None:
        self.lr, self.momentum = lr, momentum
        self.v: State | None = None

    def update(self, params: Arrays, grads: Arrays) -> None:
        """Update dicts or lists of arrays in place."""
        pairs = _pairs(params, grads, self.lr)
        self.v = _state(self.v, params)
        for key, p, g in pairs:
            v = self.v[key]
            v *= self.momentum
            _core.sgd_update(v, g, None, lr=self.lr)
            p += v


class Nesterov:
    """``p += momentum**2 * v - (1 + momentum) * lr * grad; v = momentum * v - lr * grad``.

    Parameters
    ----------
    lr, momentum : float

    Attributes
    ----------
    v : dict of ndarray, or None
        By key or place; None before the first update.

    Raises
    ------
    ValueError, TypeError
        From `update`, if dtypes or shapes do not fit, or `lr` is negative.

    Notes
    -----
    Bengio, Boulanger-Lewandowski and Pascanu, 2012 (arXiv:1212.0901), with the velocity of before
    the update, as the book's code has it since it was corrected.
    """

    def __init__(self, lr: float = 0.01, momentum: float = 0.9) -> None:
        self.lr, self.momentum = lr, momentum
        self.v: State | None = None

    def update(self, params: Arrays, grads: Arrays) -> None:
        """Update dicts or lists of arrays in place."""
        pairs = _pairs(params, grads, self.lr)
        self.v = _state(self.v, params)
        for key, p, g in pairs:
            v = self.v[key]
            p += self.momentum * self.momentum * v
            _core.sgd_update(p, g, None, lr=(1 + self.momentum) * self.lr)
            v *= self.momentum
            _core.sgd_update(v, g, None, lr=self.lr)


class AdaGrad:
    """``h += grad**2; p -= lr * grad / (sqrt(h) + 1e-7)``.

    Parameters
    ----------
    lr : float

    Attributes
    ----------
    h : dict of ndarray, or None
        By key or place; None before the first update.

    Raises
    ------
    ValueError, TypeError
        From `update`, if dtypes or shapes do not fit, or `lr` is negative.
    """

    def __init__(self, lr: float = 0.01) -> None:
        self.lr = lr
        self.h: State | None = None

    def update(self, params: Arrays, grads: Arrays) -> None:
        """Update dicts or lists of arrays in place."""
        pairs = _pairs(params, grads, self.lr)
        self.h = _state(self.h, params)
        for key, p, g in pairs:
            self.h[key] += g * g
            p -= self.lr * g / (np.sqrt(self.h[key]) + TINY)


class RMSprop:
    """``h = decay_rate * h + (1 - decay_rate) * grad**2; p -= lr * grad / (sqrt(h) + 1e-7)``.

    Parameters
    ----------
    lr, decay_rate : float

    Attributes
    ----------
    h : dict of ndarray, or None
        By key or place; None before the first update.

    Raises
    ------
    ValueError, TypeError
        From `update`, if dtypes or shapes do not fit, or `lr` is negative.
    """

    def __init__(self, lr: float = 0.01, decay_rate: float = 0.99) -> None:
        self.lr, self.decay_rate = lr, decay_rate
        self.h: State | None = None

    def update(self, params: Arrays, grads: Arrays) -> None:
        """Update dicts or lists of arrays in place."""
        pairs = _pairs(params, grads, self.lr)
        self.h = _state(self.h, params)
        for key, p, g in pairs:
            h = self.h[key]
            h *= self.decay_rate
            h += (1 - self.decay_rate) * g * g
            p -= self.lr * g / (np.sqrt(h) + TINY)


class Adam:
    """Adam in the book's form, with 1e-7 added to the root before its bias is corrected.

    Parameters
    ----------
    lr, beta1, beta2 : float

    Attributes
    ----------
    iter : int
        Updates so far.
    m, v : dict of ndarray, or None
        By key or place; None before the first update.

    Raises
    ------
    ValueError, TypeError
        From `update`, if dtypes or shapes do not fit, or a number is out of range.

    Notes
    -----
    Kingma and Ba, 2014 (arXiv:1412.6980), in the form at the end of its section 2.
    """

    def __init__(self, lr: float = 0.001, beta1: float = 0.9, beta2: float = 0.999) -> None:
        self.lr, self.beta1, self.beta2 = lr, beta1, beta2
        self.iter = 0
        self.m: State | None = None
        self.v: State | None = None

    def update(self, params: Arrays, grads: Arrays) -> None:
        """Update dicts or lists of arrays in place."""
        pairs = _pairs(params, grads, self.lr)
        self.m, self.v = _state(self.m, params), _state(self.v, params)
        self.iter += 1
        # The kernel adds its eps to the root that is corrected already.
        eps = TINY / math.sqrt(1 - self.beta2**self.iter)
        for key, p, g in pairs:
            _core.adam_update(
                p,
                g,
                self.m[key],
                self.v[key],
                step=self.iter,
                lr=self.lr,
                beta1=self.beta1,
                beta2=self.beta2,
                eps=eps,
            )


def _items(arrays: Arrays) -> Iterator[tuple[Any, Array]]:
    return iter(arrays.items()) if isinstance(arrays, Mapping) else enumerate(arrays)


def _state(state: State | None, params: Arrays) -> State:
    """Arrays of zeros at the first update."""
    if state is not None:
        return state
    return {key: np.zeros_like(p) for key, p in _items(params)}


def _pairs(params: Arrays, grads: Arrays, lr: float) -> list[tuple[Any, Array, Array]]:
    """Key, parameter and gradient of each, all checked before the first is updated.

    The gradient takes the parameter's dtype, which is what an update in place gives it in the end.
    """
    if not 0 <= lr < math.inf:
        raise ValueError(f"lr must be finite and not negative, got {lr}")
    by_key = dict(_items(grads))
    pairs = []
    for key, p in _items(params):
        if key not in by_key:
            raise ValueError(f"params has {key!r}, but grads has {list(by_key)}")
        g = np.asarray(by_key[key])
        if not isinstance(p, np.ndarray) or p.dtype not in (np.float32, np.float64):
            kind = getattr(p, "dtype", type(p).__name__)
            raise TypeError(f"params[{key!r}] must be an array of float32 or float64, got {kind}")
        if g.shape != p.shape:
            raise ValueError(f"grads[{key!r}] has shape {g.shape}, but params[{key!r}] {p.shape}")
        pairs.append((key, p, g.astype(p.dtype, copy=False)))
    return pairs
