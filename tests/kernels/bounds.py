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

PIECE_ROWS, PIECE_VALUES = 128, 16 * 1024  # channels last, channels first
WIDTHS = (1, 2, 4, 8, 16)  # lanes of a register, of all instruction sets


def _pieces(n: int, inner: int) -> list[slice]:
    """Cut a channel's positions, as the kernels take their moments."""
    cols = min(inner, PIECE_VALUES)
    rows = PIECE_ROWS if inner == 1 else max(1, PIECE_VALUES // cols)
    if rows > 1 or cols == inner:
        return [slice(i, min(i + rows * cols, n)) for i in range(0, n, rows * cols)]
    return [
        slice(o + j, o + min(j + cols, inner))
        for o in range(0, n, inner)
        for j in range(0, inner, cols)
    ]


def _first_values(n: int, inner: int) -> set[int]:
    """How many values of a piece of n give its center; channels first, for every width."""
    if inner == 1:
        return {min(n, GROUP)}
    counts = set()
    for width in WIDTHS:
        most, cols = GROUP * 4 * width, min(inner, n)
        if cols > most:
            counts.add(most)
            continue
        rows = 1 + cols % 2 if most < 2 * cols else most // cols // 2 * 2
        counts.add(min(rows * cols, n))
    return counts


@dataclass
class _Moments:
    n: float
    mean: Array
    squares: Array
    e_mean: Array
    e_squares: Array
    centers: Array  # one or several, which the kernel may have used
    distance: Array  # of the mean from the center at most


def _moments_of_piece(x: Array, w: Array, inner: int, dtype: Any) -> _Moments:
    """Bound the errors of one piece's moments: docs/numerics.md derives them.

    With d = x - center the kernel adds up w d and w d^2, and with D = |center - mean|

        squares = sum(w d^2) - sum(w d)^2 / n,  sum(w d^2) = squares + n D^2,  |sum(w d)| = n D
    """
    u, lost = unit_roundoff(dtype), smallest(dtype)
    n, column = w.sum(), w[:, None]
    counted = np.flatnonzero(w)
    first = x[counted[0]]
    mean = first + (column * (x - first)).sum(axis=0) / n
    centers, distance = [], np.zeros_like(mean)
    # With weights the center is the mean of the whole piece.
    counts = _first_values(len(x), inner) if (w == 1).all() else set()
    for count in counts | {len(x)}:
        part = column[:count]
        total = part.sum() if part.any() else 1
        center = first + (part * (x[:count] - first)).sum(axis=0) / total
        rounded = (GROUP + 6) * u * (part * abs(x[:count] - first)).sum(axis=0) / total
        distance = np.maximum(distance, abs(center - mean) + rounded + u * abs(center))
        centers.append(center)
    deviations = column * abs(x - mean)
    squares = (deviations * abs(x - mean)).sum(axis=0)
    of_sum = relative_sum_error(len(x), dtype)
    e_sum = (of_sum + u) * (deviations.sum(axis=0) + n * distance) + len(x) * lost
    e_second = (of_sum + 3 * u) * (squares + n * distance**2) + len(x) * lost
    e_squares = e_second + 2 * distance * e_sum + e_sum**2 / n
    return _Moments(n, mean, squares, e_sum / n, e_squares, np.array(centers), distance)


def _moments(x: Array, w: Array, inner: int, dtype: Any) -> _Moments:
    """Bound the errors of mean and squares after all pieces are merged, in float64."""
    pieces = [
        _moments_of_piece(x[cut], w[cut], inner, dtype)
        for cut in _pieces(len(x), inner)
        if w[cut].any()
    ]
    u = unit_roundoff(np.float64)
    centers = np.concatenate([p.centers for p in pieces])
    spread = np.ptp(centers, axis=0) + 2 * np.max([p.distance for p in pieces], axis=0)
    all_, *rest = pieces
    for p in rest:
        n, part, weight = all_.n + p.n, p.n / (all_.n + p.n), all_.n * p.n / (all_.n + p.n)
        d = abs(p.mean - all_.mean)
        e_d = all_.e_mean + p.e_mean + 5 * u * spread
        squares = all_.squares + p.squares + d * d * weight
        e_squares = all_.e_squares + p.e_squares + weight * (2 * d * e_d + e_d**2 + 5 * u * d * d)
        all_ = _Moments(
            n,
            all_.mean + (p.mean - all_.mean) * part,
            squares,
            (1 - part) * all_.e_mean + part * (p.e_mean + 8 * u * spread) + u * spread,
            e_squares + 2 * u * squares,
            all_.centers,
            all_.distance,
        )
    all_.e_mean = all_.e_mean + 2 * u * spread
    return all_


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
    inner: int = 1,
    counts: Array | None = None,
) -> BatchNormBounds:
    """Bounds for x of (rows, channels), all arrays in the oracle's precision.

    `inner` positions of a channel are neighbours in memory, 1 if channels come last.  `counts` are
    the weights of the rows; where one is 0, x and g must be finite.

    `mean` is the kernel's: the exact one plus an error that the kernel knows, `low`, and corrects
    by y = (x - mean) * scale + (shift - low * scale).  With `var` given the statistics are
    constants and without error.  `g` is the gradient of the result, masked where ReLU cut it.
    """
    u, lost = unit_roundoff(dtype), smallest(dtype)
    w = np.ones(len(x), x.dtype) if counts is None else counts.astype(x.dtype)
    n, column = w.sum(), w[:, None]
    # Where the oracle has no more digits, its error is of the same kind and size.
    allowed = SECOND_ORDER * (1 + unit_roundoff(oracle_dtype(dtype)) / u)
    of_sum = relative_sum_error(len(x), dtype)
    d = x - mean
    if var is None:
        moments = _moments(x, w, inner, dtype)
        low = (column * d).sum(axis=0) / n
        var = moments.squares / n
        e_low = moments.e_mean + u * abs(low) + lost
        e_var = moments.e_squares / n + 2 * u * var + lost
        e_mean = e_total = e_low + u * abs(mean + low)
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

    # dbeta = sum g;  dgamma = invstd (sum g d - low sum g), both where the weight is not 0
    g = np.where(column > 0, g, 0)
    total, product = g.sum(axis=0), (g * (d - low)).sum(axis=0)
    e_total = of_sum * abs(g).sum(axis=0) + lost
    e_product = (of_sum + 3 * u) * abs(g * d).sum(axis=0) + lost
    e_product = e_product + abs(low) * e_total + e_low * abs(total)
    dgamma = invstd * product
    e_dgamma = invstd * e_product + abs(dgamma) * (r_invstd + 3 * u)
    bounds.dbeta = (e_total + u * abs(total)) * allowed
    bounds.dgamma = (e_dgamma + lost) * allowed
    # dx = scale g + w (slope (x - mean) + constant)
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
        e_shared = abs(d) * e_slope + e_constant + 4 * u * (abs(slope * d) + abs(constant))
        e_dx = e_dx + column * e_shared + 3 * u * abs(scale * g)
    bounds.dx = e_dx * allowed
    return bounds
