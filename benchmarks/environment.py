"""Import before NumPy: frees every library of settings that would hold it back.

``OPENBLAS_CORETYPE`` forces OpenBLAS to the kernels of a named CPU, ``OPENBLAS_L2_SIZE`` to its
cache size: either can halve NumPy, and a ratio to a halved peer is no result.  Thread counts are
set alike for all, before any library reads them.
"""

import os
import sys

HELD_BACK_BY = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MKL_ENABLE_INSTRUCTIONS")
THREAD_VARIABLES = (
    "FASTBN_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
)


def prepare(threads: int | None = None) -> int:
    """Set the environment and return the number of threads, by default the CPUs at hand."""
    if "numpy" in sys.modules:
        loaded = [name for name in HELD_BACK_BY if name in os.environ]
        if loaded:
            print(f"WARNING: NumPy was loaded with {loaded} set: it is held back", file=sys.stderr)
    for name in HELD_BACK_BY:
        os.environ.pop(name, None)
    if threads is None:
        threads = int(os.environ.get("FASTBN_BENCH_THREADS", len(os.sched_getaffinity(0))))
    for name in THREAD_VARIABLES:
        os.environ[name] = str(threads)
    # Libraries with OpenMP runtimes of their own would else spin on the CPUs that the next one
    # needs: a few ms after each call of Intel's.
    os.environ.setdefault("KMP_BLOCKTIME", "0")
    return threads
