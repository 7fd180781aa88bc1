"""Elementwise activations, and softmax over the last axis."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from fastbn import _core
from fastbn.functional import Array
from fastbn.layers.base import Layer
from fastbn.layers.check import require_array

__all__ = ["GELU", "LeakyReLU", "ReLU", "Sigmoid", "Softmax", "Tanh"]


class _Activation(Layer):
    """A function without parameters whose result has the shape of x."""

    saves_input: ClassVar[bool] = False  # whether the derivative is computed from x or from y

    def __init__(self) -> None:
        self._y, self._dx = _core.Workspace(), _core.Workspace()

    def forward(self, x: Array, *, training: bool = False) -> Array:
        """Apply the function to x of any shape; see `Layer.forward`."""
        x = require_array(self, x)
        if not training:
            return self._apply(x, None)
        self.forget()
        y = self._apply(x, self._y)
        self._keep(x if self.saves_input else y)
        return y

    def _keep(self, array: Array) -> None:
        """Keep x or y, whichever `backward` needs."""
        self._saved = array

    def backward(self, dy: Array) -> Array:
        """Gradient of the last training forward; see `Layer.backward`."""
        saved = self._recall()
        return self._apply_backward(dy, saved, self._dx)

    @abstractmethod
    def _apply(self, x: Array, out: _core.Out) -> Array: ...

    @abstractmethod
    def _apply_backward(self, dy: Array, saved: Array, out: _core.Out) -> Array: ...

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class _Elementwise(_Activation):
    """One of the compiled module's activations, by name."""

    name: ClassVar[_core.ActivationName]
    slope: float = 0.0

    def _apply(self, x: Array, out: _core.Out) -> Array:
        return _core.activation_forward(self.name, x, out, self.slope)

    def _apply_backward(self, dy: Array, saved: Array, out: _core.Out) -> Array:
        return _core.activation_backward(self.name, dy, saved, out, self.slope)


class ReLU(_Elementwise):
    """``max(x, 0)``; NaN stays NaN (Nair and Hinton, 2010)."""

    name = "relu"


class LeakyReLU(_Elementwise):
    """``x`` where x > 0, else ``slope * x`` (Maas, Hannun and Ng, 2013).

    Parameters
    ----------
    slope : float
        Of the negative side; at least 0.  The default is PyTorch's.

    Raises
    ------
    ValueError
        If `slope` is negative: the sign of y would no longer tell the side.
    """

    name = "leaky_relu"

    def __init__(self, slope: float = 0.01) -> None:
        super().__init__()
        if not slope >= 0:
            raise ValueError(f"slope must be at least 0, got {slope}")
        self.slope = float(slope)

    def __repr__(self) -> str:
        return f"LeakyReLU({self.slope})"


class Sigmoid(_Elementwise):
    """``1 / (1 + exp(-x))``."""

    name = "sigmoid"


class Tanh(_Elementwise):
    """Hyperbolic tangent."""

    name = "tanh"


class GELU(_Elementwise):
    """``x * Phi(x)`` with the normal distribution function Phi, in its exact form.

    Hendrycks and Gimpel, 2016 (arXiv:1606.08415); ``torch.nn.GELU``'s default.
    """

    name = "gelu"
    saves_input = True


class Softmax(_Activation):
    """``exp(x) / sum(exp(x))`` over the last axis.

    Notes
    -----
    `CrossEntropyLoss` takes the scores before softmax and has its own: a net trained by it ends
    without this layer.
    """

    def _apply(self, x: Array, out: _core.Out) -> Array:
        return _core.softmax(x, out)

    def _apply_backward(self, dy: Array, saved: Array, out: _core.Out) -> Array:
        return _core.softmax_backward(dy, saved, out)
