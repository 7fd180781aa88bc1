"""Whether the machine gives what it has, looked at between the turns of the libraries.

A virtual machine has its CPUs lent.  Seen on one of two, for 10 ms to minutes at a time, while the
system counted both as running all along:

- both on one core: two threads together compute what one does alone;
- each beside another last cache: a line takes 170 ns from one to the other instead of 30, and a
  training step of 8 images three times as long.

A library whose turn falls into such a spell loses to one whose turn does not.  With looks the
ratios to the best peer in 61 products scattered by 6 % from run to run, without by 9 %.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

# The least share that counts as undisturbed.  Multiply-adds in registers scatter by 3 % from look
# to look, hand-overs by half.
UNDISTURBED = 0.85
_HANDOVER_SCATTER = 2.0

# Some ten seconds of looks: a machine that computes more slowly for good, as it gets warm, counts
# as undisturbed again after these.  Nothing makes CPUs grow apart for good, so hand-overs are
# compared with the least of all.
_REMEMBERED = 400


class Look(NamedTuple):
    """What a machine gives at a time.

    Attributes
    ----------
    flop_per_s : float
        Multiply-adds in registers, of all threads.
    handover_seconds : float
        What a cache line takes from thread to thread; 0 where there is one.
    """

    flop_per_s: float
    handover_seconds: float


class Watch:
    """Looks at the machine, and remembers what it gave.

    Parameters
    ----------
    look : callable
        Returns a `Look`, or None where nothing can be seen: the machine counts as undisturbed then.
    """

    def __init__(self, look: Callable[[], Look | None]) -> None:
        self._look = look
        self._rates: deque[float] = deque(maxlen=_REMEMBERED)
        self._nearest = math.inf

    def share(self) -> float:
        """Look, and return what there is as a share of the most that there was."""
        now = self._look()
        if now is None:
            return 1.0
        self._rates.append(now.flop_per_s)
        computes = now.flop_per_s / max(self._rates)
        if not now.handover_seconds:
            return computes
        self._nearest = min(self._nearest, now.handover_seconds)
        return min(computes, _HANDOVER_SCATTER * self._nearest / now.handover_seconds)
