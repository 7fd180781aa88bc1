"""The affine layer and the rectifier."""

from __future__ import annotations

from typing import TypeAlias

from fastbn.compat.arrays import common_dtype, flattened, float_array
from fastbn.functional import Array, linear, linear_backward, relu
from fastbn.functional import relu_backward as relu_gradient

__all__ = ["AffineCache", "affine_backward", "affine_forward", "relu_backward", "relu_forward"]

AffineCache: TypeAlias = tuple[Array, Array, Array]


def affine_forward(x: Array, w: Array, b: Array) -> tuple[Array, AffineCache]:
    """Fully connected layer, ``out = x @ w + b``, each sample flattened.

    Parameters
    ----------
    x : ndarray, shape (N, d1, ..., dk)
    w : ndarray, shape (D, M)
        D is the product of d1 to dk.
    b : ndarray, shape (M,)

    Returns
    -------
    out : ndarray, shape (N, M)
    cache : tuple
        ``(x, w, b)``, the arrays themselves.

    Raises
    ------
    TypeError, ValueError
        If dtypes or shapes do not fit.

    Notes
    -----
    The interface is that of ``cs231n.layers``.
    """
    as_given = x, w, b
    x, w, b = common_dtype(x=x, w=w, b=b)
    return linear(flattened("x", x), w, b), as_given


def affine_backward(dout: Array, cache: AffineCache) -> tuple[Array, Array, Array]:
    """Gradients of `affine_forward`.

    Parameters
    ----------
    dout : ndarray, shape (N, M)
    cache : tuple
        Of `affine_forward`.

    Returns
    -------
    dx : ndarray, shape (N, d1, ..., dk)
    dw : ndarray, shape (D, M)
    db : ndarray, shape (M,)

    Raises
    ------
    TypeError, ValueError
        If `dout` does not fit.
    """
    dout, x, w = common_dtype(dout=dout, x=cache[0], w=cache[1])
    dx, dw, db = linear_backward(dout, flattened("x", x), w)
    assert dx is not None  # as need_dx is True
    return dx.reshape(x.shape), dw, db


def relu_forward(x: Array) -> tuple[Array, Array]:
    """``out = max(x, 0)``.

    Parameters
    ----------
    x : ndarray, any shape

    Returns
    -------
    out : ndarray, shape of x
    cache : ndarray
        x itself.

    Raises
    ------
    TypeError
        If x is not of numbers.
    """
    return relu(float_array("x", x)), x


def relu_backward(dout: Array, cache: Array) -> Array:
    """Gradient of `relu_forward`.

    Parameters
    ----------
    dout : ndarray, shape of x
    cache : ndarray
        Of `relu_forward`.

    Returns
    -------
    dx : ndarray, shape of x

    Raises
    ------
    TypeError, ValueError
        If `dout` does not fit.
    """
    dout, x = common_dtype(dout=dout, x=cache)
    return relu_gradient(dout, x)
