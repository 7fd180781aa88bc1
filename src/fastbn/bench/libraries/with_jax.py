"""JAX: functions compiled for each shape; the call waits until the result is there.

XLA takes its number of threads from the CPUs that the process is bound to when JAX is imported: the
worker is bound before that, to as many as there are threads.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastbn.bench.environment import cpus_at_hand
from fastbn.bench.images import Batches, Images
from fastbn.bench.libraries.base import LEARNING_RATE, SGD_MOMENTUM, FirstLosses, Job, Library
from fastbn.bench.operands import EPS, MOMENTUM, NormalizationOperands
from fastbn.bench.shapes import Normalization, TrainingStep
from fastbn.train.numpy_baseline import Block


class WithJax(Library):
    """Batch normalization and training steps."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        # Any: the types of a library that is not required are not checked.
        self._jax: Any = importlib.import_module("jax")
        self._jnp: Any = importlib.import_module("jax.numpy")
        self._jax.config.update("jax_platforms", "cpu")

    def version(self) -> str:
        return f"JAX {self._jax.__version__} jit"

    def threads_in_force(self) -> int:
        return len(cpus_at_hand())

    def normalization(self, case: Normalization, operands: NormalizationOperands) -> Job:
        jax, jnp = self._settle(case.dtype)
        forward, backward, inference = _normalization(jnp, case)
        x, dy, gamma, beta, mean, var = (
            jnp.asarray(a)
            for a in (
                operands.x,
                operands.dy,
                operands.gamma,
                operands.beta,
                operands.running_mean,
                operands.running_var,
            )
        )
        function = jax.jit(
            {"forward": forward, "inference": inference}.get(case.operation, backward)
        )
        arguments = (x, gamma, beta, mean, var)
        if case.operation == "backward":
            _, *saved = jax.jit(forward)(*arguments)
            arguments = (dy, x, gamma, *saved[:2])
        wait = jax.block_until_ready

        def run() -> Any:
            return wait(function(*arguments))

        return Job(run, lambda: [np.asarray(array) for array in run()])

    def training(self, case: TrainingStep, blocks: Sequence[Block], images: Images) -> Job:
        jax, jnp = self._settle(case.dtype)
        # Parameters, momentum and statistics are donated: updated in the memory they lie in.
        train = jax.jit(_training_step(jax, jnp), donate_argnums=(0, 1, 2))
        state = _first_state(jnp, blocks)
        samples, labels = jnp.asarray(images.x), jnp.asarray(images.y)
        batches, losses = Batches(len(images.x), case.batch), FirstLosses()
        loss = None

        def step() -> None:
            nonlocal loss, state
            *state, loss = train(*state, samples, labels, batches.next())
            losses.add(loss)

        def finish() -> None:
            jax.block_until_ready((state, loss))

        return Job(step, losses.values, finish)

    def _settle(self, dtype: str) -> tuple[Any, Any]:
        self._jax.config.update("jax_enable_x64", dtype == "float64")
        return self._jax, self._jnp


def _normalization(jnp: Any, case: Normalization) -> tuple[Callable[..., Any], ...]:
    """Return forward, backward and inference as plain functions."""
    axis = case.axis % len(case.shape)
    axes = tuple(i for i in range(len(case.shape)) if i != axis)
    shape = [1] * len(case.shape)
    shape[axis] = case.channels
    n = float(np.prod(case.shape) / case.channels)

    def column(values: Any) -> Any:
        return values.reshape(shape)

    def forward(x: Any, gamma: Any, beta: Any, mean: Any, var: Any) -> Any:
        m = x.mean(axes)
        centred = x - column(m)
        v = (centred * centred).mean(axes)
        invstd = 1 / jnp.sqrt(v + EPS)
        y = centred * column(gamma * invstd) + column(beta)
        new_mean = mean + MOMENTUM * (m - mean)
        new_var = var + MOMENTUM * (v * (n / (n - 1)) - var)
        return y, m, invstd, new_mean, new_var

    def backward(dy: Any, x: Any, gamma: Any, m: Any, invstd: Any) -> Any:
        xhat = (x - column(m)) * column(invstd)
        dbeta, dgamma = dy.sum(axes), (dy * xhat).sum(axes)
        dx = column(gamma * invstd) * (dy - column(dbeta / n) - xhat * column(dgamma / n))
        return dx, dgamma, dbeta

    def inference(x: Any, gamma: Any, beta: Any, mean: Any, var: Any) -> Any:
        scale = gamma / jnp.sqrt(var + EPS)
        return (x * column(scale) + column(beta - mean * scale),)

    return forward, backward, inference


def _first_state(jnp: Any, blocks: Sequence[Block]) -> Any:
    parameters = [
        {name: jnp.array(value) for name, value in vars(block).items() if value is not None}
        for block in blocks
    ]
    momentum = [{name: jnp.zeros_like(v) for name, v in block.items()} for block in parameters]
    statistics = [
        (jnp.zeros_like(block["gamma"]), jnp.ones_like(block["gamma"]))
        for block in parameters
        if "gamma" in block
    ]
    return parameters, momentum, statistics


def _training_step(jax: Any, jnp: Any) -> Callable[..., Any]:
    """Return a step of SGD with momentum on softmax cross-entropy, as a plain function."""

    def loss_of(parameters: Any, statistics: Any, x: Any, y: Any) -> Any:
        n, new = len(x), []
        for block, old in zip(parameters, [*statistics, None], strict=True):
            x = x @ block["weight"] + block.get("bias", 0)
            if old is not None:
                m = x.mean(0)
                centred = x - m
                v = (centred * centred).mean(0)
                x = centred * (block["gamma"] / jnp.sqrt(v + EPS)) + block["beta"]
                x = jnp.maximum(x, 0)
                unbiased = v * (n / (n - 1))
                new.append(
                    tuple(o + MOMENTUM * (b - o) for o, b in zip(old, (m, unbiased), strict=True))
                )
        picked = jnp.take_along_axis(jax.nn.log_softmax(x), y[:, None], axis=1)
        return -picked.mean(), new

    def step(
        parameters: Any, momentum: Any, statistics: Any, samples: Any, labels: Any, rows: Any
    ) -> Any:
        x, y = jnp.take(samples, rows, axis=0), jnp.take(labels, rows)
        gradient = jax.value_and_grad(loss_of, has_aux=True)
        (loss, statistics), grads = gradient(parameters, statistics, x, y)
        map_ = jax.tree_util.tree_map
        momentum = map_(lambda v, g: SGD_MOMENTUM * v + g, momentum, grads)
        parameters = map_(lambda p, v: p - LEARNING_RATE * v, parameters, momentum)
        return parameters, momentum, statistics, loss

    return step
