"""Forward and backward of a net in training, each one call of the core once it recurs.

    forward     for samples of one form
    first       by units, in Python
    second      the same, while a tape records their kernel calls
    the others  by the tape, as long as nothing has changed; else from the first on

    backward    of a forward that was recorded, or was made by its tape
    first       by units, while a tape of its own records; it has been by units before
    the others  by that one; by units where it does not hold

By units a pass of a few layers takes some 10 us, and 30 where a batch has displaced the
interpreter's code and objects from the cache.  The bits are the same, since the kernels are, and
each layer keeps what it would have kept by units: a tape writes the arrays that its first pass
wrote, but for the net's result, which is the caller's, and it reads the samples where they lie.  So
all that is left to do in Python is to hand these two to the layers that keep them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np

from fastbn import _core
from fastbn.functional import Array
from fastbn.layers.activation import ReLU
from fastbn.layers.base import Layer
from fastbn.layers.batchnorm import BatchNorm1d
from fastbn.layers.block import Block
from fastbn.layers.fuse import Unit
from fastbn.layers.linear import Linear
from fastbn.layers.taping import ALL_KERNELS, PAUSE, is_plain, live, watch_layers

__all__ = ["Passes"]

_Result = TypeVar("_Result")


class _Ends(NamedTuple):
    """What keeps a net's samples and its result, and lends its results' memory.

    Of other first layers the samples lie where only kernels look, and the backward of other last
    units reads the result of the forward that was recorded.
    """

    linear: Linear  # the first layer
    block: Block | None  # that it ran in
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
        ran = type(unit) is Block and unit._ran is not None
        block = cast(Block, unit) if ran else None
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
        """Make a forward; None where the tape does not hold."""
        linear, block, relu, workspace, _ = self.ends
        if relu is not None:
            relu._saved = None  # so that its memory is free to be lent again
        y: Array | None = self.forward.run_pass(x, None, workspace, self.watched)
        if y is None and self._restore():  # layers forgot, or were called alone
            y = self.forward.run_pass(x, None, workspace, self.watched)
        if y is not None:
            linear._saved = saved = x.shape, x
            if block is not None:
                block._ran = saved, block._norm._saved
            if relu is not None:
                relu._saved = y
        return y

    def _restore(self) -> bool:
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
        self._repeats = _Ends.of(layers, units) is not None
        self._pause = 0
        self._form: object = None  # of the samples before
        self._calls: dict[object, int] = {}  # of kernels by passes of this form, by units
        self._taped: _Taped | None = None
        self._has_run = False  # the tape

    def forward(self, x: Array) -> Array:
        """All layers' forward in training."""
        taped = self._taped
        if taped is not None:
            try:
                y = taped.run(x)
            except BaseException:
                self.forget()  # what layers keep may be half of the last batch, half of this
                raise
            if y is not None:
                self._has_run = True
                return y
            if not self._has_run:  # what changes each time is not worth a tape
                self._pause = PAUSE
            self._taped = self._form = None  # its memory goes back to the layers
        self.rest()  # so that the layers' workspaces are free to be lent again
        if self._recurs(x):
            return self._record(x)
        return self._counted("forward", lambda: self.by_units(x, True))

    def backward(self, dy: Array, need_dx: bool) -> Array | None:
        """All layers' backward; without dx as far as there are parameters."""
        taped = self._taped
        saved = None if taped is None else taped.ends.linear._saved
        if taped is not None and saved is not None and saved[0] == saved[1].shape:
            tape = taped.backward.get(need_dx)
            if tape is not None:
                dx = tape.run_pass(saved[1], dy, taped.ends.dx, taped.watched)
                if dx is not None:
                    return cast(Array, dx) if need_dx else None
            elif need_dx not in taped.backward and need_dx in self._calls:
                return self._record_backward(taped, saved[1], dy, need_dx)
        return self._counted(need_dx, lambda: self._back_by_units(dy, need_dx))

    def forget(self) -> None:
        """Drop what the layers and tapes keep."""
        self._taped = self._form = None
        self.rest()

    def rest(self) -> None:
        """Have the layers forget the last forward, but keep the tapes for the next."""
        for unit in self._units:
            unit.forget()

    def __getstate__(self) -> dict[str, Any]:
        """Leave tapes out of copies and pickles."""
        return {**vars(self), "_taped": None, "_form": None}

    # -- by units ------------------------------------------------------------------------------

    def by_units(self, x: Array, training: bool) -> Array:
        """All layers' forward, with `training` as it is: a layer of one's own may know more."""
        if training is not True:
            self.forget()
        for unit in self._units:
            x = unit.forward(x, training=training)
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

    def _counted(self, which: object, make: Callable[[], _Result]) -> _Result:
        """Make a pass and count its kernel calls: others next time are a signal handler's, say."""
        before = _core.kernel_calls()
        result = make()
        self._calls[which] = _core.kernel_calls() - before
        return result

    # -- by tape -------------------------------------------------------------------------------

    def _recurs(self, x: Array) -> bool:
        """Whether samples of this form come for the second time, and a tape is worth an attempt."""
        if not self._repeats or type(x) is not np.ndarray or x.ndim != 2 or not x.size:
            return False
        form = x.shape, x.dtype
        recurs = form == self._form
        if not recurs:
            self._form, self._calls = form, {}
        self._pause = max(0, self._pause - 1)
        return recurs and self._pause == 0 and all(map(is_plain, self._layers))

    def _record(self, x: Array) -> Array:
        y, tape = _core.record_pass(
            lambda: self.by_units(x, True),
            watch_layers(self._layers, self._layers),
            live(self._layers),
            x,
        )
        ends = _Ends.of(self._layers, self._units)
        if ends is None or tape is None or tape.calls != self._calls.get("forward"):
            self._pause = PAUSE
            return y
        keepers = ends.linear, ends.relu
        self._taped = _Taped(
            ends,
            tape,
            watch_layers(self._layers, keepers),
            {},
            [(layer, layer._saved) for layer in self._layers if layer not in keepers],
            [(unit, unit._ran) for unit in self._units[1:] if isinstance(unit, Block)],
        )
        self._has_run = False
        return y

    def _record_backward(self, taped: _Taped, x: Array, dy: Array, need_dx: bool) -> Array | None:
        if type(dy) is not np.ndarray:
            return self._back_by_units(dy, need_dx)
        dx, tape = _core.record_pass(
            lambda: self._back_by_units(dy, need_dx), taped.watched, (), x, dy
        )
        whole = tape is not None and tape.calls == self._calls[need_dx]
        taped.backward[need_dx] = tape if whole else None
        return dx


def _from_first_trained(units: Iterable[Unit]) -> list[Unit]:
    """Skip the units before the first with parameters, where no gradient is needed."""
    return list(itertools.dropwhile(lambda unit: not unit.parameters(), units))
