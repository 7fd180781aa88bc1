"""Tolerances as formulas: how far a result may be from the exact one, from the order of operations.

Notation of Higham, Accuracy and Stability of Numerical Algorithms, section 3.1: u is the unit
roundoff, and n roundings in a row give a relative error of at most gamma(n) = n u / (1 - n u).
The oracles (oracles.py) compute in about twice the precision; their own error is added.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

GROUP = 32  # sums over rows: so many terms are added in the array's dtype, the groups in float64
SECOND_ORDER = 1.001  # products of two relative errors, where a bound adds first-order terms


def unit_roundoff(dtype: Any) -> float:
    return float(np.finfo(dtype).eps) / 2


def gamma(n: float, dtype: Any) -> float:
    nu = n * unit_roundoff(dtype)
    return nu / (1 - nu)


def oracle_dtype(dtype: Any) -> Any:
    """What an oracle computes in: float64 for float32, the longest there is for float64."""
    return np.float64 if dtype == np.float32 else np.longdouble


def smallest(dtype: Any) -> float:
    """Return the smallest subnormal: what an operation may lose beside its relative error."""
    return float(np.finfo(dtype).smallest_subnormal)


# -- products --------------------------------------------------------------------------------------


def gemm_bound(
    k: int, dtype: Any, magnitude: Array, *, alpha: float = 1.0, bias: bool = False
) -> Array:
    """|err| of alpha A B + beta C + bias, componentwise.

    `magnitude` is |alpha||A||B| + |beta||C| + |bias|.  A product of k terms is k multiplications
    and k - 1 additions, of which a term sees k at most; alpha, beta and the bias add one each.
    """
    roundings = k + 2 + bias
    relative = gamma(roundings, dtype) + gamma(roundings, oracle_dtype(dtype))
    return relative * magnitude + roundings * max(1.0, abs(alpha)) * smallest(dtype)


# -- sums over rows --------------------------------------------------------------------------------


def roundings_of_a_sum(n: int, dtype: Any) -> float:
    """How many roundings in `dtype` a term of a sum of n sees, but for the last of the result.

    Those in its group, whose four chains are added up at its end; the groups, and in the end the
    lanes of a register, are added in float64, and weigh accordingly.
    """
    in_float64 = n / GROUP + 16
    return GROUP + 2 + in_float64 * unit_roundoff(np.float64) / unit_roundoff(dtype)


def relative_sum_error(n: int, dtype: Any) -> float:
    return gamma(roundings_of_a_sum(n, dtype), dtype) + gamma(n, oracle_dtype(dtype))


def sum_bound(n: int, dtype: Any, magnitude: Array) -> Array:
    """|err| of a sum of n terms; `magnitude` is the sum of their absolute values."""
    u = unit_roundoff(dtype)
    return (relative_sum_error(n, dtype) + u) * SECOND_ORDER * magnitude + n * smallest(dtype)


# -- batch norm ------------------------------------------------------------------------------------


@dataclass
class BatchNormBounds:
    """|err| of what batch norm computes: vectors of channels, y and dx of (rows, channels)."""

    mean: Array  # of the mean as rounded to the dtype
    total_mean: Array  # of the mean and its low part together, rounded in the end
    var: Array
    invstd: Array
    y: Array
    dbeta: Array | None = None
    dgamma: Array | None = None
    dx: Array | None = None


def batch_norm_bounds(
    x: Array,
    weight: Array,
    shift: Array,
    eps: float,
    mean: Array,
    dtype: Any,
    *,
    var: Array | None = None,
    g: Array | None = None,
) -> BatchNormBounds:
    """Bounds for x of (rows, channels), all arrays in the oracle's precision.

    `mean` is the kernel's: the exact one plus an error that the kernel knows, `low`, and corrects
    by y = (x - mean) * scale + (shift - low * scale).  With `var` given the statistics are
    constants and without error.  `g` is the gradient of the result, masked where ReLU cut it.
    """
    n, u, lost = x.shape[0], unit_roundoff(dtype), smallest(dtype)
    # Where the oracle has no more digits, its error is of the same kind and size.
    allowed = SECOND_ORDER * (1 + unit_roundoff(oracle_dtype(dtype)) / u)
    of_sum = relative_sum_error(n, dtype)
    d = x - mean
    if var is None:
        low = d.mean(axis=0)
        squares = (d * d).mean(axis=0)
        var = np.maximum(squares - low * low, 0)
        # Sums of deviations, each rounded once; their squares are rounded twice more.
        e_low = (of_sum + u) * abs(d).mean(axis=0) + u * abs(low) + lost
        e_var = (of_sum + 4 * u) * squares + 2 * abs(low) * e_low + e_low**2 + u * var + lost
        # The first pass adds up deviations from the first row.
        e_mean = (of_sum + u) * abs(x - x[0]).mean(axis=0) + u * abs(mean) + lost
        e_total = e_low + u * abs(mean + low)
    else:
        low = e_low = e_var = e_mean = e_total = np.zeros_like(mean)

    v = var + eps
    with np.errstate(divide="ignore", invalid="ignore"):
        rho = np.where(v > 0, e_var / v, 0)
        invstd = np.where(v > 0, 1 / np.sqrt(v), 0)
    r_invstd = 0.5 * rho / (1 - rho) + 4 * u  # the sum, the root, the quotient, the conversion
    r_scale = r_invstd + 2 * u
    scale = weight * invstd
    e_shift = abs(scale) * (e_low + abs(low) * (r_scale + u)) + 2 * u * (
        abs(shift) + abs(low * scale)
    )
    y = d * scale + (shift - low * scale)
    e_y = abs(d * scale) * (r_scale + 2 * u) + e_shift + 2 * u * abs(y) + lost
    bounds = BatchNormBounds(
        mean=e_mean * allowed,
        total_mean=e_total * allowed,
        var=e_var * allowed,
        invstd=invstd * r_invstd * allowed,
        y=e_y * allowed,
    )
    if g is None:
        return bounds

    # dbeta = sum g;  dgamma = invstd (sum g d - low sum g)
    total, product = g.sum(axis=0), (g * (d - low)).sum(axis=0)
    e_total = of_sum * abs(g).sum(axis=0) + lost
    e_product = (of_sum + 3 * u) * abs(g * d).sum(axis=0) + lost
    e_product = e_product + abs(low) * e_total + e_low * abs(total)
    dgamma = invstd * product
    e_dgamma = invstd * e_product + abs(dgamma) * (r_invstd + 3 * u)
    bounds.dbeta = (e_total + u * abs(total)) * allowed
    bounds.dgamma = (e_dgamma + lost) * allowed
    # dx = scale g + (slope (x - mean) + constant)
    e_dx = abs(scale * g) * (r_scale + 2 * u) + lost
    if e_low.any() or e_mean.any():
        slope = -scale * invstd * dgamma / n
        constant = -scale * total / n - slope * low
        e_slope = abs(scale * invstd) / n * e_dgamma + abs(slope) * (r_scale + r_invstd + 4 * u)
        e_constant = (
            abs(scale) / n * (e_total + abs(total) * (r_scale + 3 * u))
            + abs(low) * e_slope
            + abs(slope) * (e_low + u * abs(low))
            + u * abs(constant)
        )
        e_dx = e_dx + abs(d) * e_slope + e_constant
        e_dx = e_dx + 3 * u * (abs(scale * g) + abs(slope * d) + abs(constant))
    bounds.dx = e_dx * allowed
    return bounds
