"""oneDNN's `dnnl_sgemm`, from the wheel onednn-cpu-gomp."""

from __future__ import annotations

import ctypes

from fastbn.bench.libraries.base import Job, Library, product_of
from fastbn.bench.libraries.shared_objects import load, stored
from fastbn.bench.operands import ProductOperands
from fastbn.bench.shapes import Product


class _Version(ctypes.Structure):
    _fields_ = (("major", ctypes.c_int), ("minor", ctypes.c_int), ("patch", ctypes.c_int))


class OneDNN(Library):
    """Products in float32; it takes row-major matrices as they are."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self._library = load("dnnl")
        i64, pointer, real = ctypes.c_int64, ctypes.c_void_p, ctypes.c_float
        self._sgemm = self._library.dnnl_sgemm
        self._sgemm.argtypes = [ctypes.c_char, ctypes.c_char, i64, i64, i64, real]
        self._sgemm.argtypes += [pointer, i64, pointer, i64, real, pointer, i64]

    def version(self) -> str:
        self._library.dnnl_version.restype = ctypes.POINTER(_Version)
        version = self._library.dnnl_version().contents
        return f"oneDNN {version.major}.{version.minor}.{version.patch}"

    def product(self, case: Product, operands: ProductOperands) -> Job | None:
        if case.dtype != "float32":
            return None
        a, b, c = operands.a, operands.b, operands.c
        (ta, lda), (tb, ldb) = stored(a), stored(b)
        flags = b"T" if ta else b"N", b"T" if tb else b"N"
        ab = (a.ctypes.data, lda, b.ctypes.data, ldb)
        arguments = (*flags, case.m, case.n, case.k, 1.0, *ab, 0.0, c.ctypes.data, case.n)
        sgemm = self._sgemm
        return Job(lambda: sgemm(*arguments), product_of(operands))
