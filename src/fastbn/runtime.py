"""Threads, instruction set, and what the library found out about the machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastbn import _core

__all__ = ["get_num_threads", "info", "set_num_threads", "threads", "use_target"]


def set_num_threads(n: int) -> None:
    """Set how many threads a kernel may use, for the whole process.

    Results do not depend on it: they have the same bits for any number of threads.

    Parameters
    ----------
    n : int
        At least 1.  It may exceed the number of CPUs.

    Raises
    ------
    ValueError
        If `n` is below 1.
    """
    _core.set_num_threads(n)


def get_num_threads() -> int:
    """Return how many threads a kernel may use.

    Until it is set, this is the environment variable ``FASTBN_NUM_THREADS``, else
    ``OMP_NUM_THREADS``, else the number of CPUs that the process may use: those of its affinity
    mask, or fewer if its control group has a smaller quota.

    Returns
    -------
    int
        At least 1.
    """
    return _core.get_num_threads()


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Use `n` threads within a ``with`` block, for the whole process.

    Parameters
    ----------
    n : int
        At least 1.

    Raises
    ------
    ValueError
        If `n` is below 1.

    Examples
    --------
    >>> with fastbn.threads(1):
    ...     y = fastbn.matmul(a, b)
    """
    before = _core.get_num_threads()
    _core.set_num_threads(n)
    try:
        yield
    finally:
        _core.set_num_threads(before)


@contextmanager
def use_target(name: str) -> Iterator[None]:
    """Use the kernels of one instruction set within a ``with`` block, for the whole process.

    Between instruction sets results differ by rounding.  The environment variable
    ``FASTBN_TARGET`` forces one from the start.

    Parameters
    ----------
    name : {"avx512", "avx2", "neon", "scalar"}
        One of ``info()["available_targets"]``.

    Raises
    ------
    ValueError
        If `name` is unknown, or this CPU cannot run it; the message names those it can.
    """
    before = _core.get_target()
    _core.set_target(name)
    try:
        yield
    finally:
        _core.set_target(before)


def info() -> dict[str, Any]:
    """Return what runs here.

    Returns
    -------
    dict
        ``version``; ``target`` in force and ``available_targets``, best first; ``cpu_features`` of
        those that matter here; ``cache_sizes``, bytes of the data caches from level 1 up;
        ``threads``; ``compiler``; ``openmp``, whether threads are OpenMP's, a build option;
        ``built_targets``.
    """
    build = _core.build_info()
    return {
        "version": _core.__version__,
        "target": _core.get_target(),
        "available_targets": _core.available_targets(),
        "built_targets": build["targets"],
        "cpu_features": build["cpu_features"],
        "cache_sizes": build["cache_sizes"],
        "threads": _core.get_num_threads(),
        "compiler": build["compiler"],
        "openmp": build["openmp"],
    }
