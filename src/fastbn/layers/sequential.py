"""Layers one after the other."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, Literal, overload

from fastbn.functional import Array
from fastbn.layers.base import Layer
from fastbn.layers.flat import gather
from fastbn.layers.fuse import units
from fastbn.layers.inference import Inference
from fastbn.layers.parameter import Parameter
from fastbn.layers.passes import Passes

__all__ = ["Sequential"]


class Sequential(Layer):
    """``y = last(...second(first(x)))``.

    The parameters move into one flat array, and their gradients into another (see `flat`); arrays
    taken from a parameter before become read-only.  Names are "0.weight", "0.bias", "1.gamma" and
    so on, by the places of the layers.

    Parameters
    ----------
    *layers : Layer
        Each once; a Sequential may be among them.

    Attributes
    ----------
    layers : tuple of Layer

    Raises
    ------
    ValueError
        If a layer or a parameter occurs twice: a layer remembers one forward, and a backward
        overwrites gradients.
    TypeError
        If an argument is no Layer, or the parameters are of two dtypes.

    Notes
    -----
    A Linear with the BatchNorm1d after it, and a Linear or BatchNorm with the ReLU after it, run in
    one kernel call, all three of them too (see `fuse`).  A forward or backward in training that
    recurs is one call (see `passes`), as is inference for few samples (see `inference`); results,
    and what the layers keep, are the same.
    """

    def __init__(self, *layers: Layer) -> None:
        _check_layers(layers)
        self.layers = layers
        _check_unshared(self.named_parameters())
        gather(self.parameters())
        self._units = units(layers)
        self._passes = Passes(layers, self._units)
        self._inference = Inference(layers, self._units)

    def forward(self, x: Array, *, training: bool = False) -> Array:
        """Apply all layers; see `Layer.forward`."""
        if not training:
            return self._inference.forward(x, training)
        if type(self).forget is not Sequential.forget or "forget" in vars(self):
            self.forget()  # what a subclass does then
        return self._passes.forward(x) if training is True else self._passes.by_units(x, training)

    @overload
    def backward(self, dy: Array, *, need_dx: Literal[True] = True) -> Array: ...
    @overload
    def backward(self, dy: Array, *, need_dx: bool) -> Array | None: ...

    def backward(self, dy: Array, *, need_dx: bool = True) -> Array | None:
        """Gradients of the last training forward; see `Layer.backward`.

        With ``need_dx=False`` the way back ends at the first layer with parameters, which need not
        compute its dx either, and None is returned: what training needs.
        """
        if not need_dx:
            self.backward_parameters(dy)
            return None
        return self._passes.backward(dy, True)

    def backward_parameters(self, dy: Array) -> None:
        """``backward(dy, need_dx=False)``."""
        self._passes.backward(dy, False)

    def forget(self) -> None:
        """Drop what the layers keep of the last training forward."""
        self._passes.forget()

    def children(self) -> list[tuple[str, Layer]]:
        """List the layers, named by their places."""
        return [(str(place), layer) for place, layer in enumerate(self.layers)]

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, place: int) -> Layer:
        return self.layers[place]

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Gather copied parameters again, which stand alone; a shallow copy shares them."""
        self.__dict__.update(state)
        parameters = self.parameters()
        if len({id(parameter.place.data) for parameter in parameters}) > 1:
            gather(parameters)

    def __repr__(self) -> str:
        lines = [f"  ({name}): {layer!r}".replace("\n", "\n  ") for name, layer in self.children()]
        return "\n".join(["Sequential(", *lines, ")"])


def _descend(layer: Layer) -> Iterator[Layer]:
    """`layer` and all that it is made of."""
    yield layer
    for _, child in layer.children():
        yield from _descend(child)


def _check_layers(layers: tuple[Layer, ...]) -> None:
    for layer in layers:
        if not isinstance(layer, Layer):
            raise TypeError(f"Sequential takes layers, got {type(layer).__name__}")
    seen: set[int] = set()
    for layer in itertools.chain.from_iterable(map(_descend, layers)):
        if id(layer) in seen:
            raise ValueError(f"a layer can stand in one place only, but {layer!r} stands in two")
        seen.add(id(layer))


def _check_unshared(parameters: list[tuple[str, Parameter]]) -> None:
    names: dict[int, str] = {}
    for name, parameter in parameters:
        first = names.setdefault(id(parameter), name)
        if first != name:
            raise ValueError(f"{first} and {name} are one parameter, but backward overwrites grad")
