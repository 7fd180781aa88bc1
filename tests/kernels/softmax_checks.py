"""The oracle of softmax and cross-entropy, the bounds on their errors, and arrays for them."""

from typing import Any

import numpy as np

from .bounds import gamma, oracle_dtype, smallest, unit_roundoff

LANES = {"avx512": 64, "avx2": 32, "neon": 16}  # bytes of a register; others have one element
BLOCK = 256  # so many elements are added in the array's dtype, the blocks in float64
EXP = 2.1  # roundings that exp and log are worth: 1.04 units of math_kernel.h, rounded up
LOG = 2.0


def roundings_of_a_row_sum(n: int, target: str, dtype: Any) -> float:
    """How many roundings in `dtype` a term of a sum along a row sees."""
    lanes = max(1, LANES.get(target, 0) // np.dtype(dtype).itemsize)
    in_float64 = n / BLOCK * unit_roundoff(np.float64) / unit_roundoff(dtype)
    return min(n, BLOCK) / lanes + lanes.bit_length() + 1 + in_float64


class Row:
    """Softmax of each row in the oracle's precision, and the relative errors of the kernels'."""

    def __init__(self, x: np.ndarray, target: str) -> None:
        dtype = x.dtype.type
        u = unit_roundoff(dtype)
        wide = x.astype(oracle_dtype(dtype))
        self.max = wide.max(-1, keepdims=True)
        self.below = self.max - wide
        e = np.exp(-self.below)
        self.sum = e.sum(-1, keepdims=True)
        self.y = e / self.sum
        # x - max is rounded once, which its exponential magnifies.
        self.r_exp = u * (self.below + EXP)
        terms = (e * self.r_exp).sum(-1, keepdims=True) / self.sum
        n = x.shape[-1]
        lost = n * smallest(dtype)  # in exponentials that are subnormal
        self.r_sum = terms + gamma(roundings_of_a_row_sum(n, target, dtype), dtype) + u + lost
        self.oracle = gamma(n + 20, wide.dtype.type)
        self.u, self.lost = u, 2 * smallest(dtype)

    def bound(self) -> np.ndarray:
        """|err| of softmax: the exponential times the inverse of the sum."""
        relative = (self.r_exp + self.r_sum + 2 * self.u) * 1.001 + self.oracle
        return relative * self.y + self.lost


class Loss(Row):
    """Cross-entropy of each row, and the gradient of their mean."""

    def __init__(self, x: np.ndarray, labels: np.ndarray, smoothing: float, target: str) -> None:
        super().__init__(x, target)
        n, classes = x.shape
        q = np.full(x.shape, smoothing / classes, self.y.dtype)
        rows = np.arange(n)
        q[rows, labels] += 1 - smoothing
        log_sum = np.log(self.sum)[:, 0]
        self.losses = log_sum + (q * self.below).sum(-1)
        parts = abs(log_sum) + (q * self.below).sum(-1)
        in_sum = roundings_of_a_row_sum(classes, target, x.dtype)
        relative = gamma(in_sum + LOG + 6, x.dtype) + self.oracle
        self.loss_bound = self.r_sum[:, 0] * 1.001 + relative * parts
        self.gradient = (self.y - q) / n
        r_y = (self.r_exp + self.r_sum + 3 * self.u) * 1.001 + self.oracle
        rounded = 4 * self.u * (q + self.y) + 2 * self.u * abs(self.y - q)
        self.gradient_bound = (r_y * self.y + rounded) / n + self.lost


def drawn(rng: np.random.Generator, rows: int, cols: int, dtype: Any) -> np.ndarray:
    """Rows of all kinds: flat, ordinary, far apart, far from 0."""
    x = rng.standard_normal((rows, cols)) * rng.choice((1e-3, 1.0, 10.0, 100.0), (rows, 1))
    return (x + rng.choice((0.0, -50.0, 1e4), (rows, 1))).astype(dtype)
