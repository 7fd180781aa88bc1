import numpy as np
import pytest

from fastbn.layers import Flatten

from .gradients import check_layer


@pytest.mark.parametrize(
    ("shape", "flat"),
    [
        ((2, 3, 4), (2, 12)),
        ((5,), (5, 1)),
        ((2, 3), (2, 3)),
        ((0, 3, 4), (0, 12)),
        ((4, 0), (4, 0)),
    ],
)
@pytest.mark.parametrize("training", [False, True])
def test_shapes(shape, flat, training):
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    layer = Flatten()
    y = layer(x, training=training)
    assert y.shape == flat
    np.testing.assert_array_equal(y.ravel(), x.ravel())
    if training:
        np.testing.assert_array_equal(layer.backward(y), x)


def test_is_a_view():
    x = np.zeros((2, 3, 4))
    assert np.shares_memory(x, Flatten()(x))


def test_gradients(rng):
    check_layer(Flatten(), rng.standard_normal((2, 3, 2)))


def test_errors():
    layer = Flatten()
    with pytest.raises(ValueError, match="at least 1"):
        layer(np.ones(()))
    with pytest.raises(TypeError, match="list"):
        layer([[1.0]])
    layer(np.zeros((2, 3, 4)), training=True)
    with pytest.raises(ValueError, match=r"\(2, 3, 4\)"):
        layer.backward(np.zeros((2, 3, 4)))
