"""MKL's `cblas_sgemm` and `cblas_dgemm`, from the wheel mkl."""

from __future__ import annotations

import ctypes

from fastbn.bench.libraries.base import Job, Library, product_of
from fastbn.bench.libraries.shared_objects import load, stored
from fastbn.bench.operands import ProductOperands
from fastbn.bench.shapes import Product

_ROW_MAJOR, _NO_TRANSPOSE, _TRANSPOSE = 101, 111, 112  # of the CBLAS interface


class MKL(Library):
    """Products in both precisions."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self._library = load("mkl_rt")

    def version(self) -> str:
        text = ctypes.create_string_buffer(200)
        self._library.MKL_Get_Version_String(text, len(text))
        words = text.value.decode(errors="replace").split()
        numbers = [word for word in words if word[0].isdigit()]
        return f"MKL {numbers[0] if numbers else 'unknown'}"

    def threads_in_force(self) -> int:
        return int(self._library.MKL_Get_Max_Threads())

    def product(self, case: Product, operands: ProductOperands) -> Job:
        a, b, c = operands.a, operands.b, operands.c
        (ta, lda), (tb, ldb) = stored(a), stored(b)
        single = case.dtype == "float32"
        gemm = self._library.cblas_sgemm if single else self._library.cblas_dgemm
        real = ctypes.c_float if single else ctypes.c_double
        integer, pointer = ctypes.c_int, ctypes.c_void_p
        gemm.argtypes = [integer] * 6 + [real, pointer, integer, pointer, integer]
        gemm.argtypes += [real, pointer, integer]
        flags = _TRANSPOSE if ta else _NO_TRANSPOSE, _TRANSPOSE if tb else _NO_TRANSPOSE
        sizes, ab = (case.m, case.n, case.k), (a.ctypes.data, lda, b.ctypes.data, ldb)
        arguments = (_ROW_MAJOR, *flags, *sizes, 1.0, *ab, 0.0, c.ctypes.data, case.n)
        return Job(lambda: gemm(*arguments), product_of(operands))
