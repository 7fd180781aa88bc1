"""The environment in which every library is at its best, and what would hold one back."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import fastbn

# Settings that make a library run kernels for another processor than the one at hand: either of
# OpenBLAS's two can halve NumPy, and a ratio to a halved peer is no result.
HELD_BACK_BY = (
    "OPENBLAS_CORETYPE",
    "OPENBLAS_L2_SIZE",
    "MKL_ENABLE_INSTRUCTIONS",
    "MKL_DEBUG_CPU_TYPE",
    "DNNL_MAX_CPU_ISA",
    "ONEDNN_MAX_CPU_ISA",
    "ATEN_CPU_CAPABILITY",
    "NPY_DISABLE_CPU_FEATURES",
)
THREAD_VARIABLES = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def held_back(threads: int, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return the settings that would slow a library down, as "NAME=value".

    Parameters
    ----------
    threads : int
        The number of threads that each should have.
    environ : mapping
        Of which process; by default of this one.
    """
    names = [name for name in HELD_BACK_BY if name in environ]
    names += [name for name in THREAD_VARIABLES if environ.get(name, str(threads)) != str(threads)]
    return [f"{name}={environ[name]}" for name in names]


# Where OpenMP's threads are not bound to CPUs, two are woken on one of them now and then, and
# each waits for the other until the scheduler's next tick: 4 to 16 ms, for a product of 50 us.
_BOUND = {"OMP_PROC_BIND": "true", "OMP_PLACES": "threads"}


def freed(
    threads: int,
    environ: Mapping[str, str] = os.environ,
    *,
    bind: bool = False,
    numpy_idle: bool = False,
) -> dict[str, str]:
    """Return an environment for a process in which every library is at its best.

    Parameters
    ----------
    threads : int
        The number of threads of each.
    bind : bool
        Whether OpenMP binds each of its threads to a CPU of its own.  Not for a library that counts
        the CPUs of its first thread, which then are one.
    numpy_idle : bool
        Whether NumPy does no more there than check answers.  It does so on one thread then: those
        of OpenBLAS would go on spinning for a tenth of a second, into the rounds that follow.
    environ : mapping
        What it is made from; not changed.
    """
    variables = {name: value for name, value in environ.items() if name not in HELD_BACK_BY}
    # This very fastbn, wherever the other process would look for it by itself.
    home = str(Path(fastbn.__file__).parents[1])
    path = os.pathsep.join(filter(None, [home, environ.get("PYTHONPATH")]))
    threading = dict.fromkeys((*THREAD_VARIABLES, "FASTBN_NUM_THREADS"), str(threads))
    if numpy_idle:
        threading["OPENBLAS_NUM_THREADS"] = "1"
    return variables | threading | {"PYTHONPATH": path} | (_BOUND if bind else {})


def cpus_at_hand() -> list[int]:
    """Return the CPUs that this process may use, or as many numbers where the system hides them."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
