"""Activations and their gradients: elementwise, but for softmax.

All arrays of a call have one dtype, float32 or float64.  Each backward names what it needs of the
forward pass: its argument x, its result y, or either of the two.
"""

from __future__ import annotations

from fastbn import _core
from fastbn.functional.array import Array

__all__ = [
    "gelu",
    "gelu_backward",
    "leaky_relu",
    "leaky_relu_backward",
    "relu",
    "relu_backward",
    "sigmoid",
    "sigmoid_backward",
    "softmax",
    "softmax_backward",
    "tanh",
    "tanh_backward",
]


def relu(x: Array, *, out: Array | None = None) -> Array:
    """Compute ``max(x, 0)``; NaN stays NaN.

    Parameters
    ----------
    x : ndarray, any shape
    out : ndarray, shape of x, optional
        Receives the result; may be `x` itself.

    Returns
    -------
    ndarray, shape of x

    Raises
    ------
    TypeError, ValueError
        If dtypes or shapes do not fit; nothing is written then.

    Notes
    -----
    Nair and Hinton, ICML 2010.
    """
    return _core.activation_forward("relu", x, out)


def relu_backward(dy: Array, saved: Array, *, out: Array | None = None) -> Array:
    """Compute ``dy`` where `saved` is not <= 0, else 0.

    Parameters
    ----------
    dy : ndarray, any shape
        Gradient of a scalar by the result.
    saved : ndarray, shape of dy
        x or y of `relu`.
    out : ndarray, shape of dy, optional
        Receives dx; may be `dy` itself.

    Returns
    -------
    dx : ndarray, shape of dy

    Raises
    ------
    TypeError, ValueError
        If dtypes or shapes do not fit; nothing is written then.
    """
    return _core.activation_backward("relu", dy, saved, out)


def leaky_relu(x: Array, slope: float = 0.01, *, out: Array | None = None) -> Array:
    """Compute x where x > 0, else ``slope * x``.

    Parameters
    ----------
    x : ndarray, any shape
    slope : float
        At least 0.
    out : ndarray, shape of x, optional
        Receives the result; may be `x` itself.

    Returns
    -------
    ndarray, shape of x

    Raises
    ------
    TypeError, ValueError
        If dtypes or shapes do not fit; nothing is written then.

    Notes
    -----
    Maas, Hannun and Ng, ICML 2013.
    """
    return _core.activation_forward("leaky_relu", x, out, slope)


def leaky_relu_backward(
    dy: Array, saved: Array, slope: float = 0.01, *, out: Array | None = None
) -> Array:
    """Compute ``dy`` where `saved` is not <= 0, else ``slope * dy``.

    Parameters
    ----------
    dy : ndarray, any shape
        Gradient of a scalar by the result.
    saved : ndarray, shape of dy
        x or y of `leaky_relu`.
    slope : float
        At least 0.
    out : ndarray, shape of dy, optional
        Receives dx; may be `dy` itself.

    Returns
    -------
    dx : ndarray, shape of dy

    Raises
    ------
    TypeError, ValueError
        If dtypes or shapes do not fit; nothing is written then.
    """
    return _core.activation_backward("leaky_relu", dy, saved, out, slope)


def sigmoid(x: Array, *, out: Array | None = None) -> Array:
    """Compute ``1 / (1 + exp(-x))``, without overflow.

    Parameters
    ----------
    x : ndarray, any shape
    out : ndarray, shape of x, optional
        Receives the result; may be `x` itself.

    Returns
    -------
    ndarray, shape of x

    Raises
    ------
    TypeError, ValueError
        If dtypes or shapes do not fit; nothing is written then.
    """
    return _core.activation_forward("sigmoid", x, out)


def sigmoid_backward(dy: Array, y: Array, *, out: Array | None = None) -> Array:
    """Compute ``dy * y * (1 - y)``.

    Parameters
    ----------
    dy : ndarray, any shape
        Gradient of a scalar by the result.
    y : ndarray, shape of dy
        Result of `sigmoid`.
    out : ndarray, shape of dy, optional
        Receives dx; may be `dy` itself.

    Returns
    -------
    dx : ndarray, shape of dy

    Raises
    ------
    TypeError, ValueError
        If dtypes or shapes do not fit; nothing is written then.
    """
    return _core.activation_backward("sigmoid", dy, y, out)


def tanh(x: Array, *, out: Array | None = None) -> Array:
    """Compute the hyperbolic tangent.

    Parameters
    ----------
    x : ndarray, any shape
    out : ndarray, shape of x, optional
        Receives the result; may be `x` itself.

    Returns
    -------
    ndarray, shape of x

    Raises
    ------
    TypeError, ValueError
        If dtypes or shapes do not fit; nothing is written then.
    """
    return _core.activation_forward("tanh", x, out)


def tanh_backward(dy: Array, y: Array, *, out: Array | None = None) -> Array:
    """Compute ``dy * (1 - y**2)``.

    Parameters
    ----------
    dy : ndarray, any shape
        Gradient of a scalar by the result.
    y : ndarray, shape of dy
        Result of `tanh`.
    out : ndarray, shape of dy, optional
        Receives dx; may be `dy` itself.

    Returns
    -------
    dx : ndarray, shape of dy

    Raises
    ------
    TypeError, ValueError
        If dtypes or shapes do not fit; nothing is written then.
    """
    return _core.activation_backward("tanh", dy, y, out)


def gelu(x: Array, *, out: Array | None = None) -> Array:
    """Compute ``x * Phi(x)``, Phi the normal distribution function.

    Parameters
    ----------
    x : ndarray, any shape
    out : ndarray, shape of x, optional
        Receives the result; may be `x` itself.

    Returns
    -------
    ndarray, shape of x

    Raises
    ------
    TypeError, ValueError
        If dtypes or shapes do not fit; nothing is written then.

    Notes
    -----
    Hendrycks and Gimpel, 2016 (arXiv:1606.08415): the exact form, as ``torch.nn.GELU()``.
    """
    return _core.activation_forward("gelu", x, out)


def gelu_backward(dy: Array, x: Array, *, out: Array | None = None) -> Array:
    """Compute ``dy * (Phi(x) + x * phi(x))``, phi the normal density.

    Parameters
    ----------
    dy : ndarray, any shape
        Gradient of a scalar by the result.
    x : ndarray, shape of dy
        Argument of `gelu`.
    out : ndarray, shape of dy, optional
        Receives dx; may be `dy` itself.

    Returns
    -------
    dx : ndarray, shape of dy

    Raises
    ------
    TypeError, ValueError
        If dtypes or shapes do not fit; nothing is written then.
    """
    return _core.activation_backward("gelu", dy, x, out)


def softmax(x: Array, *, out: Array | None = None) -> Array:
    """Compute ``exp(x) / sum(exp(x))`` over the last axis, without overflow.

    Parameters
    ----------
    x : ndarray, any shape
    out : ndarray, shape of x, optional
        Receives the result; may be `x` itself.

    Returns
    -------
    ndarray, shape of x

    Raises
    ------
    TypeError, ValueError
        If dtypes or shapes do not fit; nothing is written then.
    """
    return _core.softmax(x, out)


def softmax_backward(dy: Array, y: Array, *, out: Array | None = None) -> Array:
    """Compute ``y * (dy - sum(dy * y))`` over the last axis.

    Parameters
    ----------
    dy : ndarray, any shape
        Gradient of a scalar by the result.
    y : ndarray, shape of dy
        Result of `softmax`.
    out : ndarray, shape of dy, optional
        Receives dx; may be `dy` itself.

    Returns
    -------
    dx : ndarray, shape of dy

    Raises
    ------
    TypeError, ValueError
        If dtypes or shapes do not fit; nothing is written then.
    """
    return _core.softmax_backward(dy, y, out)
