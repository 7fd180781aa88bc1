"""Arrays to compute with: random, the same in every process, and laid out as a net has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastbn.bench.shapes import Normalization, Product

Array: TypeAlias = NDArray[Any]

EPS = 1e-5
MOMENTUM = 0.1


# Where the large arrays of NumPy start, since malloc puts its own words before them: so many bytes
# past a cache line.  Smaller ones start at any multiple of 16.  All libraries are given the same:
# with each where its process happened to put it, one on a line and another not, ratios of 1.5 came
# from that alone.
_PAST_A_LINE = 16
_LINE = 64


def placed(values: Array) -> Array:
    """Copy to C-contiguous memory that starts where the large arrays of NumPy do."""
    raw = np.empty(values.nbytes + _LINE + _PAST_A_LINE, np.uint8)
    start = -raw.ctypes.data % _LINE + _PAST_A_LINE
    copy: Array = raw[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    copy[...] = values
    return copy


@dataclass(frozen=True)
class ProductOperands:
    """A and B, transposed as a view where the layout says so, and memory for C."""

    a: Array
    b: Array
    c: Array


def of_product(case: Product) -> ProductOperands:
    """Return the operands of a product."""
    rng = np.random.default_rng(0)
    m, n, k = case.m, case.n, case.k

    def draw(*shape: int) -> Array:
        return placed(rng.standard_normal(shape).astype(case.dtype))

    a = draw(k, m) if case.layout == "TN" else draw(m, k)
    b = draw(n, k) if case.layout == "NT" else draw(k, n)
    return ProductOperands(
        a.T if case.layout == "TN" else a,
        b.T if case.layout == "NT" else b,
        placed(np.full((m, n), np.nan, case.dtype)),
    )


@dataclass(frozen=True)
class NormalizationOperands:
    """Of a batch normalization: all that any of the three operations reads."""

    x: Array
    dy: Array
    gamma: Array
    beta: Array
    running_mean: Array
    running_var: Array


def of_normalization(case: Normalization) -> NormalizationOperands:
    """Return the operands of a batch normalization."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> Array:
        return placed(rng.standard_normal(shape).astype(case.dtype))

    x = draw(*case.shape)
    x += 0.5
    channels = case.channels
    return NormalizationOperands(
        x=x,
        dy=draw(*case.shape),
        gamma=placed(1 + 0.1 * draw(channels)),
        beta=draw(channels),
        running_mean=placed(np.full(channels, 0.5, case.dtype)),
        running_var=placed(np.ones(channels, case.dtype)),
    )
