"""What is checked before a training or an evaluation begins."""

from __future__ import annotations

import operator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbn.layers import BatchNorm1d, BatchNorm2d, Layer, Rescaling, Sequential

Array: TypeAlias = NDArray[Any]


class Accepted(NamedTuple):
    """What a net takes: samples of `dtype` (None takes any) and, where it rescales them, bytes."""

    dtype: np.dtype[Any] | None
    pixels: bool


def accepted(net: Layer) -> Accepted:
    """Return what a net takes."""
    parameters = net.parameters()
    first = net
    while isinstance(first, Sequential) and len(first):
        first = first[0]
    return Accepted(parameters[0].data.dtype if parameters else None, isinstance(first, Rescaling))


def check_samples(x: ArrayLike, accepts: Accepted, name: str = "x") -> Array:
    """Return samples as an array of a dtype that the net takes.

    Parameters
    ----------
    x : array_like, shape (n, ...)
    accepts : Accepted
    name : str
        What errors call the samples.

    Returns
    -------
    ndarray, shape (n, ...)

    Raises
    ------
    ValueError
        If there is no sample.
    TypeError
        If the dtype is another one.
    """
    x = np.asarray(x)
    if x.ndim == 0 or len(x) == 0:
        raise ValueError(f"{name} has no samples: its shape is {x.shape}")
    dtype, pixels = accepts
    if dtype is not None and x.dtype != dtype and not (pixels and x.dtype == np.uint8):
        raise TypeError(f"{name} is {x.dtype}, the net is {dtype}: {_remedy(name, x, dtype)}")
    return x


def _remedy(name: str, x: Array, dtype: np.dtype[Any]) -> str:
    if x.dtype == np.uint8:
        return f"convert images with {name}.astype(numpy.{dtype}) / 255, or begin with Rescaling"
    return f"convert with {name}.astype(numpy.{dtype}), or build the net in the other dtype"


def check_pair(
    x: ArrayLike, y: ArrayLike, accepts: Accepted, *, prefix: str = ""
) -> tuple[Array, Array]:
    """Return samples and targets as arrays of one length.

    Parameters
    ----------
    x, y : array_like, shape (n, ...)
    accepts : Accepted
    prefix : str
        Stands before x and y in errors, such as "validation ".

    Returns
    -------
    x, y : ndarray, shape (n, ...)

    Raises
    ------
    ValueError
        If the lengths differ or there is no sample.
    TypeError
        If x has another dtype.
    """
    y = np.asarray(y)
    length = len(y) if y.ndim else 0
    x = np.asarray(x)
    if x.ndim and len(x) != length:
        raise ValueError(f"{prefix}x has {len(x)} samples, but {prefix}y has {length}")
    return check_samples(x, accepts, f"{prefix}x"), y


def check_epochs(epochs: int, done: int) -> int:
    """Return the number of the last epoch, which must lie beyond the epochs done.

    Raises
    ------
    TypeError
        If it is no integer.
    ValueError
        If it is below 1, or no epoch is left.
    """
    try:
        number = operator.index(epochs)
    except TypeError:
        raise TypeError(f"epochs must be an integer, not {epochs!r}") from None
    if number < 1:
        raise ValueError(f"epochs must be at least 1, not {number}")
    if number <= done:
        raise ValueError(
            f"epochs={number} leaves nothing to resume, {done} are done: epochs is the number of "
            f"the last epoch, so for {number} more write epochs={done + number}"
        )
    return number


def has_batch_norm(layer: Layer) -> bool:
    """Whether a layer is a batch normalization, or has one within."""
    if isinstance(layer, (BatchNorm1d, BatchNorm2d)):
        return True
    return any(has_batch_norm(child) for _, child in layer.children())
