"""Batch normalization."""

import sys

import numpy as np
import pytest

from fastbn import functional

from .arrays_and_bounds import DTYPES, double, gamma, numeric_gradient, read_only


def bn_oracle(x, gamma, beta, mean, var, eps, axis):
    shape = [1] * x.ndim
    shape[axis] = -1
    gamma, beta, mean, var = (v.reshape(shape) for v in (gamma, beta, mean, var))
    return gamma * (x - mean) / np.sqrt(var + eps) + beta


def bn_arrays(rng, shape, axis, dtype):
    channels = shape[axis]
    x = (1 + 2 * rng.standard_normal(shape)).astype(dtype)
    parameters = rng.uniform(0.5, 2, channels), rng.standard_normal(channels)
    running = rng.standard_normal(channels), rng.uniform(0.5, 2, channels)
    return [x, *(a.astype(dtype) for a in (*parameters, *running))]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "axis"), [((9, 4), 1), ((9, 4), -1), ((3, 4, 2, 5), 1), ((3, 2, 5, 4), -1)]
)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("activation", [None, "relu"])
def test_batch_norm(rng, dtype, shape, axis, training, activation):
    x, scale, beta, mean, var = bn_arrays(rng, shape, axis, dtype)
    given = double(mean, var)
    out = np.empty_like(x)
    y, cache = functional.batch_norm(
        x,
        scale,
        beta,
        mean,
        var,
        training=training,
        momentum=0.3,
        eps=1e-3,
        axis=axis,
        unbiased=False,
        activation=activation,
        out=out,
    )
    assert y is out
    assert cache.training == training
    x, scale, beta = double(x, scale, beta)
    axes = tuple(i for i in range(x.ndim) if i != axis % x.ndim)
    batch = x.mean(axes), x.var(axes)
    used = batch if training else given
    expected = bn_oracle(x, scale, beta, *used, 1e-3, axis)
    size = bn_oracle(np.abs(x), scale, np.abs(beta), -np.abs(used[0]), used[1], 1e-3, axis)
    if activation:
        expected = np.maximum(expected, 0)
    n = x.size // len(beta)
    assert np.all(np.abs(y - expected) <= 3 * gamma(n + 8, dtype) * size)
    for actual, old, new in zip((mean, var), given, batch, strict=True):
        expected = 0.7 * old + 0.3 * new if training else old
        limit = 3 * gamma(n + 8, dtype) * (np.abs(old) + np.square(x).mean(axes) + 1)
        assert np.all(np.abs(actual - expected) <= limit * training)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("axis", [1, -1])
def test_batch_norm_backward(rng, training, activation, axis):
    shape = (4, 3, 2) if axis == 1 else (4, 2, 3)
    x, scale, beta, mean, var = bn_arrays(rng, shape, axis, np.float64)
    weights = rng.standard_normal(shape)

    def forward():
        running = (mean.copy(), var.copy())
        return functional.batch_norm(
            x, scale, beta, *running, training=training, axis=axis, activation=activation
        )

    def scalar():
        return float((forward()[0] * weights).sum())

    out = np.empty_like(x)
    dx, dgamma, dbeta = functional.batch_norm_backward(weights, forward()[1], out=out)
    assert dx is out
    for actual, array in [(dx, x), (dgamma, scale), (dbeta, beta)]:
        expected = numeric_gradient(scalar, array)
        np.testing.assert_allclose(actual, expected, atol=1e-5, rtol=1e-3)


def test_momentum_none_is_the_cumulative_average(rng):
    mean, var, count = np.zeros(3), np.ones(3), np.zeros((), np.int64)
    batches = [rng.standard_normal((n, 3)) for n in (4, 7, 2)]

    def run(x, **options):
        return functional.batch_norm(x, None, None, mean, var, num_batches_tracked=count, **options)

    for number, batch in enumerate(batches, 1):
        run(batch, training=True, momentum=None)
        assert count == number
    run(batch, training=False, momentum=None)
    assert count == 3
    np.testing.assert_allclose(mean, np.mean([b.mean(0) for b in batches], 0), rtol=1e-13)
    np.testing.assert_allclose(var, np.mean([b.var(0, ddof=1) for b in batches], 0), rtol=1e-13)
    with pytest.raises(ValueError, match="1"):
        run(np.ones((1, 3)), training=True, momentum=None)
    assert count == 3
    run(batch, training=True, momentum=0.1)
    assert count == 4


def test_momentum_none_needs_the_count():
    x, mean, var = np.arange(6.0).reshape(3, 2), np.zeros(2), np.ones(2)
    with pytest.raises(ValueError, match="num_batches_tracked"):
        functional.batch_norm(x, None, None, mean, var, training=True, momentum=None)
    assert not mean.any()
    functional.batch_norm(x, None, None, training=True, momentum=None)  # nothing to average
    for count, error in [
        (0, TypeError),
        (np.zeros(()), TypeError),
        (np.zeros(1, np.int64), ValueError),
        (read_only((), np.int64), ValueError),
    ]:
        with pytest.raises(error, match="num_batches_tracked"):
            functional.batch_norm(
                x, None, None, mean, var, training=True, num_batches_tracked=count
            )
    assert not mean.any()


def test_the_count_may_name_its_own_byte_order():
    x = np.arange(6.0).reshape(3, 2)
    native = np.dtype(np.int64)
    named = native.newbyteorder("<" if sys.byteorder == "little" else ">")
    count = np.zeros((), named)
    functional.batch_norm(x, None, None, training=True, num_batches_tracked=count)
    assert count == 1
    with pytest.raises(TypeError, match="num_batches_tracked"):
        functional.batch_norm(
            x, None, None, training=True, num_batches_tracked=count.astype(native.newbyteorder())
        )
