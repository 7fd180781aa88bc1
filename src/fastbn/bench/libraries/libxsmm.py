"""libxsmm's `libxsmm_sgemm`, where the system has it as a shared library."""

from __future__ import annotations

import ctypes

from fastbn.bench.libraries.base import Job, Library, product_of
from fastbn.bench.libraries.shared_objects import load, stored
from fastbn.bench.operands import ProductOperands
from fastbn.bench.shapes import Product

_MOST_WORK = 64**3  # its own default of LIBXSMM_MAX_MNK


class Libxsmm(Library):
    """Products in both precisions; its kernels know one thread, so it takes part with one alone."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        if threads != 1:
            raise OSError("libxsmm computes a product on one thread")
        self._library = load("xsmm")
        self._library.libxsmm_init()

    def version(self) -> str:
        architecture = self._library.libxsmm_get_target_arch
        architecture.restype = ctypes.c_char_p
        return f"libxsmm {architecture().decode()}"

    def product(self, case: Product, operands: ProductOperands) -> Job | None:
        """Prepare what its own kernels compute; the rest it hands to whatever BLAS there is."""
        if case.layout == "NT" or case.m * case.n * case.k > _MOST_WORK:
            return None
        a, b, c = operands.a, operands.b, operands.c
        (ta, lda), (tb, ldb) = stored(a), stored(b)
        single = case.dtype == "float32"
        gemm = self._library.libxsmm_sgemm if single else self._library.libxsmm_dgemm
        real = ctypes.c_float if single else ctypes.c_double
        flag, integer = ctypes.c_char, ctypes.c_int
        # Its matrices are column-major and its arguments pointers: C.T = B.T A.T.
        values = (
            flag(b"T" if tb else b"N"),
            flag(b"T" if ta else b"N"),
            integer(case.n),
            integer(case.m),
            integer(case.k),
            real(1),
            ctypes.c_void_p(b.ctypes.data),
            integer(ldb),
            ctypes.c_void_p(a.ctypes.data),
            integer(lda),
            real(0),
            ctypes.c_void_p(c.ctypes.data),
            integer(case.n),
        )
        arguments = [v if isinstance(v, ctypes.c_void_p) else ctypes.byref(v) for v in values]
        return Job(lambda: gemm(*arguments), product_of(operands))
