"""Activations and softmax."""

import math

import numpy as np
import pytest

from fastbn import functional

from .arrays_and_bounds import DTYPES, arrays, numeric_gradient, softmax

erf = np.vectorize(math.erf, otypes=[float])


# forward, formula, backward, what backward takes of the forward pass
ACTIVATIONS = [
    pytest.param(
        functional.relu, lambda x: np.maximum(x, 0), functional.relu_backward, "xy", id="relu"
    ),
    pytest.param(
        functional.leaky_relu,
        lambda x: np.where(x > 0, x, 0.01 * x),
        functional.leaky_relu_backward,
        "xy",
        id="leaky_relu",
    ),
    pytest.param(
        functional.sigmoid,
        lambda x: 1 / (1 + np.exp(-x)),
        functional.sigmoid_backward,
        "y",
        id="sigmoid",
    ),
    pytest.param(functional.tanh, np.tanh, functional.tanh_backward, "y", id="tanh"),
    pytest.param(
        functional.gelu,
        lambda x: x * (1 + erf(x / math.sqrt(2))) / 2,
        functional.gelu_backward,
        "x",
        id="gelu",
    ),
    pytest.param(functional.softmax, softmax, functional.softmax_backward, "y", id="softmax"),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("forward", "formula", "backward", "saves"), ACTIVATIONS)
@pytest.mark.parametrize("shape", [(7,), (4, 5), (2, 3, 4)])
def test_activations(rng, forward, formula, backward, saves, dtype, shape):
    x = (2 * rng.standard_normal(shape)).astype(dtype)
    y = forward(x)
    expected = formula(x.astype(np.float64))
    scale = np.maximum(np.abs(expected), np.abs(x) if forward is functional.gelu else 0)
    assert np.all(np.abs(y - expected) <= 32 * np.finfo(dtype).eps * scale)
    out = np.empty_like(x)
    assert forward(x, out=out) is out
    np.testing.assert_array_equal(out, y)
    inplace = x.copy()
    assert forward(inplace, out=inplace) is inplace
    np.testing.assert_array_equal(inplace, y)
    dy = rng.standard_normal(shape).astype(dtype)
    results = [backward(dy, {"x": x, "y": y}[name]) for name in saves]
    for dx in results:
        np.testing.assert_array_equal(dx, results[0])
    assert backward(dy, {"x": x, "y": y}[saves[0]], out=out) is out
    np.testing.assert_array_equal(out, results[0])
    if dtype is np.float64:
        expected = numeric_gradient(lambda: float((forward(x) * dy).sum()), x)
        np.testing.assert_allclose(results[0], expected, atol=1e-5, rtol=1e-3)


def test_leaky_relu_slope(rng):
    x, dy = arrays(rng, (4, 5), (4, 5))
    np.testing.assert_array_equal(functional.leaky_relu(x, 0.3), np.where(x > 0, x, 0.3 * x))
    expected = np.where(x > 0, dy, 0.3 * dy)
    np.testing.assert_array_equal(functional.leaky_relu_backward(dy, x, 0.3), expected)


def test_softmax_is_over_the_last_axis(rng):
    x = rng.standard_normal((2, 3, 4))
    np.testing.assert_allclose(functional.softmax(x).sum(-1), 1, rtol=4 * np.finfo(float).eps)
    np.testing.assert_array_equal(functional.softmax(x.T).T, functional.softmax(x.T.copy()).T)
