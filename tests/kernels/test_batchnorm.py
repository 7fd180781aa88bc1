"""Batch norm: error bounds, derivatives, and ReLU inside."""

import itertools
from typing import Any

import numpy as np
import pytest

from fastbn import _core

from . import oracles
from .arrays import bits, normal
from .batchnorm_checks import EPS, SHAPES, check, parameters, within
from .bounds import batch_norm_bounds, oracle_dtype
from .differences import assert_gradients

# -- the bound on the error ------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_error_bound_in_training(target, dtype, rng, shape, axis):
    x, dy = normal(rng, *shape, dtype=dtype) * 3 + dtype(1), normal(rng, *shape, dtype=dtype)
    p = parameters(rng, shape[axis], dtype)
    for activation in (None, "relu"):
        check(x, axis, p, dy, activation=activation)


def test_error_bound_around_every_edge(target, dtype, rng):
    edges = sorted({n * w + d for w in (1, 2, 4, 8, 16) for n in (1, 4) for d in (-1, 0, 1)} - {0})
    for width in edges:
        p, pair = parameters(rng, width, dtype), parameters(rng, 2, dtype)
        for rows in (2, 31, 32, 33, 64, 65):
            check(
                *(normal(rng, rows, width, dtype=dtype), 1),
                p,
                normal(rng, rows, width, dtype=dtype),
            )
        for outer in (2, 33):
            x, dy = (normal(rng, outer, 2, width, dtype=dtype) for _ in range(2))
            check(x, 1, pair, dy, activation="relu")


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_error_bound_in_inference(target, dtype, rng, shape, axis):
    x, dy = normal(rng, *shape, dtype=dtype) * 3 + dtype(1), normal(rng, *shape, dtype=dtype)
    channels, wide = shape[axis], oracle_dtype(dtype)
    p = parameters(rng, channels, dtype)
    mean, var = normal(rng, channels, dtype=dtype), rng.random(channels).astype(dtype)
    for activation in (None, "relu"):
        y, cache = _core.batch_norm(
            x, **p, running_mean=mean, running_var=var, training=False, axis=axis,
            activation=activation,
        )  # fmt: skip
        dx, dgamma, dbeta = _core.batch_norm_backward(dy, cache)
        rows, y_rows, dx_rows = (oracles.rows_of(a, axis) for a in (x, y, dx))
        exact = oracles.batch_norm(rows, p["gamma"], p["beta"], EPS, mean, var)
        g = oracles.rows_of(dy, axis).astype(wide)
        expected_y = exact.y
        if activation:
            g, expected_y = np.where(y_rows <= 0, 0, g), oracles.relu(exact.y)
        bounds = batch_norm_bounds(
            exact.x, exact.weight, exact.shift, EPS, exact.mean, dtype, var=exact.var, g=g
        )
        within(y_rows, expected_y, bounds.y, "y")
        expected_dx, expected_dgamma, expected_dbeta = exact.backward(g)
        within(dx_rows, expected_dx, bounds.dx, "dx")
        within(dgamma, expected_dgamma, bounds.dgamma, "dgamma")
        within(dbeta, expected_dbeta, bounds.dbeta, "dbeta")


def test_gamma_and_beta_may_be_left_out(target, dtype, rng):
    x, dy = normal(rng, 33, 20, dtype=dtype), normal(rng, 33, 20, dtype=dtype)
    one, zero = np.ones(20, dtype), np.zeros(20, dtype)
    for gamma, beta in itertools.product((None, one), (None, zero)):
        y, cache = _core.batch_norm(x, gamma, beta, training=True)
        expected, full = _core.batch_norm(x, one, zero, training=True)
        assert bits(y) == bits(expected)
        for got, want in zip(
            _core.batch_norm_backward(dy, cache), _core.batch_norm_backward(dy, full), strict=True
        ):
            assert bits(got) == bits(want)


def test_layouts_agree(target, dtype, rng):
    """The same numbers as NCHW and as NHWC: within twice the bound."""
    x, dy = normal(rng, 6, 23, 5, 7, dtype=dtype), normal(rng, 6, 23, 5, 7, dtype=dtype)
    p = parameters(rng, 23, dtype)
    bounds = check(x, 1, p, dy)
    check(np.moveaxis(x, 1, -1).copy(), -1, p, np.moveaxis(dy, 1, -1).copy())
    y_first, first = _core.batch_norm(x, **p, training=True)
    y_last, last = _core.batch_norm(np.moveaxis(x, 1, -1).copy(), **p, training=True, axis=-1)
    within(oracles.rows_of(y_first, 1), oracles.rows_of(y_last, -1), 2 * bounds.y, "y")
    within(first.mean, last.mean, 2 * bounds.mean, "mean")


# -- derivatives -----------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("shape", "axis"), [((5, 4), 1), ((3, 2, 4), 1), ((2, 3, 2, 2), -1)])
def test_gradients_by_central_differences(target, rng, shape, axis, training, activation):
    x, weight = rng.standard_normal(shape), rng.standard_normal(shape)
    channels = shape[axis]
    p = parameters(rng, channels, np.float64)
    mean, var = rng.standard_normal(channels), rng.random(channels) + 0.5

    def forward() -> tuple[np.ndarray, Any]:
        return _core.batch_norm(
            x, **p, running_mean=mean.copy(), running_var=var.copy(), training=training, axis=axis,
            activation=activation,
        )  # fmt: skip

    y, cache = forward()
    plain = oracles.batch_norm(
        oracles.rows_of(x, axis), p["gamma"], p["beta"], EPS, *(() if training else (mean, var))
    ).y
    assert abs(plain).min() > 1e-4, "the data are too near ReLU's edge for a difference"
    gradients = _core.batch_norm_backward(weight, cache)
    assert_gradients(lambda: (forward()[0] * weight).sum(), (x, p["gamma"], p["beta"]), gradients)


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_float32_agrees_with_float64(target, rng, shape, axis):
    x, dy = normal(rng, *shape, dtype=np.float32), normal(rng, *shape, dtype=np.float32)
    p = parameters(rng, shape[axis], np.float32)
    results = []
    for dtype in (np.float32, np.float64):
        y, cache = _core.batch_norm(
            x.astype(dtype), *(v.astype(dtype) for v in p.values()), training=True, axis=axis
        )
        results.append((y, *_core.batch_norm_backward(dy.astype(dtype), cache)))
    if x.size // shape[axis] == 2:
        pytest.skip("the gradient of two values is nearly zero, and its relative error large")
    for narrow, wide in zip(*results, strict=True):
        assert np.linalg.norm(narrow - wide) <= 1e-5 * np.linalg.norm(wide)


# -- ReLU in the kernel is ReLU outside -----------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_relu_inside_equals_relu_outside(target, dtype, rng, shape, axis, training):
    x, dy = normal(rng, *shape, dtype=dtype), normal(rng, *shape, dtype=dtype)
    channels = shape[axis]
    p = parameters(rng, channels, dtype)
    p["gamma"][0], p["beta"][0] = 0, 0  # y is exactly 0 here: ReLU lets no gradient through
    mean, var = normal(rng, channels, dtype=dtype), rng.random(channels).astype(dtype)

    def run(activation: str | None) -> tuple[np.ndarray, Any]:
        return _core.batch_norm(
            x, **p, running_mean=mean.copy(), running_var=var.copy(), training=training, axis=axis,
            activation=activation,
        )  # fmt: skip

    for poison in (None, np.nan):
        if poison is not None:
            x.flat[x.size // 2] = poison
        (plain, plain_cache), (fused, fused_cache) = run(None), run("relu")
        assert bits(fused) == bits(oracles.relu(plain))
        masked = np.where(plain <= 0, dtype(0), dy)  # NaN passes, as it did forward
        expected = _core.batch_norm_backward(masked, plain_cache)
        for got, want in zip(_core.batch_norm_backward(dy, fused_cache), expected, strict=True):
            assert bits(got) == bits(want)
