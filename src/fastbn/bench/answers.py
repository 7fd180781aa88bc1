"""Whether a library computed what was asked: comparisons with float64, within derived bounds.

u is the unit roundoff.  A sum of n terms in any order is off by at most n u times the sum of their
magnitudes, to first order (Higham, Accuracy and Stability of Numerical Algorithms, 4.2).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastbn.bench.operands import (
    EPS,
    Array,
    NormalizationOperands,
    ProductOperands,
)
from fastbn.bench.shapes import Normalization

_ROWS = 16  # of a product are looked at: all of them take longer than the measurement


class WrongAnswerError(ArithmeticError):
    """A library computed something else."""


def check_product(operands: ProductOperands, c: Array) -> None:
    """Compare rows of C with the product in float64.

    Raises
    ------
    WrongAnswerError
    """
    a, b = operands.a, operands.b
    rows = np.unique(np.linspace(0, len(a) - 1, _ROWS).astype(int))
    left, right = a[rows].astype(np.float64), b.astype(np.float64)
    # One rounding a product and one a sum; float64 is held to a reference in float64: twice that.
    bound = 2 * (a.shape[1] + 1) * _unit(c) * (np.abs(left) @ np.abs(right))
    _compare("the product", c[rows], left @ right, bound)


def check_normalization(
    case: Normalization, operands: NormalizationOperands, results: Sequence[Array]
) -> None:
    """Compare y, or dx, dgamma and dbeta, with the definition in float64.

    Raises
    ------
    WrongAnswerError
    """
    x, dy = operands.x.astype(np.float64), operands.dy.astype(np.float64)
    gamma, beta = (_along(case, v.astype(np.float64)) for v in (operands.gamma, operands.beta))
    axes = tuple(i for i in range(x.ndim) if i != case.axis % x.ndim)
    n, u = x.size // case.channels, _unit(operands.x)
    if case.operation == "inference":
        mean, var = (_along(case, v) for v in (operands.running_mean, operands.running_var))
        n = 1
    else:
        mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    invstd = 1 / np.sqrt(var + EPS)
    xhat = (x - mean) * invstd
    # Errors of mean and variance, n terms each, relative to the deviation; a few for the rest.
    error = (4 * n + 32) * u * (1 + np.abs(xhat))
    if case.operation != "backward":
        _compare("y", results[0], gamma * xhat + beta, error * (np.abs(gamma) + np.abs(beta)))
        return
    dbeta = dy.sum(axes, keepdims=True)
    dgamma = (dy * xhat).sum(axes, keepdims=True)
    size = np.abs(dy).sum(axes, keepdims=True)
    size_hat = np.abs(dy * xhat).sum(axes, keepdims=True)
    dx = gamma * invstd * (dy - dbeta / n - xhat * dgamma / n)
    magnitude = np.abs(dy) + size / n + np.abs(xhat) * size_hat / n
    _compare("dx", results[0], dx, error * np.abs(gamma) * invstd * magnitude)
    _compare("dgamma", results[1], dgamma.ravel(), (4 * n + 32) * u * (size + size_hat).ravel())
    _compare("dbeta", results[2], dbeta.ravel(), 2 * n * u * size.ravel())


def check_losses(losses: Sequence[float], expected: Sequence[float]) -> None:
    """Compare the losses of the first training steps with those in float64.

    The errors of float32 are of the order of 1e-5 after three steps; a gradient or an update that
    is wrong shows from the second one on.

    Raises
    ------
    WrongAnswerError
    """
    _compare("the loss", np.array(losses), np.array(expected), np.full(len(expected), 2e-3))


def _along(case: Normalization, values: Array) -> Array:
    shape = [1] * len(case.shape)
    shape[case.axis] = len(values)
    return values.reshape(shape)


def _unit(array: Array) -> float:
    return float(np.finfo(array.dtype).eps) / 2


def _compare(name: str, got: Array, expected: Array, bound: Array) -> None:
    if got.shape != expected.shape:
        raise WrongAnswerError(f"{name} has shape {got.shape}, not {expected.shape}")
    error = np.abs(got - expected)
    if not (error <= bound).all():  # not: also for NaN
        worst = float(np.max(error / bound))
        raise WrongAnswerError(f"{name} is wrong by {worst:.3g} times the bound")
