"""State dictionaries in PyTorch's names and shapes: arrays in, arrays out, without PyTorch.

A `fastbn.Sequential` and a ``torch.nn.Sequential`` of the same layers name their parts alike, by
the places of the layers.  Two things differ: the weight of a Linear layer is (in, out) here and
(out, in) there, and the scale and shift of batch normalization are ``gamma`` and ``beta`` here,
``weight`` and ``bias`` there.

    state = safetensors.numpy.load_file("net.safetensors")      # from torch
    net.load_state_dict(fastbn.interop.torch.from_state_dict(state))

    state = fastbn.interop.torch.to_state_dict(net.state_dict())
    safetensors.numpy.save_file(state, "net.safetensors")       # for torch
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from fastbn.functional import Array

__all__ = ["from_state_dict", "to_state_dict"]

BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


def to_state_dict(state: Mapping[str, Array]) -> dict[str, Array]:
    """Give a state of fastbn's layers the names and shapes of PyTorch's.

    Parameters
    ----------
    state : mapping of names to ndarray
        As from ``net.state_dict()``.

    Returns
    -------
    dict of ndarray
        Copies, C-contiguous, as safetensors needs them.

    Raises
    ------
    ValueError
        If a name or a shape is that of no layer that both libraries have.
    TypeError
        If `state` is no mapping.
    """
    renamed = {}
    for prefix, name, array in _parts(state):
        if name == "weight" and array.ndim == 2:
            array = array.T
        elif name in ("gamma", "beta") and array.ndim == 1:
            name = {"gamma": "weight", "beta": "bias"}[name]
        elif not (name in BUFFERS or (name == "bias" and array.ndim == 1)):
            raise ValueError(_refusal(prefix + name, array))
        renamed[prefix + name] = np.array(array, order="C")
    return renamed


def from_state_dict(state: Mapping[str, Any]) -> dict[str, Array]:
    """Give a state of PyTorch's layers the names and shapes of fastbn's.

    Parameters
    ----------
    state : mapping of names to array_like
        As from ``module.state_dict()``, or read from a file of it.  Values may be tensors of the
        CPU, which NumPy can see.

    Returns
    -------
    dict of ndarray
        Copies, C-contiguous, for ``net.load_state_dict``.

    Raises
    ------
    ValueError
        If a name or a shape is that of no layer that both libraries have, a convolution's say.
    TypeError
        If `state` is no mapping.

    Notes
    -----
    Batch normalization is told from a Linear layer by its weight, which is a vector.
    """
    parts = list(_parts(state))
    normalizing = {prefix for prefix, name, array in parts if name == "weight" and array.ndim == 1}
    renamed = {}
    for prefix, name, array in parts:
        if name == "weight" and array.ndim == 2:
            array = array.T
        elif name in ("weight", "bias") and array.ndim == 1:
            if prefix in normalizing:
                name = {"weight": "gamma", "bias": "beta"}[name]
        elif name not in BUFFERS:
            raise ValueError(_refusal(prefix + name, array))
        renamed[prefix + name] = np.array(array, order="C")
    return renamed


def _parts(state: Mapping[str, Any]) -> Iterator[tuple[str, str, Array]]:
    """Prefix with its dot, last name, and array of each entry."""
    if not isinstance(state, Mapping):
        raise TypeError(f"a state is a mapping of names to arrays, got {type(state).__name__}")
    for full_name, value in state.items():
        prefix, dot, name = full_name.rpartition(".")
        yield prefix + dot, name, np.asarray(value)


def _refusal(name: str, array: Array) -> str:
    return f"{name} of shape {array.shape} belongs to no Linear layer or batch normalization"
