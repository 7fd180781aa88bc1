"""The optimizer's update on a tape: after the kernels of a step it goes on in the same call.

It has a tape of its own, since a learning rate changes more often than a net.  An update is
recorded where the numbers are those of the one before: with a rate that is another in each step
none is, and the optimizer goes its way in Python, as it does for the steps by layers.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from fastbn import _core
from fastbn.layers import Layer
from fastbn.optim import SGD, Adam, AdamW, Optimizer
from fastbn.train.watch import watch

# Exact types: a subclass may do more.
_OPTIMIZERS = frozenset((SGD, Adam, AdamW))
_METHODS = frozenset(("step", "_update", "_decays"))


class _Taped(NamedTuple):
    """A tape and what it holds for."""

    optimizer: Optimizer
    decays: list[bool]
    update: tuple[_core.Tape, _core.Watched]


class SteadyUpdate:
    """Updates of one optimizer after the other, by Python or for a tape to make."""

    def __init__(self) -> None:
        self._taped: _Taped | None = None
        self._before: object = None  # the optimizer of the last update in Python, and its numbers

    def of(self, optimizer: Optimizer) -> tuple[_core.Tape, _core.Watched] | None:
        """Return what a step's tape may go on with, which looks itself whether it holds."""
        taped = self._taped
        if taped is None or taped.optimizer is not optimizer:
            return None
        if optimizer.weight_decay > 0 and optimizer._decays() != taped.decays:
            return None
        return taped.update

    def make(self, optimizer: Optimizer, net: Layer) -> None:
        """Make an update in Python, and record it if it recurs."""
        self._taped = None
        numbers = {name: getattr(optimizer, name) for name in optimizer.hyperparameters}
        recurs = (optimizer, numbers) == self._before
        self._before = optimizer, numbers
        if recurs and _tapeable(optimizer, net):
            self._taped = _record(optimizer)
        else:
            optimizer.step()


def _tapeable(optimizer: Optimizer, net: Layer) -> bool:
    """Whether an update calls kernels alone, on parameters that the tape of a step watches."""
    own = {id(parameter) for parameter in net.parameters()}
    return (
        type(optimizer) in _OPTIMIZERS
        and not _METHODS & vars(optimizer).keys()
        and all(id(parameter) in own for parameter in optimizer.params)
    )


def _record(optimizer: Optimizer) -> _Taped | None:
    """Make an update and record it.

    Parameters that move end the tape of a step: an update by Python follows, which makes the
    segments anew.
    """
    segments: Any = optimizer._segments
    watched = watch((optimizer, vars(optimizer) | {"steps": ...}), (segments, vars(segments)))
    decays = optimizer._decays()
    _, tape = _core.record(optimizer.step)
    return _Taped(optimizer, decays, (tape, watched)) if tape.whole else None
