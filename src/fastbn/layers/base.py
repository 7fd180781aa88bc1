"""What every layer is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from fastbn.functional import Array
from fastbn.layers.parameter import Parameter
from fastbn.layers.state import staged

__all__ = ["Layer"]


class Layer(ABC):
    """A differentiable function with parameters.

    A subclass writes `forward` and `backward`.  Attributes that are a `Parameter` or a `Layer` are
    found by themselves, in the order in which they were assigned; `buffer_names` names the
    attributes that are state but not trained.

    Notes
    -----
    Training is an argument, not a mode: ``forward(x, training=True)`` computes with batch
    statistics and dropout and keeps what `backward` needs; without it `forward` changes nothing in
    the layer and returns a new array, so that many threads may share it.

    Arrays that pass between layers are kept by reference until `backward`: write into one in
    between, and the gradient is that of other values.
    """

    buffer_names: ClassVar[tuple[str, ...]] = ()

    _saved: Any = None  # what `backward` needs of the last training forward

    @abstractmethod
    def forward(self, x: Array, *, training: bool = False) -> Array:
        """Apply the layer.

        Parameters
        ----------
        x : ndarray of float32 or float64, shape (N, ...)
        training : bool
            Compute as in training, and keep what `backward` needs.

        Returns
        -------
        ndarray
            Yours to keep: no later call writes into it.
        """

    @abstractmethod
    def backward(self, dy: Array) -> Array:
        """Gradients of the last training forward.

        Parameters
        ----------
        dy : ndarray, shape of that forward's result
            Gradient of a scalar by the result.

        Returns
        -------
        ndarray, shape of that forward's x
            Gradient by x.  The gradients by the parameters overwrite their `grad`.

        Raises
        ------
        RuntimeError
            Without a training forward before.
        """

    def backward_parameters(self, dy: Array) -> None:
        """`backward` for the first layer of a net, whose dx nobody reads.

        A layer that can save work by it overrides this.
        """
        self.backward(dy)

    def __call__(self, x: Array, *, training: bool = False) -> Array:
        """Call `forward`."""
        return self.forward(x, training=training)

    def forget(self) -> None:
        """Drop what the last training forward kept for `backward`.

        A `Sequential` asks this of its layers before each training forward, so that their memory
        is free for it; a layer made of others does well to pass it on to them.
        """
        self._saved = None

    def _recall(self) -> Any:
        """Return what the last training forward kept."""
        if self._saved is None:
            raise RuntimeError(
                f"{type(self).__name__}.backward needs a forward(x, training=True) before it"
            )
        return self._saved

    # -- parameters and state ------------------------------------------------------------------

    def children(self) -> list[tuple[str, Layer]]:
        """Names and layers that this one is made of."""
        return [(name, value) for name, value in vars(self).items() if isinstance(value, Layer)]

    def named_parameters(self) -> list[tuple[str, Parameter]]:
        """Names and parameters, in the order of the layers; those of a child are "child.name"."""
        return self._own_parameters() + [
            (f"{child}.{name}", parameter)
            for child, layer in self.children()
            for name, parameter in layer.named_parameters()
        ]

    def parameters(self) -> list[Parameter]:
        """All parameters, in the order of the layers."""
        return [parameter for _, parameter in self.named_parameters()]

    def named_buffers(self) -> list[tuple[str, Array]]:
        """Names and live arrays of the state that is not trained, such as running statistics."""
        return self._own_buffers() + [
            (f"{child}.{name}", array)
            for child, layer in self.children()
            for name, array in layer.named_buffers()
        ]

    def buffers(self) -> list[Array]:
        """All buffers, in the order of the layers."""
        return [array for _, array in self.named_buffers()]

    def state_dict(self) -> dict[str, Array]:
        """Copy all parameters and buffers, by name.

        Copies, so that the state of the best epoch is still that when the net has trained on.
        """
        return {name: array.copy() for name, array in self._live_state().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Write all parameters and buffers in place.

        Parameters
        ----------
        state : mapping of names to arrays
            As from `state_dict`: the same names, shapes and dtypes.

        Raises
        ------
        ValueError
            If names are missing or unknown, or a shape differs.  Nothing is written then.
        TypeError
            If a dtype differs.  Nothing is written then.
        """
        live = self._live_state()
        for name, array in staged(live, state).items():
            live[name][...] = array

    def _live_state(self) -> dict[str, Array]:
        """Parameters and buffers by name, layer by layer."""
        live = {name: parameter.data for name, parameter in self._own_parameters()}
        live.update(self._own_buffers())
        for child, layer in self.children():
            live |= {f"{child}.{name}": array for name, array in layer._live_state().items()}
        return live

    def _own_parameters(self) -> list[tuple[str, Parameter]]:
        return [(name, value) for name, value in vars(self).items() if isinstance(value, Parameter)]

    def _own_buffers(self) -> list[tuple[str, Array]]:
        arrays = [(name, getattr(self, name)) for name in self.buffer_names]
        return [(name, array) for name, array in arrays if array is not None]

    def __getstate__(self) -> dict[str, Any]:
        """Leave the last training step out of copies and pickles."""
        return {**vars(self), "_saved": None}
