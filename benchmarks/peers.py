"""The implementations of the matrix product that are compared, each called at its best.

NumPy is always there; oneDNN (PyPI onednn-cpu-gomp), MKL (PyPI mkl) and PyTorch where installed.
Each factory returns a function without arguments that computes one given product into one given
array, with as little Python around it as the library allows, or None if it cannot.
"""

import ctypes
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import fastbn

Run = Callable[[], Any]
Factory = Callable[[np.ndarray, np.ndarray, np.ndarray], Run | None]


def _fastbn(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> Run:
    return lambda: fastbn.matmul(a, b, out=out)


def _numpy(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> Run:
    return lambda: np.matmul(a, b, out=out)


def _library(name: str) -> ctypes.CDLL | None:
    """Load a library that a wheel put in the environment's lib folder."""
    for path in sorted((Path(sys.prefix) / "lib").glob(name)):
        try:
            return ctypes.CDLL(str(path))
        except OSError:
            continue
    return None


def _stored(x: np.ndarray) -> tuple[bool, int]:
    """Whether a matrix lies transposed, and its leading dimension."""
    transposed = not x.flags.c_contiguous and x.flags.f_contiguous
    rows = x.T if transposed else x
    return transposed, rows.strides[0] // rows.itemsize


@cache
def _onednn_library() -> ctypes.CDLL | None:
    return _library("libdnnl.so*")


def _onednn(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> Run | None:
    library = _onednn_library()
    if library is None or a.dtype != np.float32:
        return None
    (ta, lda), (tb, ldb) = _stored(a), _stored(b)
    i64, ptr = ctypes.c_int64, ctypes.c_void_p
    call = library.dnnl_sgemm
    call.argtypes = [ctypes.c_char, ctypes.c_char, i64, i64, i64, ctypes.c_float, ptr, i64, ptr]
    call.argtypes += [i64, ctypes.c_float, ptr, i64]
    (m, k), n = a.shape, b.shape[1]
    args = (b"T" if ta else b"N", b"T" if tb else b"N", m, n, k, 1.0, a.ctypes.data, lda)
    args += (b.ctypes.data, ldb, 0.0, out.ctypes.data, n)
    return lambda: call(*args)


@cache
def _mkl_library() -> ctypes.CDLL | None:
    return _library("libmkl_rt.so*")


def _mkl(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> Run | None:
    library = _mkl_library()
    if library is None:
        return None
    (ta, lda), (tb, ldb) = _stored(a), _stored(b)
    single = a.dtype == np.float32
    call = library.cblas_sgemm if single else library.cblas_dgemm
    real = ctypes.c_float if single else ctypes.c_double
    integer, ptr = ctypes.c_int, ctypes.c_void_p
    call.argtypes = [integer] * 6 + [real, ptr, integer, ptr, integer, real, ptr, integer]
    row_major, no_transpose, transpose = 101, 111, 112
    (m, k), n = a.shape, b.shape[1]
    args = (row_major, transpose if ta else no_transpose, transpose if tb else no_transpose)
    args += (m, n, k, 1.0, a.ctypes.data, lda, b.ctypes.data, ldb, 0.0, out.ctypes.data, n)
    return lambda: call(*args)


@cache
def _torch_module() -> Any:
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(fastbn.get_num_threads())
    return torch


def _torch(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> Run | None:
    torch = _torch_module()
    if torch is None:
        return None
    ta, tb, tout = torch.from_numpy(a), torch.from_numpy(b), torch.from_numpy(out)
    return lambda: torch.mm(ta, tb, out=tout)


IMPLEMENTATIONS: dict[str, Factory] = {
    "fastbn": _fastbn,
    "numpy": _numpy,
    "onednn": _onednn,
    "mkl": _mkl,
    "torch": _torch,
}


def available() -> list[str]:
    """Return the names of the implementations that are installed, fastbn first."""
    x = np.ones((8, 8), np.float32)
    return [name for name, make in IMPLEMENTATIONS.items() if make(x, x, x.copy()) is not None]


def blas_core() -> str:
    """Return the name and core type of NumPy's BLAS, as threadpoolctl sees it."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return "unknown (threadpoolctl is not installed)"
    for library in threadpool_info():
        if library.get("user_api") == "blas" and "numpy" in library["filepath"]:
            return f"{library['internal_api']} {library['version']} {library.get('architecture')}"
    return "unknown"
