"""Units: what a net runs in one go.

A unit is a layer, or a layer with the ReLU after it as one kernel call, which spares a pass over
the activations forward and, for batch normalization, one backward.  The bits are those of the two
layers, and both keep what they would have kept alone: fusing shows in the clock only.

A layer that fuses is named in `FUSES_RELU` and has two methods beside forward and backward:
``_forward_relu(x, relu, *, training)`` and ``_backward_relu(dy, relu, *, need_dx)``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeAlias, cast

from fastbn.functional import Array
from fastbn.layers.activation import ReLU
from fastbn.layers.base import Layer
from fastbn.layers.batchnorm import BatchNorm1d, BatchNorm2d
from fastbn.layers.linear import Linear
from fastbn.layers.parameter import Parameter

__all__ = ["Unit", "units"]

# Exact types: a subclass may have a forward of its own, which fusing would pass over.
FUSES_RELU: tuple[type[Layer], ...] = (Linear, BatchNorm1d, BatchNorm2d)


class FusesReLU(Protocol):
    """A layer that can take the ReLU after it into its own kernel call."""

    def _forward_relu(self, x: Array, relu: ReLU, *, training: bool) -> Array: ...
    def _backward_relu(self, dy: Array, relu: ReLU, *, need_dx: bool = True) -> Array | None: ...
    def parameters(self) -> list[Parameter]: ...


class ReLUPair:
    """A layer and the ReLU after it."""

    def __init__(self, layer: FusesReLU, relu: ReLU) -> None:
        self._layer, self._relu = layer, relu

    def forward(self, x: Array, *, training: bool = False) -> Array:
        """Both layers' forward."""
        return self._layer._forward_relu(x, self._relu, training=training)

    def backward(self, dy: Array) -> Array:
        """Both layers' backward."""
        return cast(Array, self._layer._backward_relu(dy, self._relu))

    def backward_parameters(self, dy: Array) -> None:
        """Both layers' backward without dx."""
        self._layer._backward_relu(dy, self._relu, need_dx=False)

    def parameters(self) -> list[Parameter]:
        """Parameters of the pair."""
        return self._layer.parameters()


Unit: TypeAlias = Layer | ReLUPair


def units(layers: Iterable[Layer]) -> list[Unit]:
    """`layers` in order, each fused with the ReLU after it where it can be."""
    result: list[Unit] = []
    for layer in layers:
        if type(layer) is ReLU and result and type(result[-1]) in FUSES_RELU:
            result[-1] = ReLUPair(cast(FusesReLU, result[-1]), layer)
        else:
            result.append(layer)
    return result
