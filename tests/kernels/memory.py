"""Arrays in awkward memory: any strides, any alignment, guarded by pages or by rogue values."""

import ctypes
import mmap
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

ROGUE = 0xA5


def at_offset(values: Array, offset: int) -> Array:
    """Copy to C-contiguous memory that starts `offset` bytes beyond a multiple of 128."""
    raw = np.full(values.nbytes + 256, ROGUE, np.uint8)
    start = -raw.ctypes.data % 128 + offset
    copy = raw[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    copy[...] = values
    return copy


class Padded:
    """`view`: values in the middle of a larger array that is full of rogue bytes."""

    def __init__(self, values: Array, margin: int = 3) -> None:
        self._whole = np.empty([n + 2 * margin for n in values.shape], values.dtype)
        self._whole.view(np.uint8)[...] = ROGUE
        self._middle = tuple(slice(margin, margin + n) for n in values.shape)
        self.view = self._whole[self._middle]
        self.view[...] = values

    def is_intact(self) -> bool:
        """Whether all that surrounds the values is as it was."""
        outside = np.ones(self._whole.shape, np.bool_)
        outside[self._middle] = False
        return bool((self._whole[outside].view(np.uint8) == ROGUE).all())


def _reversed(values: Array, axes: tuple[int, ...]) -> Array:
    index = tuple(slice(None, None, -1 if i in axes else 1) for i in range(values.ndim))
    return np.ascontiguousarray(values[index])[index]


def _every_other(values: Array) -> Array:
    whole = np.zeros([2 * n for n in values.shape], values.dtype)
    view = whole[tuple(slice(1, None, 2) for _ in values.shape)]
    view[...] = values
    return view


def _read_only(values: Array) -> Array:
    copy = values.copy()
    copy.flags.writeable = False
    return copy


# The same values in memory of every kind; all but "one byte off" are aligned.
LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "contiguous": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "padded": lambda v: Padded(v).view,
    "padded Fortran": lambda v: Padded(v.T).view.T,
    "first axis reversed": lambda v: _reversed(v, (0,)),
    "last axis reversed": lambda v: _reversed(v, (v.ndim - 1,)),
    "all axes reversed": lambda v: _reversed(v, tuple(range(v.ndim))),
    "every other": _every_other,
    "one byte off": lambda v: at_offset(v, 1),
    "one element off": lambda v: at_offset(v, v.itemsize),
    "read-only": _read_only,
}
WRITABLE = [name for name in LAYOUTS if name != "read-only"]


class GuardedPages:
    """Memory between two pages that no process may touch: one byte too far is a SIGSEGV."""

    def __init__(self, size: int) -> None:
        page = mmap.PAGESIZE
        self.size = -(-size // page) * page
        self._map = mmap.mmap(-1, self.size + 2 * page)
        self._raw = np.frombuffer(self._map, np.uint8)
        protect = ctypes.CDLL(None, use_errno=True).mprotect
        protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        base = self._raw.ctypes.data
        for guard in (base, base + page + self.size):
            if protect(guard, page, 0) != 0:
                raise OSError(ctypes.get_errno(), "mprotect")
        self._data = self._raw[page : page + self.size]

    def put(self, values: Array, *, at_end: bool) -> Array:
        """Copy `values` so that they end, or else start, at a guard page."""
        start = self.size - values.nbytes if at_end else 0
        view = self._data[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
        view[...] = values
        return view


def random_view(rng: np.random.Generator, memory: np.ndarray, *shape: int) -> np.ndarray:
    """A slice of `memory` as a matrix or vector: any offset, order of axes, steps and signs."""
    axes = rng.permutation(len(shape))
    strides = [0] * len(shape)
    span = 1
    for axis in axes:
        strides[axis] = span * int(rng.integers(1, 3))
        span += strides[axis] * (shape[axis] - 1)
    begin = int(rng.integers(memory.size - span + 1))
    view = np.lib.stride_tricks.as_strided(
        memory[begin:], shape, [s * memory.itemsize for s in strides]
    )
    return view[tuple(slice(None, None, int(rng.choice((-1, 1)))) for _ in shape)]


def random_index(view: np.ndarray, memory: np.ndarray) -> np.ndarray:
    """Where in `memory` the elements of a view lie."""
    first = (view.__array_interface__["data"][0] - memory.ctypes.data) // memory.itemsize
    index = np.full(view.shape, first)
    for axis, stride in enumerate(view.strides):
        steps = np.arange(view.shape[axis]) * (stride // memory.itemsize)
        index = index + steps.reshape([-1 if i == axis else 1 for i in range(view.ndim)])
    return index
