"""Arrays that a layer lends out for its results and takes back when nobody holds them any more.

A training step that allocates its activations anew pays for it twice: in page faults, and in
results that are no longer in cache.  A layer therefore keeps its results' memory.  But a user may
keep a result (``y1 = layer(x1, training=True)``), and it must not change under his hands when the
layer runs again.  CPython counts who holds an array; an array that only its workspace holds can be
lent again.

Every view of an array, and every view of a view, holds the array that owns the memory, so that one
count answers for all.  The count is compared with what this same code reads from a workspace that
has lent nothing, because it includes the references of the reading itself, and those differ by
version (3.14 borrows where 3.13 counts).  `map` reads it so that the interpreter's bytecode, its
specializing and its compiler, has no part in it.
"""

from __future__ import annotations

import math
from sys import getrefcount
from typing import Any

import numpy as np

from fastbn.functional import Array
from fastbn.layers.flat import aligned_zeros

__all__ = ["Workspace"]

# Two: the user's loop still holds the last step's result, `y = net(x, training=True)`, while the
# next one is computed.  Results that nobody holds from step to step only ever need one.
MAX_BLOCKS = 2


class _Block:
    """Memory for one result at a time."""

    __slots__ = ("array", "dtype", "owner", "size")

    def __init__(self, size: int, dtype: np.dtype[Any]) -> None:
        self.array = aligned_zeros(size, dtype)
        self.owner = (self.array.base,)  # what the views hold; in a tuple for `map` to go through
        self.size, self.dtype = size, dtype


def _holders(block: _Block) -> int:
    """Count the references to a block's memory, the block's own included."""
    return next(map(getrefcount, block.owner))


_HOLDERS_WHEN_IDLE = _holders(_Block(1, np.dtype(np.float32)))


class Workspace:
    """Lends uninitialized arrays, the same memory again once it is free.

    A smaller array is lent from the start of a larger block: the last, smaller batch of an epoch
    does not cost the large block.
    """

    __slots__ = ("_blocks",)

    def __init__(self) -> None:
        self._blocks: list[_Block] = []

    def lend(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Return a C-contiguous array that nobody else holds; its values are arbitrary."""
        size = math.prod(shape)
        unfit = None
        for block in self._blocks:
            if _holders(block) == _HOLDERS_WHEN_IDLE:
                if block.size >= size and block.dtype == dtype:
                    return block.array[:size].reshape(shape)
                unfit = block
        return self._replace(unfit, _Block(size, dtype)).array[:size].reshape(shape)

    def _replace(self, unfit: _Block | None, block: _Block) -> _Block:
        """Keep `block` in the place of an idle one that does not fit, or of the oldest."""
        kept = [old for old in self._blocks if old is not unfit]
        self._blocks = [block, *kept[: MAX_BLOCKS - 1]]
        return block

    def __reduce__(self) -> tuple[object, ...]:
        return Workspace, ()  # a copy of a layer grows its own
