"""Parameters as an optimizer sees them: a few flat runs, with arrays of state beside them.

    data:   | weight | weight | weight | bias | gamma | beta |    the flat array of a net
            '------- segment ----------'------ segment ------'    neighbours that are treated alike
    grad:   the same places
    state:  a flat array of each name for each segment

A net is updated by one kernel call a segment.  The parameters of a `Sequential` make two segments
at most, one with weight decay and one without.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from operator import attrgetter, is_
from typing import Any, NamedTuple

from fastbn.functional import Array
from fastbn.layers.flat import adjoin, aligned_zeros
from fastbn.layers.parameter import Parameter, Place

_PLACE = attrgetter("place")
_LEAST_SHARED = 16384  # elements: fetching fewer takes a microsecond or two


class Segment(NamedTuple):
    """Neighbouring parameters, flat; each array of `state` is as long as `data`.

    Threads share out each of the parts of `data` that end at `ends`: a large weight, of so many
    columns in `cols`, by these where the threads are far apart, all else by rows.
    """

    data: Array
    grad: Array
    state: dict[str, Array]
    decay: bool
    ends: tuple[int, ...]
    cols: tuple[int, ...]


class Segments:
    """The segments of fixed parameters, which are made anew where those move or decay otherwise.

    Parameters
    ----------
    params : sequence of Parameter
    state_names : tuple of str
        The arrays that are kept beside the parameters; they start with zeros and follow a
        parameter that moves.
    """

    def __init__(self, params: Sequence[Parameter], state_names: tuple[str, ...]) -> None:
        self._params = params
        self._state_names = state_names
        self._state: list[dict[str, Array]] = [{} for _ in params]  # views of the segments'
        self._segments: list[Segment] = []
        self._places: list[Place] = []  # of the parameters, as the segments have them
        self._decays: list[bool] = []

    def settled(self, decays: list[bool]) -> list[Segment]:
        """Return the segments as the parameters lie now, which decay so; empty: none does."""
        places = list(map(_PLACE, self._params))
        if not (self._segments and decays == self._decays and all(map(is_, places, self._places))):
            self._segments = []  # stays so if memory runs out, and the next step tries again
            self._places, self._decays = places, decays
            self._segments = [self._segment(run) for run in self._runs()]
        return self._segments

    def state(self, decays: list[bool]) -> dict[str, Array]:
        """Return the live arrays by name and place, "velocity.0" and so on."""
        self.settled(decays)
        return {
            f"{name}.{place}": self._state[place][name]
            for name in self._state_names
            for place in range(len(self._params))
        }

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the segments, which point into memory that a copy does not share."""
        return {**vars(self), "_segments": [], "_places": []}

    def _runs(self) -> list[list[int]]:
        """Group the places of parameters into neighbours of the same decay."""
        places, decays = self._places, self._decays or [False] * len(self._places)
        runs: list[list[int]] = []
        for place in sorted(
            range(len(places)), key=lambda i: (id(places[i].data), places[i].start)
        ):
            last = runs[-1][-1] if runs else None
            if (
                last is not None
                and adjoin(places[last], places[place])
                and decays[last] == decays[place]
            ):
                runs[-1].append(place)
            else:
                runs.append([place])
        return runs

    def _segment(self, run: list[int]) -> Segment:
        """Make the segment of a run of parameters, to which their state moves."""
        homes = [self._places[place] for place in run]
        data, grad, start, _ = homes[0]
        stop = homes[-1].stop
        decay = bool(self._decays) and self._decays[run[0]]
        state = {name: aligned_zeros(stop - start, data.dtype) for name in self._state_names}
        for place, home in zip(run, homes, strict=True):
            for name, array in state.items():
                view = array[home.start - start : home.stop - start]
                view = view.reshape(self._params[place].data.shape)
                view[...] = self._state[place].get(name, 0)
                self._state[place][name] = view
        starts = [home.start - start for home in homes] + [stop - start]
        shapes = [self._params[place].data.shape for place in run]
        ends, cols = _parts(starts, shapes)
        return Segment(data[start:stop], grad[start:stop], state, decay, ends, cols)


def _parts(
    starts: Sequence[int], shapes: Sequence[tuple[int, ...]]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Where the parts end that threads share out: large parameters, and what is between them.

    `starts` of the parameters and the end of all.  Threads that share out the rows of a weight's
    gradient, or far apart its columns, share out its update alike, and neither has to fetch what
    the other has written.  Beside the ends the columns of each part, 0 of what is no weight.
    """
    parts = {starts[-1]: 0}
    for (start, stop), shape in zip(itertools.pairwise(starts), shapes, strict=True):
        if stop - start >= _LEAST_SHARED:
            is_weight = len(shape) == 2 and (stop - start) == shape[0] * shape[1]
            parts.setdefault(start, 0)
            parts[stop] = shape[1] if is_weight else 0
    parts.pop(0, None)
    ends = sorted(parts)
    return tuple(ends), tuple(parts[end] for end in ends)
