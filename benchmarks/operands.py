"""Operands of a product, as a net has them, and the check of an answer."""

import numpy as np
from shapes import Product


def make(product: Product, dtype: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return A, B and an array for C; the transposed ones are views, as in a net's backward."""
    rng = np.random.default_rng(seed)
    m, n, k = product.m, product.n, product.k
    a = rng.standard_normal((k, m) if product.layout == "TN" else (m, k)).astype(dtype)
    b = rng.standard_normal((n, k) if product.layout == "NT" else (k, n)).astype(dtype)
    return (
        a.T if product.layout == "TN" else a,
        b.T if product.layout == "NT" else b,
        np.empty((m, n), dtype),
    )


def check(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
    """Compare c with the product in float64: |error| <= gamma_k |A| |B|, row by row of a sample.

    A sum in any order of k products stays within gamma_(k+1) (Higham, Accuracy and Stability of
    Numerical Algorithms, 3.1); float64 results are compared with float64, hence the factor 2.
    """
    rows = np.unique(np.linspace(0, len(a) - 1, 16).astype(int))
    left, right = a[rows].astype(np.float64), b.astype(np.float64)
    u = np.finfo(c.dtype).eps / 2
    k = a.shape[1] + 1
    bound = 2 * k * u / (1 - k * u) * (np.abs(left) @ np.abs(right))
    error = np.abs(c[rows] - left @ right)
    assert (error <= bound).all(), f"wrong by {np.max(error / bound)} times the bound"
