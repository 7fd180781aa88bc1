"""The general matrix product, and the affine layer made of it."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from fastbn import _core
from fastbn.functional.array import Array, as_array, as_rows

__all__ = ["check_linear_backward", "check_output", "gemm", "linear", "linear_backward"]


def gemm(
    a: Array,
    b: Array,
    c: Array | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 0.0,
    trans_a: bool = False,
    trans_b: bool = False,
    bias: Array | None = None,
    activation: Literal["relu"] | None = None,
) -> Array:
    """General matrix product ``c = f(alpha * op(a) @ op(b) + beta * c + bias)``.

    Parameters
    ----------
    a : ndarray, shape (m, k), or (k, m) if `trans_a`
    b : ndarray, shape (k, n), or (n, k) if `trans_b`
    c : ndarray, shape (m, n), optional
        Written in place; its old values count only if `beta` is not 0.  A new array by default.
    alpha, beta : float
        Weights of the product and of the old `c`.
    trans_a, trans_b : bool
        Take the transpose of `a` or `b`.
    bias : ndarray, shape (n,), optional
        Added to every row.
    activation : {"relu", None}
        Applied last, to the same bits as a separate `relu`.

    Returns
    -------
    ndarray, shape (m, n)
        `c` if it was given.

    Raises
    ------
    TypeError
        If the dtypes differ or are not floats.
    ValueError
        If the sizes do not fit, or `beta` is not 0 and there is no `c`.

    Notes
    -----
    The interface is that of level-3 BLAS (Dongarra et al., 1990) without leading dimensions,
    which an array's strides give.
    """
    return _core.gemm(
        a,
        b,
        c,
        alpha=alpha,
        beta=beta,
        trans_a=trans_a,
        trans_b=trans_b,
        bias=bias,
        activation=activation,
    )


def linear(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    activation: Literal["relu"] | None = None,
) -> Array:
    """Affine map of the last axis, ``y = f(x @ weight + bias)``.

    Parameters
    ----------
    x : ndarray, shape (..., in)
    weight : ndarray, shape (in, out)
        The transpose of PyTorch's, as nets written in NumPy have it.
    bias : ndarray, shape (out,), optional
    activation : {"relu", None}

    Returns
    -------
    ndarray, shape (..., out)

    Raises
    ------
    TypeError, ValueError
        As `gemm`.
    """
    x = as_array("x", x)
    y = _core.gemm(as_rows(x), weight, bias=bias, activation=activation)
    return y.reshape(*x.shape[:-1], y.shape[1])


def linear_backward(
    dy: Array,
    x: Array,
    weight: Array,
    *,
    need_dx: bool = True,
    dweight: Array | None = None,
    dbias: Array | None = None,
) -> tuple[Array | None, Array, Array]:
    """Gradients of `linear`: ``dx = dy @ weight.T``, ``dweight = x.T @ dy``, ``dbias = sum(dy)``.

    Parameters
    ----------
    dy : ndarray, shape (..., out)
    x : ndarray, shape (..., in)
    weight : ndarray, shape (in, out)
    need_dx : bool
        False spares the first layer of a net a product that nobody reads.
    dweight : ndarray, shape (in, out), optional
    dbias : ndarray, shape (out,), optional
        Where the gradients are written; new arrays by default.

    Returns
    -------
    dx : ndarray, shape (..., in), or None unless `need_dx`
    dweight : ndarray, shape (in, out)
    dbias : ndarray, shape (out,)

    Raises
    ------
    TypeError, ValueError
        If dtypes or shapes do not fit; nothing is written then.
    """
    dy, x, weight = as_array("dy", dy), as_array("x", x), as_array("weight", weight)
    check_linear_backward(dy, x, weight, dweight, dbias)
    dy2, x2 = as_rows(dy), as_rows(x)
    dx, dweight, dbias = _core.linear_backward(
        dy2, x2, weight, need_dx, True, dweight=dweight, dbias=dbias
    )
    assert dbias is not None
    return None if dx is None else dx.reshape(x.shape), dweight, dbias


# -- checks that the compiled module cannot make, as it sees one call at a time --------------------


def check_linear_backward(
    dy: Array, x: Array, weight: Array, dweight: Array | None, dbias: Array | None
) -> None:
    """Check everything before the first of three products writes."""
    if weight.ndim != 2 or x.shape[-1:] != weight.shape[:1]:
        raise ValueError(f"x has shape {x.shape}, but weight has {weight.shape}")
    if dy.shape != (*x.shape[:-1], weight.shape[1]):
        raise ValueError(
            f"dy has shape {dy.shape}, but x {x.shape} and weight {weight.shape} "
            f"need {(*x.shape[:-1], weight.shape[1])}"
        )
    if not dy.dtype == x.dtype == weight.dtype:
        raise TypeError(f"dy, x and weight are {dy.dtype}, {x.dtype} and {weight.dtype}")
    check_output("dweight", dweight, weight.shape, weight.dtype)
    check_output("dbias", dbias, weight.shape[1:], weight.dtype)


def check_output(
    name: str, out: Array | None, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> None:
    """Check where a gradient is to go, if somebody said where."""
    if out is None:
        return
    if out.dtype != dtype:
        raise TypeError(f"{name} is {out.dtype}, but the inputs are {dtype}")
    if out.shape != shape:
        raise ValueError(f"{name} has shape {out.shape}, but needs {shape}")
    if not out.flags.writeable:
        raise ValueError(f"{name} is read-only")
