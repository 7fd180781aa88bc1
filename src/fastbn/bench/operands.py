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
    a = rng.standard_normal((k, m) if case.layout == "TN" else (m, k)).astype(case.dtype)
    b = rng.standard_normal((n, k) if case.layout == "NT" else (k, n)).astype(case.dtype)
    return ProductOperands(
        a.T if case.layout == "TN" else a,
        b.T if case.layout == "NT" else b,
        np.full((m, n), np.nan, case.dtype),
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
        return rng.standard_normal(shape).astype(case.dtype)

    x = draw(*case.shape)
    x += 0.5
    channels = case.channels
    return NormalizationOperands(
        x=x,
        dy=draw(*case.shape),
        gamma=1 + 0.1 * draw(channels),
        beta=draw(channels),
        running_mean=np.full(channels, 0.5, case.dtype),
        running_var=np.ones(channels, case.dtype),
    )
