"""The optimizer's update on a tape: after the kernels of a step it goes on in the same call.

It has a tape of its own, since a learning rate changes more often than a net.  An update is
recorded where the numbers are those of the one before: with a rate that is another in each step
none is, and the optimizer goes its way in Python, as it does for the steps by layers.
"""

from __future__ import annotations

from typing import NamedTuple

from fastbn import _core
from fastbn.layers.taping import watch
from fastbn.optim import SGD, Adam, AdamW, Optimizer

# Exact types: a subclass may do more.
_OPTIMIZERS = frozenset((SGD, Adam, AdamW))
_METHODS = frozenset(("step", "_update", "_decays"))


class _Taped(NamedTuple):
    """A tape and what it holds for."""

    optimizer: Optimizer
    decays: list[bool] | None  # of the parameters; None where nothing decays
    update: _core.Update


class SteadyUpdate:
    """Updates of one optimizer after the other, by Python or for a tape to make."""

    def __init__(self) -> None:
        self._taped: _Taped | None = None
        # The optimizer of the last update in Python, and its numbers.
        self._before: tuple[Optimizer, dict[str, float]] | None = None

    def of(self, optimizer: Optimizer) -> _core.Update | None:
        """Return what a step's tape may go on with, which looks itself whether it holds."""
        taped = self._taped
        if taped is None:
            return None
        if taped.optimizer is not optimizer:
            self._taped = self._before = None  # its memory may go
            return None
        if taped.decays is not None and optimizer._decays() != taped.decays:
            return None
        return taped.update

    def make(self, optimizer: Optimizer) -> None:
        """Make an update in Python, and record it if it recurs."""
        self._taped = None
        if type(optimizer) not in _OPTIMIZERS or _METHODS & vars(optimizer).keys():
            self._before = None
            optimizer.step()
            return
        this = optimizer, {name: getattr(optimizer, name) for name in optimizer.hyperparameters}
        recurs, self._before = this == self._before, this
        if recurs:
            self._taped = _record(optimizer)
        else:
            optimizer.step()


def _record(optimizer: Optimizer) -> _Taped | None:
    """Make an update and record it, with what must not have changed when it is made again.

    Parameters that move leave read-only arrays behind.  Segments are made anew where parameters
    have decayed otherwise meanwhile.
    """
    segments = optimizer._segments
    watched = watch((optimizer, vars(optimizer) | {"steps": ...}), (segments, vars(segments)))
    decays = optimizer._decays()
    arrays = [array for p in optimizer.params for array in (p.data, p.grad)]
    _, tape = _core.record(optimizer.step, arrays=arrays)
    # A finalizer that Python ran meanwhile may have called kernels, too.
    if not tape.whole or tape.calls != len(segments.settled(decays)):
        return None
    update = tape, watched, optimizer, "steps"
    return _Taped(optimizer, decays if optimizer.weight_decay > 0 else None, update)
