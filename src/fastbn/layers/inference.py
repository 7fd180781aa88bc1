"""Inference of a net for few samples, one call of the core once it recurs.

    forward     for samples of one form
    first       by units, in Python
    second      the same, while a tape records their kernel calls
    the others  by the tape, as long as nothing has changed; else from the first on

One sample through a net of a few small layers is some microseconds of Python by units, and less
than one of arithmetic.  The bits are the same, since the kernels are.  One thread at a time goes by
a tape, which has the memory of what lies between the layers: others go by units meanwhile.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np

from fastbn import _core
from fastbn.functional import Array
from fastbn.layers.activation import Softmax
from fastbn.layers.base import Layer
from fastbn.layers.dropout import Dropout
from fastbn.layers.fuse import Unit
from fastbn.layers.taping import ALL_KERNELS, PAUSE, is_plain, watch_layers

__all__ = ["Inference"]

_INFER = ALL_KERNELS | {Dropout, Softmax}
_MOST_ROWS = 64  # from which on kernels take much longer than the way to them: tapes keep memory
_MOST_FORMS = 4  # of one sample and of a batch, for instance, in two dtypes

_Form: TypeAlias = tuple[tuple[int, ...], np.dtype[Any]]


class _Taped(NamedTuple):
    """A tape and what it holds for."""

    tape: _core.Tape
    watched: _core.Watched


class Inference:
    """The forward of a `Sequential` outside of training."""

    def __init__(self, layers: tuple[Layer, ...], units: list[Unit]) -> None:
        self._layers, self._units = layers, units
        self._repeats = all(type(layer) in _INFER for layer in layers)
        self._tapes: dict[_Form, _Taped] = {}
        self._seen: set[_Form] = set()  # of samples that have come
        self._pause = 0

    def forward(self, x: Array) -> Array:
        """All layers' forward."""
        if type(x) is np.ndarray:
            taped = self._tapes.get((x.shape, x.dtype))
            if taped is not None:
                y: Array | None = taped.tape.run_pass(x, None, None, taped.watched)
                if y is not None:
                    return y
                if taped.tape.runs:  # in another thread
                    return self._by_units(x)
                self._tapes.pop((x.shape, x.dtype), None)
            if self._recurs(x):
                return self._record(x)
        return self._by_units(x)

    def _by_units(self, x: Array) -> Array:
        for unit in self._units:
            x = unit.forward(x, training=False)
        return x

    def _recurs(self, x: Array) -> bool:
        """Whether samples of this form come again, and a tape is worth an attempt."""
        if not self._repeats or x.ndim == 0 or not 0 < len(x) <= _MOST_ROWS:
            return False
        form = x.shape, x.dtype
        if form not in self._seen:
            if len(self._seen) >= _MOST_FORMS:
                self._tapes, self._seen = {}, set()
            self._seen.add(form)
            return False
        self._pause = max(0, self._pause - 1)
        return self._pause == 0 and all(map(is_plain, self._layers))

    def _record(self, x: Array) -> Array:
        watched = watch_layers(self._layers, self._layers)
        y, tape = _core.record_pass(lambda: self._by_units(x), watched, x)
        if tape is None:
            self._pause = PAUSE
        else:
            self._tapes[x.shape, x.dtype] = _Taped(tape, watched)
        return y

    def __getstate__(self) -> dict[str, Any]:
        """Leave tapes out of copies and pickles."""
        return {**vars(self), "_tapes": {}, "_seen": set()}
