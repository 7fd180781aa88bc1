"""NumPy as someone who knows it well writes it: no array is allocated that is as large as x."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastbn.bench.images import Batches, Images
from fastbn.bench.libraries.base import (
    LEARNING_RATE,
    SGD_MOMENTUM,
    FirstLosses,
    Job,
    Library,
    product_of,
    written_to,
)
from fastbn.bench.operands import (
    EPS,
    MOMENTUM,
    Array,
    NormalizationOperands,
    ProductOperands,
    placed,
)
from fastbn.bench.shapes import Normalization, Product, TrainingStep
from fastbn.train.numpy_baseline import Block, NumpyNet


def blas() -> dict[str, Any] | None:
    """Return what threadpoolctl says of NumPy's BLAS; None without it."""
    try:
        threadpoolctl = importlib.import_module("threadpoolctl")
    except ImportError:
        return None
    for library in threadpoolctl.threadpool_info():
        if library.get("user_api") == "blas":
            return dict(library)
    return None


class WithNumpy(Library):
    """`np.matmul`, and batch normalization and training written on it."""

    def version(self) -> str:
        library = blas()
        if library is None:
            return f"NumPy {np.__version__}, BLAS unknown without threadpoolctl"
        core = library.get("architecture") or "core type unknown"
        return f"NumPy {np.__version__}, {library['internal_api']} {library['version']} {core}"

    def threads_in_force(self) -> int:
        library = blas()
        return self.threads if library is None else int(library["num_threads"])

    def product(self, case: Product, operands: ProductOperands) -> Job:
        a, b, c = operands.a, operands.b, operands.c
        matmul = np.matmul
        return Job(lambda: matmul(a, b, out=c), product_of(operands))

    def normalization(self, case: Normalization, operands: NormalizationOperands) -> Job:
        normalization = _Normalization(case, operands)
        if case.operation == "forward":
            return Job(normalization.forward, written_to(normalization.y))
        if case.operation == "inference":
            return Job(normalization.inference, written_to(normalization.y))
        normalization.forward()
        return Job(normalization.backward, normalization.gradients)

    def training(self, case: TrainingStep, blocks: Sequence[Block], images: Images) -> Job:
        net = NumpyNet(blocks, lr=LEARNING_RATE, momentum=SGD_MOMENTUM)
        batches, losses = Batches(len(images.x), case.batch), FirstLosses()
        x = np.empty((case.batch, case.sizes[0]), case.dtype)

        def step() -> None:
            rows = batches.next()
            np.take(images.x, rows, axis=0, out=x, mode="clip")  # mode "raise" buffers `out`
            losses.add(net.step(x, images.y[rows]))

        return Job(step, losses.values)


class _Normalization:
    """Batch normalization on (N, C), or on (N, C, H * W): views of the arrays as they lie."""

    def __init__(self, case: Normalization, operands: NormalizationOperands) -> None:
        channels_last = case.axis % len(case.shape) == len(case.shape) - 1
        shape = (-1, case.channels) if channels_last else (*case.shape[:2], -1)
        self._x, self._dy = operands.x.reshape(shape), operands.dy.reshape(shape)
        self._dot = "ij,ij->j" if channels_last else "ijk,ijk->j"
        self._column = (case.channels,) if channels_last else (case.channels, 1)
        self._n = operands.x.size // case.channels
        self._ones = np.ones(len(self._x), case.dtype) if channels_last else None
        self._gamma, self._beta = operands.gamma, operands.beta
        self._mean, self._var = operands.running_mean.copy(), operands.running_var.copy()
        self._centred = placed(self._x)
        self._invstd = np.empty_like(operands.gamma)
        self.y = placed(operands.x)
        self._out = self.y.reshape(shape)
        self._gradients: tuple[Array, Array] = (self._gamma, self._beta)

    def _sums(self, a: Array) -> Array:
        # BLAS is faster than a reduction.
        sums: Array = a.sum(axis=(0, 2)) if self._ones is None else self._ones @ a
        return sums

    def _values(self, a: Array) -> Array:
        return a.reshape(self._column)

    def forward(self) -> None:
        """Normalize by the statistics of x, and update the running ones."""
        n = self._n
        mean = self._sums(self._x) / n
        np.subtract(self._x, self._values(mean), out=self._centred)
        var = np.einsum(self._dot, self._centred, self._centred) / n
        np.divide(1, np.sqrt(var + EPS), out=self._invstd)
        np.multiply(self._centred, self._values(self._gamma * self._invstd), out=self._out)
        self._out += self._values(self._beta)
        self._mean += MOMENTUM * (mean - self._mean)
        self._var += MOMENTUM * (var * (n / (n - 1)) - self._var)

    def inference(self) -> None:
        """Normalize by the running statistics."""
        scale = self._gamma / np.sqrt(self._var + EPS)
        np.multiply(self._x, self._values(scale), out=self._out)
        self._out += self._values(self._beta - self._mean * scale)

    def backward(self) -> None:
        """Gradients, from the centred values that the forward pass left."""
        n, dy, dx = self._n, self._dy, self._out
        dbeta = self._sums(dy)
        dgamma = np.einsum(self._dot, dy, self._centred) * self._invstd
        np.multiply(self._centred, self._values(dgamma * self._invstd / -n), out=dx)
        dx += dy
        dx -= self._values(dbeta / n)
        dx *= self._values(self._gamma * self._invstd)
        self._gradients = dgamma, dbeta

    def gradients(self) -> Sequence[Array]:
        """Return dx, dgamma and dbeta."""
        return (self.y, *self._gradients)
