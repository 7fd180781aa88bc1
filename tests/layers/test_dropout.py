import numpy as np
import pytest

from fastbn.layers import Dropout

from .gradients import check_layer


def test_p_is_the_probability_of_dropping():
    n, p = 100_000, 0.3
    y = Dropout(p, rng=0)(np.ones((n,), np.float32), training=True)
    # The number dropped is binomial: six deviations.
    assert abs(np.mean(y == 0) - p) <= 6 * np.sqrt(p * (1 - p) / n)
    np.testing.assert_array_equal(np.unique(y), np.float32([0, 1 / (1 - p)]))


def test_inference_is_the_identity(rng):
    x = rng.standard_normal((3, 4))
    assert Dropout(0.9)(x) is x


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_mask_comes_from_the_rng(rng, dtype):
    x = np.ones((50, 40), dtype)
    a, b = Dropout(rng=3), Dropout(rng=np.random.default_rng(3))
    first = a(x, training=True)
    np.testing.assert_array_equal(first, b(x, training=True))
    assert np.any(first != a(x, training=True))
    assert first.dtype == dtype


def test_gradients(rng):
    layer = Dropout(0.4)

    def fix_mask():
        layer.rng = np.random.default_rng(5)

    check_layer(layer, rng.standard_normal((4, 5)), fix_mask)


@pytest.mark.parametrize(("p", "factor"), [(0.0, 1.0), (1.0, 0.0), (0, 1.0), (1, 0.0)])
def test_ends(rng, p, factor):
    layer = Dropout(p)
    x = rng.standard_normal((6, 5)).astype(np.float32)
    np.testing.assert_array_equal(layer(x, training=True), factor * x)
    np.testing.assert_array_equal(layer.backward(x), factor * x)


def test_strided_x(rng):
    x = rng.standard_normal((8, 6)).astype(np.float32)
    y = Dropout(0.5, rng=1)(x.T, training=True)
    np.testing.assert_array_equal(y, Dropout(0.5, rng=1)(x.T.copy(), training=True))


@pytest.mark.parametrize("p", [-0.1, 1.1, np.nan])
def test_wrong_p(p):
    with pytest.raises(ValueError, match="between 0 and 1"):
        Dropout(p)


def test_wrong_arrays():
    layer = Dropout()
    with pytest.raises(TypeError, match="list"):
        layer([1.0], training=True)
    with pytest.raises(TypeError):
        layer(np.zeros(3, np.int64), training=True)
    layer(np.zeros((2, 3), np.float32), training=True)
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(3, 2\)"):
        layer.backward(np.zeros((3, 2), np.float32))
    with pytest.raises(TypeError, match=r"float64.*float32"):
        layer.backward(np.zeros((2, 3), np.float64))
