"""Arguments of batch norm: empty batches, and what is refused without a byte written."""

from typing import Any

import numpy as np
import pytest

from fastbn import _core

from .arrays import bits, normal


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((0, 5), 1), ((5, 0), 1), ((0, 0), 1), ((0, 3, 4), 1), ((2, 0, 4), 1), ((2, 3, 0), 1),
     ((0, 4, 3), -1), ((2, 0, 3), -1), ((2, 4, 0), -1)],
)  # fmt: skip
@pytest.mark.parametrize("training", [True, False])
def test_empty_batches(target, dtype, rng, shape, axis, training):
    channels = shape[axis]
    mean, var = normal(rng, channels, dtype=dtype), rng.random(channels).astype(dtype)
    kept = bits(mean), bits(var)
    y, cache = _core.batch_norm(
        np.zeros(shape, dtype), np.ones(channels, dtype), None, mean, var, training=training,
        axis=axis,
    )  # fmt: skip
    assert y.shape == shape
    assert (bits(mean), bits(var)) == kept
    dx, dgamma, dbeta = _core.batch_norm_backward(np.zeros(shape, dtype), cache)
    assert dx.shape == shape
    np.testing.assert_array_equal(dgamma, np.zeros(channels, dtype))
    np.testing.assert_array_equal(dbeta, np.zeros(channels, dtype))


@pytest.mark.parametrize(("shape", "axis"), [((1, 5), 1), ((1, 5, 1, 1), 1), ((1, 1, 5), -1)])
def test_one_value_a_channel_is_refused_in_training(target, dtype, shape, axis):
    x = np.ones(shape, dtype)
    mean, var = np.full(5, 3, dtype), np.full(5, 4, dtype)
    with pytest.raises(ValueError, match=r"more than 1 value per channel.*\(1, "):
        _core.batch_norm(x, None, None, mean, var, training=True, axis=axis)
    assert (mean == 3).all()
    assert (var == 4).all()
    y, _ = _core.batch_norm(x, None, None, mean, var, training=False, axis=axis, eps=0.0)
    np.testing.assert_array_equal(y, dtype(-1))


@pytest.mark.parametrize("training", [True, False])
def test_wrong_arguments_name_both_values_and_write_nothing(dtype, rng, training):
    other = np.float64 if dtype == np.float32 else np.float32
    read_only = np.zeros(5, dtype)
    read_only.flags.writeable = False
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        (dict(x=normal(rng, 5, dtype=dtype)), ValueError, r"at least 2 dim.*\(5,\)"),
        (dict(axis=2), ValueError, r"axis 2 is out of range.*\(9, 5\)"),
        (dict(axis=-3), ValueError, r"axis -3 is out of range.*\(9, 5\)"),
        (dict(axis=0), ValueError, r"gamma has shape \(5,\), expected \(9,\).*9 channels"),
        (dict(gamma=np.ones(4, dtype)), ValueError, r"gamma has shape \(4,\), expected \(5,\)"),
        (dict(beta=np.ones((1, 5), dtype)), ValueError, r"beta has shape \(1, 5\), exp.*\(5,\)"),
        (dict(running_mean=np.ones(4, dtype)), ValueError, r"running_mean has shape \(4,\)"),
        (dict(running_var=np.ones(6, dtype)), ValueError, r"running_var has shape \(6,\)"),
        (dict(running_var=None), ValueError, "given together; running_var is None"),
        (dict(running_mean=None), ValueError, "given together; running_mean is None"),
        (dict(momentum=1.5), ValueError, r"momentum must be from 0.0 to 1.0, got 1.5"),
        (dict(momentum=-0.1), ValueError, r"momentum must be from 0.0 to 1.0, got -0.1"),
        (dict(momentum=np.nan), ValueError, r"momentum .* got nan"),
        (dict(eps=-1e-5), ValueError, r"eps must be from 0.0 .*got -1e-05"),
        (dict(eps=np.nan), ValueError, r"eps .* got nan"),
        (dict(activation="gelu"), ValueError, r"one of 'relu', got 'gelu'"),
        (dict(activation=1), TypeError, r"None or 'relu', got int"),
        (dict(out=np.zeros((5, 9), dtype)), ValueError, r"out has shape \(5, 9\), exp.*\(9, 5\)"),
        (dict(out=np.broadcast_to(read_only, (9, 5))), ValueError, "out is read-only"),
        (dict(out=np.zeros((9, 5), other)), TypeError, "out is float.* but the inputs are float"),
        (dict(out=[[0.0]]), TypeError, r"out must be a numpy.ndarray .* got list"),
        (dict(gamma=np.ones(5, other)), TypeError, "gamma is float.* but x is float"),
        (dict(beta=np.ones(5, np.int64)), TypeError, "beta must be float32 or float64, got int64"),
        (dict(running_mean=np.zeros(5, other)), TypeError, "running_mean is float.* but x is fl"),
        (dict(x=np.ones((9, 5), dtype).astype(np.float16)), TypeError, "x must .* got float16"),
        (dict(x=np.ones((9, 5), ">f4")), TypeError, r"x must be .* got >f4"),
        (dict(x=np.ma.masked_array(np.ones((9, 5), dtype))), TypeError, "x is a masked array"),
        (dict(x=None), TypeError, "x must be an array, got None"),
    ]
    if training:
        cases.append((dict(running_var=read_only), ValueError, "running_var is read-only"))
        cases.append((dict(running_mean=[0.0] * 5), TypeError, r"running_mean .*"))
    else:
        cases.append(
            (dict(running_mean=None, running_var=None), ValueError, "training is False but running")
        )
    for changes, exception, message in cases:
        arguments: dict[str, Any] = dict(
            x=normal(rng, 9, 5, dtype=dtype),
            gamma=np.ones(5, dtype), beta=np.ones(5, dtype),
            running_mean=np.zeros(5, dtype), running_var=np.ones(5, dtype),
            out=np.full((9, 5), 7, dtype), training=training,
        )  # fmt: skip
        arguments |= changes
        before = {k: bits(v) for k, v in arguments.items() if isinstance(v, np.ndarray)}
        with pytest.raises(exception, match=message):
            _core.batch_norm(**arguments)
        for name, kept in before.items():
            assert bits(arguments[name]) == kept, (message, name)


def test_wrong_gradients_name_both_values_and_write_nothing(dtype, rng):
    x = normal(rng, 9, 5, dtype=dtype)
    other = np.float64 if dtype == np.float32 else np.float32
    _, cache = _core.batch_norm(x, None, None, training=True)
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        (dict(dy=np.ones((5, 9), dtype)), ValueError, r"dy has shape \(5, 9\), expected \(9, 5\)"),
        (dict(dy=np.ones(45, dtype)), ValueError, r"dy has shape \(45,\), expected \(9, 5\)"),
        (dict(dy=np.ones((9, 5), other)), TypeError, "dy is float.* but x is float"),
        (dict(out=np.ones((9, 4), dtype)), ValueError, r"out has shape \(9, 4\), exp.*\(9, 5\)"),
        (dict(dgamma=np.ones(4, dtype)), ValueError, r"dgamma has shape \(4,\), exp.*\(5,\)"),
        (dict(dbeta=np.ones((5, 1), dtype)), ValueError, r"dbeta has shape \(5, 1\), exp.*\(5,\)"),
        (dict(dbeta=np.ones(5, other)), TypeError, "dbeta is float.* but the inputs are float"),
        (dict(cache=None), TypeError, "incompatible function arguments"),
    ]
    for changes, exception, message in cases:
        arguments: dict[str, Any] = dict(
            dy=normal(rng, 9, 5, dtype=dtype), cache=cache, out=np.full((9, 5), 7, dtype),
            dgamma=np.full(5, 7, dtype), dbeta=np.full(5, 7, dtype),
        )  # fmt: skip
        arguments |= changes
        before = {k: bits(v) for k, v in arguments.items() if isinstance(v, np.ndarray)}
        with pytest.raises(exception, match=message):
            _core.batch_norm_backward(**arguments)
        for name, kept in before.items():
            assert bits(arguments[name]) == kept, (message, name)
