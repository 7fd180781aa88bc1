"""fastbn itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import fastbn
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
from fastbn.bench.operands import NormalizationOperands, ProductOperands, placed
from fastbn.bench.shapes import Normalization, Product, TrainingStep
from fastbn.cli.model import build_net
from fastbn.data import take_batch
from fastbn.train.numpy_baseline import Block


class Fastbn(Library):
    """The functions on arrays, and `Trainer.step`."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        fastbn.set_num_threads(threads)

    def version(self) -> str:
        return f"fastbn {fastbn.__version__} {fastbn.info()['target']}"

    def threads_in_force(self) -> int:
        return fastbn.get_num_threads()

    def product(self, case: Product, operands: ProductOperands) -> Job:
        a, b, c = operands.a, operands.b, operands.c
        matmul = fastbn.matmul
        return Job(lambda: matmul(a, b, out=c), product_of(operands))

    def normalization(self, case: Normalization, operands: NormalizationOperands) -> Job:
        x, dy, gamma, beta = operands.x, operands.dy, operands.gamma, operands.beta
        mean, var = operands.running_mean.copy(), operands.running_var.copy()
        axis, out = case.axis, placed(x)
        batch_norm, backward = fastbn.batch_norm, fastbn.batch_norm_backward
        if case.operation == "backward":
            _, cache = batch_norm(x, gamma, beta, training=True, axis=axis)
            return Job(lambda: backward(dy, cache, out=out), lambda: backward(dy, cache, out=out))
        training = case.operation == "forward"
        return Job(
            lambda: batch_norm(x, gamma, beta, mean, var, training=training, axis=axis, out=out),
            written_to(out),
        )

    def training(self, case: TrainingStep, blocks: Sequence[Block], images: Images) -> Job:
        net = build_net(case.sizes, batch_norm=True, dtype=case.dtype, rng=np.random.default_rng(0))
        for parameter, value in zip(
            net.parameters(), (a for block in blocks for a in block.arrays()), strict=True
        ):
            parameter.data[...] = value
        optimizer = fastbn.SGD(net.parameters(), lr=LEARNING_RATE, momentum=SGD_MOMENTUM)
        trainer = fastbn.Trainer(net, fastbn.CrossEntropyLoss(), optimizer, metrics=())
        batches, losses = Batches(len(images.x), case.batch), FirstLosses()
        x = np.empty((case.batch, case.sizes[0]), case.dtype)
        y = np.empty(case.batch, images.y.dtype)

        def step() -> None:
            rows = batches.next()
            take_batch(images.x, rows, x)
            take_batch(images.y, rows, y)
            losses.add(trainer.step(x, y))

        return Job(step, losses.values)


class OneThread(Fastbn):
    """The same on one thread, beside which more of them must not be slower."""

    def __init__(self, threads: int) -> None:
        super().__init__(1)
