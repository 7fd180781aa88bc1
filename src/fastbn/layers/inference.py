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

from typing import Any, TypeAlias

import numpy as np

from fastbn import _core
from fastbn.functional import Array
from fastbn.layers.activation import Softmax
from fastbn.layers.base import Layer
from fastbn.layers.dropout import Dropout
from fastbn.layers.fuse import Unit
from fastbn.layers.taping import ALL_KERNELS, PAUSE, is_plain, live, watch_layers

__all__ = ["Inference"]

_INFER = ALL_KERNELS | {Dropout, Softmax}
_MOST_ROWS = 64  # from which on kernels take much longer than the way to them: tapes keep memory
_MOST_FORMS = 4  # of one sample and of a batch, for instance, in two dtypes

_Form: TypeAlias = tuple[tuple[int, ...], np.dtype[Any]]


class _Taped:
    """A tape and what it holds for."""

    __slots__ = ("has_run", "tape", "watched")

    def __init__(self, tape: _core.Tape, watched: _core.Watched) -> None:
        self.tape, self.watched, self.has_run = tape, watched, False

    def run(self, x: Array) -> Array | None:
        """Make a forward; None where the tape does not hold."""
        y: Array | None = self.tape.run_pass(x, None, None, self.watched)
        self.has_run = self.has_run or y is not None
        return y


class Inference:
    """The forward of a `Sequential` outside of training."""

    def __init__(self, layers: tuple[Layer, ...], units: list[Unit]) -> None:
        self._layers, self._units = layers, units
        self._repeats = all(type(layer) in _INFER for layer in layers)
        self._tapes: dict[_Form, _Taped] = {}
        self._seen: dict[_Form, int] = {}  # samples that have come, and their kernel calls
        self._pause = 0

    def forward(self, x: Array, training: bool) -> Array:
        """All layers' forward, with `training` as it is: a layer of one's own may know more."""
        if type(x) is not np.ndarray or training is not False or not self._repeats:
            return self._by_units(x, training)
        form = x.shape, x.dtype
        taped = self._tapes.get(form)
        if taped is not None:
            y = taped.run(x)
            if y is not None:
                return y
            if taped.tape.runs or not x.flags.c_contiguous:  # in another thread, or just this once
                return self._by_units(x)
            self._forget(form, taped)
        calls = self._seen.get(form)
        return self._first(x, form) if calls is None else self._record(x, form, calls)

    def _by_units(self, x: Array, training: bool = False) -> Array:
        for unit in self._units:
            x = unit.forward(x, training=training)
        return x

    def _first(self, x: Array, form: _Form) -> Array:
        """Go by units, and count the kernel calls: others next time are a signal handler's, say."""
        before = _core.kernel_calls()
        y = self._by_units(x)
        self._pause = max(0, self._pause - 1)
        if x.ndim > 0 and 0 < len(x) <= _MOST_ROWS and self._pause == 0:
            if len(self._seen) >= _MOST_FORMS:
                self._tapes, self._seen = {}, {}
            self._seen[form] = _core.kernel_calls() - before
        return y

    def _record(self, x: Array, form: _Form, calls: int) -> Array:
        if not all(type(layer) in _INFER and is_plain(layer) for layer in self._layers):
            self._forget(form, None)
            return self._by_units(x)
        watched = watch_layers(self._layers, self._layers)
        y, tape = _core.record_pass(lambda: self._by_units(x), watched, live(self._layers), x)
        if tape is None or tape.calls != calls:
            self._forget(form, None)
        else:
            self._tapes[form] = _Taped(tape, watched)
        return y

    def _forget(self, form: _Form, taped: _Taped | None) -> None:
        """Start anew; what no tape repeats, or changes each time, is not worth another one soon."""
        if taped is None or not taped.has_run:
            self._pause = PAUSE
        self._tapes.pop(form, None)
        self._seen.pop(form, None)

    def __getstate__(self) -> dict[str, Any]:
        """Leave tapes out of copies and pickles."""
        return {**vars(self), "_tapes": {}, "_seen": {}}
