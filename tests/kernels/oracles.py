"""The operations in NumPy, in about twice the precision: independent of the C++ references."""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bounds import oracle_dtype

Array = NDArray[Any]


# Products of long doubles, which no BLAS computes, by their operands: each target and kind of core
# is compared with the same ones.
_KEPT: dict[bytes, tuple[Array, Array]] = {}
_MOST_KEPT = 128 << 20  # bytes
_LEAST_TERMS = 50_000


def _products(a: Array, b: Array) -> tuple[Array, Array]:
    """Return A B and |A| |B|."""

    def computed() -> tuple[Array, Array]:
        wide_a, wide_b = (x.astype(oracle_dtype(x.dtype.type)) for x in (a, b))
        return wide_a @ wide_b, abs(wide_a) @ abs(wide_b)

    if a.dtype != np.float64 or a.shape[0] * b.size < _LEAST_TERMS:
        return computed()
    key = blake2b(str((a.shape, b.shape)).encode() + a.tobytes() + b.tobytes()).digest()
    if key not in _KEPT:
        _KEPT[key] = computed()
        while sum(x.nbytes + y.nbytes for x, y in _KEPT.values()) > _MOST_KEPT:
            del _KEPT[next(iter(_KEPT))]
    return _KEPT[key]


def gemm(
    a: Array,
    b: Array,
    c: Array | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 0.0,
    bias: Array | None = None,
) -> tuple[Array, Array]:
    """Return alpha A B + beta C + bias, and the same sum of absolute values."""
    dtype = a.dtype.type
    wide = oracle_dtype(dtype)
    alpha, beta = wide(dtype(alpha)), wide(dtype(beta))
    exact = np.zeros((a.shape[0], b.shape[1]), wide)
    magnitude = exact.copy()
    if alpha != 0:
        product, absolute = _products(a, b)
        exact = exact + alpha * product
        magnitude = magnitude + abs(alpha) * absolute
    if c is not None and beta != 0:
        exact = exact + beta * c
        magnitude = magnitude + abs(beta) * abs(c.astype(wide))
    if bias is not None:
        exact = exact + bias
        magnitude = magnitude + abs(bias.astype(wide))
    return exact, magnitude


def relu(x: Array) -> Array:
    """max(x, 0) that keeps NaN, with +0 for what it cuts."""
    return np.where(x <= 0, x.dtype.type(0), x)


def one_chain(a: Array, b: Array, *, fused: bool) -> Array:
    """A B, each element one chain over ascending k that starts at 0, rounded at every step.

    `fused` rounds a multiplication and addition once, which in float32 the longest float shows: it
    holds the product exactly, and the sum but for a second rounding too rare to meet.
    """
    dtype = a.dtype.type
    chain = np.zeros((a.shape[0], b.shape[1]), dtype)
    wide = np.longdouble if fused else dtype
    for p in range(a.shape[1]):
        product = a[:, p : p + 1].astype(wide) * b[p].astype(wide)
        chain = (chain.astype(wide) + product).astype(dtype)
    return chain


# -- batch norm: x as (rows, channels) -------------------------------------------------------------


def rows_of(x: Array, axis: int) -> Array:
    """View x with its channel axis last as (rows, channels)."""
    moved = np.moveaxis(x, axis, -1)
    return moved.reshape(-1, moved.shape[-1])


def inner_of(shape: tuple[int, ...], axis: int) -> int:
    """Count the positions of a channel that lie side by side: 1 where channels come last."""
    return int(np.prod(shape[axis % len(shape) + 1 :], dtype=int))


def shape_back(rows: Array, shape: tuple[int, ...], axis: int) -> Array:
    """Undo rows_of."""
    moved = np.moveaxis(np.empty(shape, np.bool_), axis, -1).shape
    return np.moveaxis(rows.reshape(moved), -1, axis)


@dataclass
class BatchNorm:
    x: Array
    weight: Array
    shift: Array
    eps: float
    mean: Array
    var: Array
    deviations: Array  # x - mean, more exact than from the rounded mean
    constant: bool  # the statistics were given
    counts: Array  # (rows, 1): how often each row counts

    @property
    def invstd(self) -> Array:
        v = self.var + self.eps
        with np.errstate(divide="ignore"):
            return np.where(v > 0, 1 / np.sqrt(v), 0)

    @property
    def normalized(self) -> Array:
        return self.deviations * self.invstd

    @property
    def y(self) -> Array:
        return np.where(self.counts > 0, self.normalized * self.weight + self.shift, 0)

    def backward(self, g: Array) -> tuple[Array, Array, Array]:
        """dx, dgamma, dbeta from the gradient of y (masked already where ReLU cut y)."""
        normalized, g = self.normalized, np.where(self.counts > 0, g, 0)
        dbeta, dgamma = g.sum(axis=0), (g * normalized).sum(axis=0)
        scale = self.weight * self.invstd
        if self.constant:
            return scale * g, dgamma, dbeta
        share = self.counts / self.counts.sum()
        return scale * (g - share * (dbeta + normalized * dgamma)), dgamma, dbeta


def batch_norm(
    x: Array,
    weight: Array,
    shift: Array,
    eps: float,
    mean: Array | None = None,
    var: Array | None = None,
    *,
    counts: Array | None = None,
) -> BatchNorm:
    """Batch norm of (rows, channels); with `mean` and `var`, these, else the batch's own.

    `counts` are weights of the rows; what x holds where one is 0 does not matter.
    """
    wide = oracle_dtype(x.dtype.type)
    rows, weight, shift = (a.astype(wide) for a in (x, weight, shift))
    w = np.ones((len(x), 1), wide) if counts is None else counts.astype(wide).reshape(-1, 1)
    rows = np.where(w > 0, rows, 0)
    if mean is not None and var is not None:
        mean, var = mean.astype(wide), var.astype(wide)
        return BatchNorm(rows, weight, shift, eps, mean, var, rows - mean, constant=True, counts=w)
    # Deviations from one row are exact, or nearly so, where the values are large and alike.
    first, n = rows[np.argmax(w > 0)], w.sum()
    from_first = rows - first
    offset = (w * from_first).sum(axis=0) / n
    deviations = from_first - offset
    var = (w * deviations**2).sum(axis=0) / n
    return BatchNorm(
        rows, weight, shift, eps, first + offset, var, deviations, constant=False, counts=w
    )
