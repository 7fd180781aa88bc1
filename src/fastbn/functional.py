"""The operations as functions: arrays in, arrays out, no state.

Each is a thin layer over the compiled module, which checks dtypes, shapes and sizes before it
writes anything.  Arrays are float32 or float64, all of one call the same; inputs may have any
strides; ``out=`` is written in place and returned.  ``N`` is the batch size, ``C`` the number of
channels.  A backward function takes the gradient of a scalar with respect to the forward's result
and returns the gradients with respect to the forward's arguments.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray

from fastbn import _core

__all__ = [
    "LinearBatchNormReLUCache",
    "batch_norm",
    "batch_norm_backward",
    "cross_entropy",
    "cross_entropy_backward",
    "gelu",
    "gelu_backward",
    "gemm",
    "leaky_relu",
    "leaky_relu_backward",
    "linear",
    "linear_backward",
    "linear_bn_relu",
    "linear_bn_relu_backward",
    "matmul",
    "relu",
    "relu_backward",
    "sigmoid",
    "sigmoid_backward",
    "softmax",
    "softmax_backward",
    "tanh",
    "tanh_backward",
]

Array: TypeAlias = NDArray[Any]

_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


# -- products ------------------------------------------------------------------------------------


def matmul(a: Any, b: Any, out: Any = None) -> Any:
    """Matrix product with the semantics of `numpy.matmul`.

    Parameters
    ----------
    a, b : array_like
        Anything that `numpy.matmul` takes.  Two 2-D arrays of the same dtype, float32 or float64,
        are multiplied by fastbn's kernel; everything else is handed to NumPy.
    out : ndarray, optional
        Receives the product; it may overlap `a` or `b`.

    Returns
    -------
    ndarray or scalar
        `out` if it was given.

    Raises
    ------
    ValueError, TypeError
        As `numpy.matmul` does.
    """
    if not (_is_matrix(a) and _is_matrix(b) and a.dtype == b.dtype and a.shape[1] == b.shape[0]):
        return np.matmul(a, b, out=out)
    if out is None:
        return _core.gemm(a, b)
    shape = (a.shape[0], b.shape[1])
    if not (
        _is_matrix(out) and out.dtype == a.dtype and out.shape == shape and out.flags.writeable
    ):
        return np.matmul(a, b, out=out)
    if out.flags.c_contiguous and not (np.may_share_memory(out, a) or np.may_share_memory(out, b)):
        return _core.gemm(a, b, out)
    out[...] = _core.gemm(a, b)
    return out


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
    _check_linear_backward(dy, x, weight, dweight, dbias)
    dy2, x2 = as_rows(dy), as_rows(x)
    dx = _core.gemm(dy2, weight, trans_b=True).reshape(x.shape) if need_dx else None
    dweight = _core.gemm(x2, dy2, dweight, trans_a=True)
    return dx, dweight, _core.column_sums(dy2, dbias)


# -- batch normalization -------------------------------------------------------------------------


def batch_norm(
    x: Array,
    gamma: Array | None,
    beta: Array | None,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    *,
    training: bool,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
    axis: int = 1,
    unbiased: bool = True,
    activation: Literal["relu"] | None = None,
    out: Array | None = None,
    num_batches_tracked: NDArray[np.int64] | None = None,
) -> tuple[Array, _core.BatchNormCache]:
    """Batch normalization, ``y = gamma * (x - mean) / sqrt(var + eps) + beta``, channel by channel.

    Parameters
    ----------
    x : ndarray, shape (N, C, ...) or (N, ..., C)
    gamma, beta : ndarray, shape (C,), or None
        Scale and shift; None stands for 1 and 0.
    running_mean, running_var : ndarray, shape (C,), optional
        Read if not `training`; if `training`, updated in place to
        ``(1 - momentum) * running + momentum * batch``.
    training : bool
        Normalize by the mean and biased variance of this batch instead of the running ones.
    momentum : float or None
        Weight of the *new* value, as in PyTorch (Keras and TensorFlow give the weight of the old
        one).  None is the cumulative average over all batches: weight 1 / (batches so far).
    eps : float
        Added to the variance, inside the root.
    axis : int
        The channel axis: 1 for (N, C) and NCHW, -1 for NHWC.
    unbiased : bool
        The running variance takes the batch's variance times n / (n - 1), as in PyTorch; False
        takes the biased one, as in Keras and most textbooks.
    activation : {"relu", None}
        Applied to y, to the same bits as a separate `relu`.
    out : ndarray, shape of `x`, optional
    num_batches_tracked : ndarray of int64, shape (), optional
        Counts the batches that entered the running statistics; one is added in place by a
        training call with values in it.  Needed if `momentum` is None.

    Returns
    -------
    y : ndarray, shape of `x`
    cache : BatchNormCache
        For `batch_norm_backward`; holds a reference to `x`.

    Raises
    ------
    TypeError
        If the dtypes differ or are not floats, or `num_batches_tracked` is no int64 array.
    ValueError
        If sizes do not fit, if a channel has one value only in training, if statistics are missing
        out of training, or if `momentum` is None without `num_batches_tracked`.

    Notes
    -----
    Ioffe and Szegedy, "Batch Normalization", 2015 (arXiv:1502.03167).  The defaults are those of
    ``torch.nn.functional.batch_norm``.
    """
    if num_batches_tracked is not None:
        _check_count(num_batches_tracked)
    if momentum is None:
        momentum = _cumulative_momentum(training, running_mean, num_batches_tracked)
    result = _core.batch_norm(
        x,
        gamma,
        beta,
        running_mean,
        running_var,
        training=training,
        momentum=momentum,
        eps=eps,
        axis=axis,
        unbiased=unbiased,
        activation=activation,
        out=out,
    )
    if training and num_batches_tracked is not None and x.size:
        num_batches_tracked += 1
    return result


def batch_norm_backward(
    dy: Array, cache: _core.BatchNormCache, *, out: Array | None = None
) -> tuple[Array, Array, Array]:
    """Gradients of `batch_norm`, for batch statistics and for frozen ones (``training=False``).

    Parameters
    ----------
    dy : ndarray, shape of x
    cache : BatchNormCache
        From `batch_norm`, with its activation if it had one.
    out : ndarray, shape of x, optional
        Receives dx.

    Returns
    -------
    dx : ndarray, shape of x
    dgamma, dbeta : ndarray, shape (C,)

    Raises
    ------
    TypeError, ValueError
        If `dy` or `out` has another shape or dtype than x.

    Notes
    -----
    With xhat the normalized input and n the values of a channel,
    ``dbeta = sum(dy)``, ``dgamma = sum(dy * xhat)`` and
    ``dx = gamma / sqrt(var + eps) * (dy - dbeta / n - xhat * dgamma / n)``; with frozen statistics
    the last two terms are absent.
    """
    return _core.batch_norm_backward(dy, cache, out=out)


class LinearBatchNormReLUCache(NamedTuple):
    """What `linear_bn_relu_backward` needs of the forward pass: references, no copies."""

    x: Array
    weight: Array
    has_bias: bool
    batch_norm: _core.BatchNormCache


def linear_bn_relu(
    x: Array,
    weight: Array,
    bias: Array | None,
    gamma: Array | None,
    beta: Array | None,
    running_mean: Array | None,
    running_var: Array | None,
    *,
    training: bool,
    momentum: float | None = 0.1,
    eps: float = 1e-5,
    unbiased: bool = True,
    num_batches_tracked: NDArray[np.int64] | None = None,
) -> tuple[Array, LinearBatchNormReLUCache]:
    """``relu(batch_norm(linear(x)))``, the same bits as the three calls one by one.

    Parameters
    ----------
    x : ndarray, shape (N, in)
    weight : ndarray, shape (in, out)
    bias : ndarray, shape (out,), or None
        The mean takes it out again, so that a net loses nothing by None.
    gamma, beta, running_mean, running_var : ndarray, shape (out,), or None
    training, momentum, eps, unbiased, num_batches_tracked
        As in `batch_norm`.

    Returns
    -------
    y : ndarray, shape (N, out)
    cache : LinearBatchNormReLUCache
        For `linear_bn_relu_backward`.

    Raises
    ------
    TypeError, ValueError
        As `gemm` and `batch_norm`.
    """
    y, cache = batch_norm(
        _core.gemm(x, weight, bias=bias),
        gamma,
        beta,
        running_mean,
        running_var,
        training=training,
        momentum=momentum,
        eps=eps,
        unbiased=unbiased,
        activation="relu",
        num_batches_tracked=num_batches_tracked,
    )
    return y, LinearBatchNormReLUCache(x, weight, bias is not None, cache)


def linear_bn_relu_backward(
    dy: Array,
    cache: LinearBatchNormReLUCache,
    *,
    need_dx: bool = True,
    dweight: Array | None = None,
    dbias: Array | None = None,
    dgamma: Array | None = None,
    dbeta: Array | None = None,
) -> tuple[Array | None, Array, Array | None, Array, Array]:
    """Gradients of `linear_bn_relu`.

    Parameters
    ----------
    dy : ndarray, shape (N, out)
    cache : LinearBatchNormReLUCache
    need_dx : bool
        False spares the product for dx.
    dweight, dbias, dgamma, dbeta : ndarray, optional
        Where the gradients are written; new arrays by default.

    Returns
    -------
    dx : ndarray, shape (N, in), or None unless `need_dx`
    dweight : ndarray, shape (in, out)
    dbias : ndarray, shape (out,), or None if the forward had no bias
    dgamma, dbeta : ndarray, shape (out,)

    Raises
    ------
    TypeError, ValueError
        If dtypes or shapes do not fit; nothing is written then.
    """
    x, weight = cache.x, cache.weight
    _check_linear_backward(dy, x, weight, dweight, dbias)
    dz, dgamma, dbeta = _core.batch_norm_backward(dy, cache.batch_norm, dgamma=dgamma, dbeta=dbeta)
    dx = _core.gemm(dz, weight, trans_b=True) if need_dx else None
    dweight = _core.gemm(x, dz, dweight, trans_a=True)
    dbias = _core.column_sums(dz, dbias) if cache.has_bias else None
    return dx, dweight, dbias, dgamma, dbeta


# -- activations ---------------------------------------------------------------------------------
#
# `x`, `y`, `dy` and `out` have one shape, any shape, and one dtype; `out` may be the input itself.
# Each backward names what it needs of the forward pass: the input x, the result y, or either.


def relu(x: Array, *, out: Array | None = None) -> Array:
    """``max(x, 0)``; NaN stays NaN."""
    return _core.activation_forward("relu", x, out)


def relu_backward(dy: Array, saved: Array, *, out: Array | None = None) -> Array:
    """``dy`` where `saved` > 0, else 0; `saved` is x or y of `relu`."""
    return _core.activation_backward("relu", dy, saved, out)


def leaky_relu(x: Array, slope: float = 0.01, *, out: Array | None = None) -> Array:
    """``x`` where x > 0, else ``slope * x`` (Maas et al., 2013); `slope` is at least 0."""
    return _core.activation_forward("leaky_relu", x, out, slope)


def leaky_relu_backward(
    dy: Array, saved: Array, slope: float = 0.01, *, out: Array | None = None
) -> Array:
    """``dy`` where `saved` > 0, else ``slope * dy``; `saved` is x or y of `leaky_relu`."""
    return _core.activation_backward("leaky_relu", dy, saved, out, slope)


def sigmoid(x: Array, *, out: Array | None = None) -> Array:
    """``1 / (1 + exp(-x))``, without overflow."""
    return _core.activation_forward("sigmoid", x, out)


def sigmoid_backward(dy: Array, y: Array, *, out: Array | None = None) -> Array:
    """``dy * y * (1 - y)``, from y of `sigmoid`."""
    return _core.activation_backward("sigmoid", dy, y, out)


def tanh(x: Array, *, out: Array | None = None) -> Array:
    """Hyperbolic tangent."""
    return _core.activation_forward("tanh", x, out)


def tanh_backward(dy: Array, y: Array, *, out: Array | None = None) -> Array:
    """``dy * (1 - y**2)``, from y of `tanh`."""
    return _core.activation_backward("tanh", dy, y, out)


def gelu(x: Array, *, out: Array | None = None) -> Array:
    """``x * Phi(x)``, Phi the normal distribution function (arXiv:1606.08415, the exact form)."""
    return _core.activation_forward("gelu", x, out)


def gelu_backward(dy: Array, x: Array, *, out: Array | None = None) -> Array:
    """``dy * (Phi(x) + x * phi(x))``, from x of `gelu`; phi is the normal density."""
    return _core.activation_backward("gelu", dy, x, out)


def softmax(x: Array, *, out: Array | None = None) -> Array:
    """``exp(x) / sum(exp(x))`` over the last axis, without overflow."""
    return _core.softmax(x, out)


def softmax_backward(dy: Array, y: Array, *, out: Array | None = None) -> Array:
    """``y * (dy - sum(dy * y))`` over the last axis, from y of `softmax`."""
    return _core.softmax_backward(dy, y, out)


# -- loss ----------------------------------------------------------------------------------------


def cross_entropy(
    logits: Array, labels: NDArray[np.integer[Any]], *, label_smoothing: float = 0.0
) -> tuple[float, _core.CrossEntropyCache]:
    """Softmax cross-entropy, the mean over the rows.

    Parameters
    ----------
    logits : ndarray, shape (N, classes)
        Scores before softmax.
    labels : ndarray of any integer dtype, shape (N,)
        The right class of each row, 0 <= label < classes.
    label_smoothing : float
        This part of the target is spread evenly over all classes (Szegedy et al., 2016,
        arXiv:1512.00567, section 7), as in ``torch.nn.functional.cross_entropy``.

    Returns
    -------
    loss : float
        In nats.
    cache : CrossEntropyCache
        For `cross_entropy_backward`.

    Raises
    ------
    TypeError
        If `logits` are not floats or `labels` not integers.
    ValueError
        If the shapes do not fit or a label is out of range.
    """
    return _core.cross_entropy(logits, labels, label_smoothing=label_smoothing)


def cross_entropy_backward(cache: _core.CrossEntropyCache, *, out: Array | None = None) -> Array:
    """Gradient of `cross_entropy` by the logits: ``(softmax - target) / N``.

    Parameters
    ----------
    cache : CrossEntropyCache
    out : ndarray, shape (N, classes), optional

    Returns
    -------
    ndarray, shape (N, classes)
    """
    return _core.cross_entropy_backward(cache, out)


# -- checks that the compiled module cannot make, as it sees one call at a time --------------------


def _is_matrix(a: object) -> TypeGuard[Array]:
    """Whether the kernel takes it as it is; subclasses have multiplication rules of their own."""
    return type(a) is np.ndarray and a.ndim == 2 and a.dtype in _FLOATS and a.flags.aligned


def as_rows(x: Array) -> Array:
    """`x` as a matrix of its last axis, a view where the strides allow it."""
    if x.ndim == 2:
        return x
    if x.ndim == 0:
        raise ValueError(f"needs at least 1 dimension, got shape {x.shape}")
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def _cumulative_momentum(
    training: bool, running_mean: Array | None, count: NDArray[np.int64] | None
) -> float:
    """Weight of a new batch in the average of all: one over their number."""
    if not training or running_mean is None:
        return 0.0
    if count is None:
        raise ValueError("momentum=None, the cumulative average, needs num_batches_tracked")
    return 1.0 / (int(count) + 1)


def _check_count(count: NDArray[np.int64]) -> None:
    """Refuse what cannot be counted up in place."""
    if not isinstance(count, np.ndarray) or count.dtype != np.int64:
        kind = getattr(count, "dtype", type(count).__name__)
        raise TypeError(f"num_batches_tracked must be an array of int64, got {kind}")
    if count.shape != () or not count.flags.writeable:
        raise ValueError(
            f"num_batches_tracked must have shape () and be writeable, got shape {count.shape}"
        )


def _check_linear_backward(
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
    _check_output("dweight", dweight, weight.shape, weight.dtype)
    _check_output("dbias", dbias, weight.shape[1:], weight.dtype)


def _check_output(
    name: str, out: Array | None, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> None:
    if out is None:
        return
    if out.dtype != dtype:
        raise TypeError(f"{name} is {out.dtype}, but the inputs are {dtype}")
    if out.shape != shape:
        raise ValueError(f"{name} has shape {out.shape}, but needs {shape}")
    if not out.flags.writeable:
        raise ValueError(f"{name} is read-only")
