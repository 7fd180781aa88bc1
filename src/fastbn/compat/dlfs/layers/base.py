"""What the layers share: the lists of the second volume, and an error for a missing forward."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbn.functional import Array

__all__ = ["Layer"]


class Layer:
    """A layer; `parameter_names` names the attributes that are trained.

    Attributes
    ----------
    params : list of ndarray
        The trained arrays themselves.
    grads : list of ndarray
        Their gradients.  Once somebody asked for this list, `backward` writes into its arrays;
        until then each `backward` makes new ones, as in the first volume.
    """

    parameter_names: tuple[str, ...] = ()
    _grads: list[Array] | None = None

    @property
    def params(self) -> list[Array]:
        """The trained arrays."""
        return [getattr(self, name) for name in self.parameter_names]

    @property
    def grads(self) -> list[Array]:
        """Arrays that `backward` writes the gradients to."""
        if self._grads is None:
            self._grads = [np.zeros_like(parameter) for parameter in self.params]
        return self._grads

    def _write(self, *gradients: Array) -> None:
        """Make `gradients` the attributes of the parameters' names with a d before them."""
        if self._grads is not None:
            for array, gradient in zip(self._grads, gradients, strict=True):
                array[...] = gradient
            gradients = tuple(self._grads)
        for name, gradient in zip(self.parameter_names, gradients, strict=True):
            setattr(self, f"d{name}", gradient)

    def _recall(self, saved: Any) -> Any:
        """Return what the last forward saved."""
        if saved is None:
            raise RuntimeError(f"{type(self).__name__}.backward needs a forward before it")
        return saved
