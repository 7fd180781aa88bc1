"""The libraries that are compared, each at its best and with equal threads.

A library is a file with a class of `Library`; what it cannot do it leaves to the base class, which
says so by None.  Nothing in this file imports one, so that asking what is installed costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module, util

from fastbn.bench.libraries.base import Job, Library
from fastbn.bench.libraries.shared_objects import find

__all__ = [
    "ON_ONE_THREAD",
    "WITH_OPENBLAS",
    "WITH_OPENMP",
    "Job",
    "Library",
    "installed",
    "known",
    "load",
    "of_suite",
]

# What takes part in a suite, in the order of tables; "fastbn" is first, NumPy always there.
_SUITES = {
    "gemm": ("fastbn", "numpy", "onednn", "mkl", "libxsmm", "torch"),
    "batchnorm": ("fastbn", "numpy", "torch", "jax"),
    "training": ("fastbn", "numpy", "torch", "torch-compile", "jax"),
}

_CLASSES = {
    "fastbn": "fastbn.bench.libraries.ours:Fastbn",
    "fastbn-1": "fastbn.bench.libraries.ours:OneThread",
    "numpy": "fastbn.bench.libraries.with_numpy:WithNumpy",
    "onednn": "fastbn.bench.libraries.onednn:OneDNN",
    "mkl": "fastbn.bench.libraries.mkl:MKL",
    "libxsmm": "fastbn.bench.libraries.libxsmm:Libxsmm",
    "torch": "fastbn.bench.libraries.with_torch:WithTorch",
    "torch-compile": "fastbn.bench.libraries.with_torch:WithTorchCompile",
    "jax": "fastbn.bench.libraries.with_jax:WithJax",
}


def _module(name: str) -> Callable[[], bool]:
    return lambda: util.find_spec(name) is not None


def _shared_object(name: str) -> Callable[[], bool]:
    return lambda: find(name) is not None


_IS_THERE: dict[str, Callable[[], bool]] = {
    "fastbn": lambda: True,
    "fastbn-1": lambda: True,
    "numpy": lambda: True,
    "onednn": _shared_object("dnnl"),
    "mkl": _shared_object("mkl_rt"),
    "libxsmm": _shared_object("xsmm"),
    "torch": _module("torch"),
    "torch-compile": _module("torch"),
    "jax": _module("jax"),
}


# Those that compute with OpenMP: each is at its best with its threads bound to CPUs.
WITH_OPENMP = frozenset({"onednn", "mkl", "torch", "torch-compile"})
# A peer of no suite: whether more threads ever are slower than one (`--peers fastbn-1`).
ON_ONE_THREAD = frozenset({"fastbn-1"})
# Those that compute by NumPy's BLAS.
WITH_OPENBLAS = frozenset({"numpy"})


def installed(name: str) -> bool:
    """Whether a library seems to be installed; that it can be loaded shows when it is."""
    return _IS_THERE[name]()


def of_suite(suite: str, *, quick: bool = False) -> list[str]:
    """Return the installed libraries that take part in a suite, fastbn first.

    Parameters
    ----------
    suite : {"gemm", "batchnorm", "training"}
    quick : bool
        Without torch.compile, which compiles for minutes.
    """
    names = [name for name in _SUITES[suite] if installed(name)]
    return [name for name in names if not (quick and name == "torch-compile")]


def known(suite: str) -> tuple[str, ...]:
    """Return all libraries that can take part in a suite."""
    return _SUITES[suite]


def load(name: str, threads: int) -> Library:
    """Load a library in this process and settle its threads.

    Parameters
    ----------
    name : str
    threads : int

    Raises
    ------
    ImportError, OSError
        If it cannot be loaded.
    """
    module, _, kind = _CLASSES[name].partition(":")
    library: Library = getattr(import_module(module), kind)(threads)
    return library
