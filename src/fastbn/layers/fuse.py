"""Units: what a net runs in one go.

A unit is a layer, a `Block` of Linear, BatchNorm1d and perhaps ReLU, or a layer with the ReLU after
it as one kernel call, which spares a pass over the activations forward and, for batch
normalization, one backward.  The bits are those of the layers one by one, and each keeps what it
would have kept alone: fusing shows in the clock only.

A layer that fuses with ReLU is named in `FUSES_RELU` and has two methods beside the usual ones:
``_forward_relu(x, relu, *, training)`` and ``_backward_relu(dy, relu, *, need_dx)``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeAlias, cast

from fastbn.functional import Array
from fastbn.layers.activation import ReLU
from fastbn.layers.base import Layer
from fastbn.layers.batchnorm import BatchNorm1d, BatchNorm2d
from fastbn.layers.block import Block
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
    def forget(self) -> None: ...


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

    def forget(self) -> None:
        """Drop what both layers keep."""
        self._layer.forget()
        self._relu.forget()


Unit: TypeAlias = Layer | ReLUPair | Block


def units(layers: Iterable[Layer]) -> list[Unit]:
    """`layers` in order, each fused with what follows it where that can be."""
    result: list[Unit] = []
    for layer in layers:
        fused = _fused(result[-1], layer) if result else None
        if fused is None:
            result.append(layer)
        else:
            result[-1] = fused
    return result


def _fused(unit: Unit, layer: Layer) -> Unit | None:
    """Make one unit of `unit` and the layer after it, if that can be."""
    if type(unit) is Linear and type(layer) is BatchNorm1d:
        return Block(unit, layer)
    if type(layer) is not ReLU:
        return None
    if isinstance(unit, Block):
        return unit.with_relu(layer)
    return ReLUPair(cast(FusesReLU, unit), layer) if type(unit) in FUSES_RELU else None
