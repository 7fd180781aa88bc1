"""The running statistics of batch norm."""

import numpy as np
import pytest

from fastbn import _core

from . import oracles
from .arrays import bits, normal
from .batchnorm_checks import EPS, SMALL, parameters
from .bounds import oracle_dtype, unit_roundoff
from .memory import LAYOUTS, WRITABLE


@pytest.mark.parametrize("unbiased", [True, False])
@pytest.mark.parametrize("momentum", [0.0, 0.1, 0.5, 1.0])
def test_running_statistics(target, dtype, rng, momentum, unbiased):
    for shape, axis in SMALL:
        channels, n = shape[axis], int(np.prod(shape)) // shape[axis]
        p = parameters(rng, channels, dtype)
        mean, var = normal(rng, channels, dtype=dtype), rng.random(channels).astype(dtype)
        wide_mean, wide_var = (a.astype(oracle_dtype(dtype)) for a in (mean, var))
        for _ in range(3):
            x = normal(rng, *shape, dtype=dtype) * 2 + dtype(3)
            before = mean.copy(), var.copy()
            result = _core.batch_norm(
                x, **p, running_mean=mean, running_var=var, training=True, momentum=momentum,
                axis=axis, unbiased=unbiased,
            )  # fmt: skip
            exact = oracles.batch_norm(oracles.rows_of(x, axis), p["gamma"], p["beta"], EPS)
            batch_var = exact.var * (n / (n - 1) if unbiased else 1)
            wide_mean = (1 - momentum) * wide_mean + momentum * exact.mean
            wide_var = (1 - momentum) * wide_var + momentum * batch_var
            assert result[1].training
        # Three updates, each off by a few roundings of values of the size of those added.
        tolerance = 50 * unit_roundoff(dtype)
        np.testing.assert_allclose(
            mean, wide_mean.astype(dtype), rtol=tolerance, atol=10 * tolerance
        )
        np.testing.assert_allclose(var, wide_var.astype(dtype), rtol=2 * tolerance)
        if momentum == 0:
            assert bits(mean) == bits(before[0])
            assert bits(var) == bits(before[1])


@pytest.mark.parametrize("name", WRITABLE)
def test_running_statistics_are_updated_in_place(target, dtype, rng, name):
    x, p = normal(rng, 33, 20, dtype=dtype), parameters(rng, 20, dtype)
    mean, var = normal(rng, 20, dtype=dtype), rng.random(20).astype(dtype)
    strange_mean, strange_var = LAYOUTS[name](mean.copy()), LAYOUTS[name](var.copy())
    _core.batch_norm(x, **p, running_mean=strange_mean, running_var=strange_var, training=True)
    _core.batch_norm(x, **p, running_mean=mean, running_var=var, training=True)
    assert bits(strange_mean) == bits(mean)
    assert bits(strange_var) == bits(var)


def test_inference_leaves_the_statistics_alone(target, dtype, rng):
    x, p = normal(rng, 33, 20, dtype=dtype), parameters(rng, 20, dtype)
    mean, var = normal(rng, 20, dtype=dtype), rng.random(20).astype(dtype)
    mean.flags.writeable = var.flags.writeable = False  # nor do they need to be writable
    _core.batch_norm(x, **p, running_mean=mean, running_var=var, training=False)


def test_statistics_survive_a_poisoned_batch_in_other_channels(target, dtype, rng):
    x, p = normal(rng, 33, 20, dtype=dtype), parameters(rng, 20, dtype)
    mean, var = np.zeros(20, dtype), np.ones(20, dtype)
    x[5, 3] = np.nan
    _core.batch_norm(x, **p, running_mean=mean, running_var=var, training=True)
    assert np.isnan(mean).sum() == np.isnan(var).sum() == 1
