"""What tapes of kernel calls repeat of layers, and what they hold for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastbn import _core
from fastbn.functional import Array
from fastbn.layers.activation import GELU, LeakyReLU, ReLU, Sigmoid, Tanh
from fastbn.layers.base import Layer
from fastbn.layers.batchnorm import BatchNorm1d, BatchNorm2d
from fastbn.layers.flatten import Flatten
from fastbn.layers.linear import Linear
from fastbn.layers.parameter import Parameter

__all__ = ["ALL_KERNELS", "PAUSE", "is_plain", "live", "watch", "watch_layers"]

# Layers that do nothing in training but call kernels.  Exact types: a subclass may do more.
ALL_KERNELS: frozenset[type[Layer]] = frozenset(
    (BatchNorm1d, BatchNorm2d, Flatten, GELU, LeakyReLU, Linear, ReLU, Sigmoid, Tanh)
)
# Times by layers after one that no tape could repeat, before the next attempt.
PAUSE = 100

_METHODS = frozenset(("forward", "backward", "backward_parameters", "forget"))
# Attributes that are a kernel's arguments.  Other kinds, as an array of one, could change in place.
_NUMBERS = (
    "eps",
    "momentum",
    "virtual_batch_size",
    "slope",
    "scale",
    "offset",
    "label_smoothing",
)
_IMMUTABLE = (int, float, np.number, type(None))


def is_plain(part: object) -> bool:
    """Whether a layer or loss has its class's methods, and what kernels take is what it seems.

    Numbers, and parameters of no subclass, whose arrays may be made anew each time.
    """
    names = vars(part)
    return (
        not _METHODS & names.keys()
        and all(isinstance(names.get(name), _IMMUTABLE) for name in _NUMBERS)
        and all(type(p) is Parameter for p in names.values() if isinstance(p, Parameter))
    )


def watch(*objects: tuple[object, dict[str, Any]]) -> _core.Watched:
    """Objects with their attributes, as tapes compare them, by identity.

    Those of a dict are what it holds.  An attribute that may be another has `...` for its value.
    """
    return tuple(
        (part, type(part), tuple(attributes), tuple(attributes.values()))
        for part, attributes in objects
    )


def live(layers: Sequence[Layer]) -> list[Array]:
    """All that kernels read of the layers' own: samples of a tape may not lie in it."""
    parameters = [parameter.data for layer in layers for parameter in layer.parameters()]
    return parameters + [array for layer in layers for array in layer.buffers()]


def watch_layers(layers: Sequence[Layer], keepers: Sequence[Layer | None]) -> _core.Watched:
    """Layers as they are, and where their parameters lie.

    What `keepers` keep for backward, if anything, may be another.
    """
    parts: list[tuple[object, dict[str, Any]]] = []
    for layer in layers:
        attributes = dict(vars(layer))
        if layer in keepers and "_saved" in attributes:
            attributes["_saved"] = ...
        parts.append((layer, attributes))
        parts += [(p, {"_data": p.data, "_grad": p.grad}) for p in layer.parameters()]
    return watch(*parts)
