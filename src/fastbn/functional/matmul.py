"""`numpy.matmul`, on fastbn's kernels where they apply."""

from __future__ import annotations

from typing import Any, TypeGuard

import numpy as np

from fastbn import _core
from fastbn.functional.array import Array

__all__ = ["matmul"]

_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))

# Multiply-adds of one matrix of a stack, below which NumPy's loop over the stack is the faster: a
# call of the kernel from Python takes about 1 us.
_SMALL = 4096


@_core.plain_matrices_first
def matmul(a: Any, b: Any, out: Any = None) -> Any:
    """Matrix product with the semantics of `numpy.matmul`.

    Parameters
    ----------
    a, b : array_like, shapes (..., m, k) and (..., k, n), or (k,)
        Anything that `numpy.matmul` takes.  Vectors, matrices and stacks of one dtype, float32 or
        float64, are multiplied by fastbn's kernels, and so are tensors that offer their memory by
        DLPack; other and mixed dtypes, subclasses of ndarray and what is no array are handed to
        NumPy.
    out : ndarray, shape (..., m, n), optional
        Receives the product; it may overlap `a` or `b`.

    Returns
    -------
    ndarray or scalar
        `out` if it was given.

    Raises
    ------
    ValueError, TypeError
        As `numpy.matmul` does.

    Notes
    -----
    A row of a product of fastbn's has the same bits whatever the other rows, the number of threads
    and the strides.  NumPy promises nothing of the kind; its are, beside other dtypes, the product
    of two vectors, which takes a sum in parts to be fast, and the stacks whose matrices take fewer
    than 4,096 multiply-adds each.

    The GIL is released while a product of more than 250,000 floating-point operations runs, an
    element of the result counting for 16.
    """
    # Two plain matrices, one and a vector, and stacks do not come here; two vectors, a vector and a
    # stack, empty operands, overlaps and others do.
    a, b = _without_dlpack(a), _without_dlpack(b)
    if not (_is_ours(a) and _is_ours(b) and a.dtype == b.dtype) or a.ndim == b.ndim == 1:
        return np.matmul(a, b, out=out)
    rows = a if a.ndim > 1 else a[np.newaxis, :]
    columns = b if b.ndim > 1 else b[:, np.newaxis]
    shape = _stack_shape(rows, columns)
    if shape is None or not (out is None or _is_ours(out)):
        return np.matmul(a, b, out=out)
    product = _stack(rows, columns, shape)
    if a.ndim == 1:
        product = product[..., 0, :]
    if b.ndim == 1:
        product = product[..., 0]
    if out is None:
        return product[()]  # a scalar of two vectors, as NumPy has it
    if out.dtype != product.dtype or out.shape != product.shape or not out.flags.writeable:
        return np.matmul(a, b, out=out)
    out[...] = product
    return out


def _without_dlpack(a: Any) -> Any:
    """View the memory of a tensor of another library; leave anything else as it is."""
    foreign = hasattr(a, "__dlpack__") and not isinstance(a, np.ndarray)
    return np.from_dlpack(a) if foreign else a


def _is_ours(a: object) -> TypeGuard[Array]:
    """Whether the kernels take it; subclasses have multiplication rules of their own."""
    return type(a) is np.ndarray and a.ndim > 0 and a.dtype in _FLOATS


def _stack_shape(a: Array, b: Array) -> tuple[int, ...] | None:
    """Shape of the product of two stacks of matrices; None if NumPy should see to it."""
    (m, k), (k_b, n) = a.shape[-2:], b.shape[-2:]
    if k != k_b:
        return None  # its message names the signature
    if a.ndim == b.ndim == 2:
        return m, n
    try:
        stack = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        return None
    return None if m * n * k < _SMALL else (*stack, m, n)


def _stack(a: Array, b: Array, shape: tuple[int, ...]) -> Array:
    """Multiply two stacks of matrices, place by place."""
    product = np.empty(shape, a.dtype)
    a = np.broadcast_to(a, shape[:-2] + a.shape[-2:])
    b = np.broadcast_to(b, shape[:-2] + b.shape[-2:])
    for place in np.ndindex(shape[:-2]):
        _core.gemm(a[place], b[place], product[place])
    return product
