import math

import numpy as np
import pytest

from fastbn.layers import GELU, LeakyReLU, ReLU, Sigmoid, Softmax, Tanh

from .gradients import check_layer

DTYPES = [np.float32, np.float64]
erf = np.vectorize(math.erf, otypes=[float])


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


# layer, formula, and the rounding errors of units in the last place that the result may have
CASES = [
    pytest.param(ReLU, lambda x: np.maximum(x, 0), 0, id="relu"),
    pytest.param(LeakyReLU, lambda x: np.where(x > 0, x, 0.01 * x), 2, id="leaky_relu"),
    pytest.param(Sigmoid, lambda x: 1 / (1 + np.exp(-x)), 16, id="sigmoid"),
    pytest.param(Tanh, np.tanh, 16, id="tanh"),
    pytest.param(GELU, lambda x: x * (1 + erf(x / math.sqrt(2))) / 2, 16, id="gelu"),
    pytest.param(Softmax, softmax, 32, id="softmax"),
]
LAYERS = [case.values[0] for case in CASES]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("cls", "formula", "ulps"), CASES)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("shape", [(5,), (3, 7), (2, 3, 5), (0, 4)])
def test_forward(rng, cls, formula, ulps, dtype, training, shape):
    x = (3 * rng.standard_normal(shape)).astype(dtype)
    y = cls()(x, training=training)
    assert y.dtype == dtype
    assert not np.shares_memory(x, y)
    if x.size:
        # Relative to y, or to x where gelu's two factors cancel.
        expected = formula(x.astype(np.float64))
        scale = np.maximum(np.abs(expected), np.abs(x) if cls is GELU else 0)
        assert np.all(np.abs(y - expected) <= ulps * np.finfo(dtype).eps * scale)


@pytest.mark.parametrize("cls", LAYERS)
@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 2)])
def test_gradients(rng, cls, shape):
    check_layer(cls(), rng.standard_normal(shape))


@pytest.mark.parametrize("slope", [0.0, 0.2, 1.0])
def test_leaky_relu_has_the_slope(rng, slope):
    layer = LeakyReLU(slope)
    x = rng.standard_normal((4, 3))
    np.testing.assert_array_equal(layer(x), np.where(x > 0, x, slope * x))
    check_layer(layer, x)


def test_wrong_slope():
    for slope in (-0.1, np.nan):
        with pytest.raises(ValueError, match="slope must be at least 0"):
            LeakyReLU(slope)


@pytest.mark.parametrize("cls", LAYERS)
def test_nan_propagates(cls):
    x = np.array([[1.0, np.nan, -1.0]], np.float32)
    for training in (False, True):
        assert np.isnan(cls()(x, training=training)[0, 1])


@pytest.mark.parametrize("cls", LAYERS)
def test_large_values_do_not_overflow(cls):
    x = np.array([[1e4, -1e4, 88.0, -104.0]], np.float32)
    layer = cls()
    assert np.isfinite(layer(x, training=True)).all()
    assert np.isfinite(layer.backward(np.ones_like(x))).all()


@pytest.mark.parametrize("cls", LAYERS)
def test_backward_checks_dy(cls):
    layer = cls()
    layer(np.zeros((2, 3), np.float32), training=True)
    with pytest.raises(ValueError, match="3"):
        layer.backward(np.zeros((2, 4), np.float32))
    with pytest.raises(TypeError, match="float64"):
        layer.backward(np.zeros((2, 3), np.float64))


@pytest.mark.parametrize("cls", LAYERS)
def test_wrong_x(cls):
    with pytest.raises(TypeError, match="list"):
        cls()([1.0])
    with pytest.raises(TypeError, match="int"):
        cls()(np.zeros((2, 3), np.int64), training=True)
