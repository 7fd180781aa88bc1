"""Forward and backward of a net in training, each one call of the core once it recurs.

    forward     for samples of one form
    first       by units, in Python
    second      the same, while a tape records their kernel calls
    the others  by the tape, as long as nothing has changed; else from the first on

    backward    after a forward that the tape has, or has just been recorded
    first       by units, while another tape records
    the others  by that one; by units where it does not hold

By units a pass of a few layers takes some 10 us, and 30 where a batch has displaced the
interpreter's code and objects from the cache.  The bits are the same, since the kernels are, and
each layer keeps what it would have kept by units: a tape writes the arrays that its first pass
wrote, but for the net's result, which is the caller's, and it reads the samples where they lie.  So
all that is left to do in Python is to hand these two to the layers that keep them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any, NamedTuple, cast

import numpy as np

from fastbn import _core
from fastbn.functional import Array
from fastbn.layers.activation import ReLU
from fastbn.layers.base import Layer
from fastbn.layers.batchnorm import BatchNorm1d
from fastbn.layers.block import Block
from fastbn.layers.fuse import Unit
from fastbn.layers.linear import Linear
from fastbn.layers.taping import ALL_KERNELS, PAUSE, is_plain, watch_layers

__all__ = ["Passes"]


class _Ends(NamedTuple):
    """What keeps a net's samples and its result, and lends its results' memory.

    Of other first layers the samples lie where only kernels look, and other last units read their
    result backward.
    """

    linear: Linear  # the first layer
    block: Block | None  # that it is in
    relu: ReLU | None  # the last layer, of a block
    y: _core.Workspace
    dx: _core.Workspace

    @staticmethod
    def of(layers: tuple[Layer, ...], units: list[Unit]) -> _Ends | None:
        """Find those of a net; None if no tape repeats its passes."""
        if not layers or not all(type(layer) in ALL_KERNELS for layer in layers):
            return None
        first, last, unit = layers[0], layers[-1], units[0]
        if type(first) is not Linear or type(units[-1]) not in (Linear, Block):
            return None
        makes_y = cast(Linear | BatchNorm1d, layers[-2] if type(last) is ReLU else last)
        block = unit if type(unit) is Block else None
        return _Ends(first, block, last if type(last) is ReLU else None, makes_y._y, first._dx)


class _Taped(NamedTuple):
    """A forward's tape, what it and those of backward hold for, and these."""

    ends: _Ends
    forward: _core.Tape
    watched: _core.Watched
    backward: dict[bool, _core.Tape | None]  # with dx and without; None if it cannot be repeated
    kept: list[tuple[Layer, Any]]  # by each layer but those at the ends, for backward
    ran: list[tuple[Block, Any]]  # of each block but the first

    def run(self, x: Array) -> Array | None:
        """Make a forward; None, and nothing is done, where the tape does not hold."""
        return self.forward.run_pass(x, None, self.ends.y, self.watched)

    def restore(self) -> bool:
        """Have layers keep what a tape's forward writes; whether one kept anything else."""
        others = [(layer, saved) for layer, saved in self.kept if layer._saved is not saved]
        for layer, saved in others:
            layer._saved = saved
        for block, ran in self.ran:
            block._ran = ran
        return bool(others)


class Passes:
    """The training passes of a `Sequential`."""

    def __init__(self, layers: tuple[Layer, ...], units: list[Unit]) -> None:
        self._layers, self._units = layers, units
        self._trained_units = _from_first_trained(units)
        self._ends = _Ends.of(layers, units)
        self._pause = 0
        self._form: object = None  # of the samples before
        self._taped: _Taped | None = None

    def forward(self, x: Array) -> Array:
        """All layers' forward in training."""
        taped = self._taped
        if taped is not None:
            linear, block, relu, _, _ = taped.ends
            linear._saved = None  # there is no forward, should this one fail
            if relu is not None:
                relu._saved = None  # so that its memory is free to be lent again
            y = taped.run(x)
            if y is None and taped.restore():  # layers forgot, or were called alone
                y = taped.run(x)
            if y is not None:
                linear._saved = x.shape, x
                if block is not None:
                    block._ran = linear._saved, block._norm._saved
                if relu is not None:
                    relu._saved = y
                return y
            self._taped = None  # its memory goes back to the layers
        for unit in self._units:
            unit.forget()  # so that the layers' workspaces are free to be lent again
        return self._record(x) if self._recurs(x) else self._by_units(x)

    def backward(self, dy: Array, need_dx: bool) -> Array | None:
        """All layers' backward; without dx as far as there are parameters."""
        taped = self._taped
        saved = None if taped is None else taped.ends.linear._saved
        if taped is None or saved is None or saved[0] != saved[1].shape:
            return self._back_by_units(dy, need_dx)  # the last for samples of other dimensions
        tape = taped.backward.get(need_dx)
        if tape is not None:
            dx = tape.run_pass(saved[1], dy, taped.ends.dx, taped.watched)
            if dx is not None:
                return cast(Array, dx) if need_dx else None
        elif need_dx not in taped.backward and type(dy) is np.ndarray:
            dx, taped.backward[need_dx] = _core.record_pass(
                lambda: self._back_by_units(dy, need_dx), taped.watched, saved[1], dy
            )
            return dx
        return self._back_by_units(dy, need_dx)

    def forget(self) -> None:
        """Drop what the layers and tapes keep."""
        self._taped = self._form = None
        self.rest()

    def rest(self) -> None:
        """Have the layers forget the last forward, but keep the tapes for the next."""
        for unit in self._units:
            unit.forget()

    # -- by units ------------------------------------------------------------------------------

    def _by_units(self, x: Array) -> Array:
        for unit in self._units:
            x = unit.forward(x, training=True)
        return x

    def _back_by_units(self, dy: Array, need_dx: bool) -> Array | None:
        if need_dx:
            for unit in reversed(self._units):
                dy = unit.backward(dy)
            return dy
        if self._trained_units:
            first, *others = self._trained_units
            for unit in reversed(others):
                dy = unit.backward(dy)
            first.backward_parameters(dy)
        return None

    # -- by tape -------------------------------------------------------------------------------

    def _recurs(self, x: Array) -> bool:
        """Whether samples of this form come for the second time, and a tape is worth an attempt."""
        if self._ends is None or type(x) is not np.ndarray or x.ndim != 2 or not x.size:
            return False
        form = x.shape, x.dtype
        recurs, self._form = form == self._form, form
        self._pause = max(0, self._pause - 1)
        return recurs and self._pause == 0 and all(map(is_plain, self._layers))

    def _record(self, x: Array) -> Array:
        assert self._ends is not None
        watched = watch_layers(self._layers, self._layers)
        y, tape = _core.record_pass(lambda: self._by_units(x), watched, x)
        if tape is None:
            self._pause = PAUSE
        else:
            keepers = self._ends.linear, self._ends.relu
            kept = [(layer, layer._saved) for layer in self._layers if layer not in keepers]
            watched = watch_layers(self._layers, keepers)
            ran = [(unit, unit._ran) for unit in self._units[1:] if isinstance(unit, Block)]
            self._taped = _Taped(self._ends, tape, watched, {}, kept, ran)
        return y

    def __getstate__(self) -> dict[str, Any]:
        """Leave tapes out of copies and pickles."""
        return {**vars(self), "_taped": None, "_form": None}


def _from_first_trained(units: Iterable[Unit]) -> list[Unit]:
    """Skip the units before the first with parameters, where no gradient is needed."""
    return list(itertools.dropwhile(lambda unit: not unit.parameters(), units))
