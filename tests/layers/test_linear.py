import numpy as np
import pytest

from fastbn.layers import Linear

from .gradients import check_layer

DTYPES = [np.float32, np.float64]


def bound(x, weight, bias, dtype):
    """gamma_(k+2) * (abs(x) @ abs(weight) + abs(bias)); twice, as the oracle rounds too."""
    k, u = weight.shape[0] + 2, np.finfo(dtype).eps / 2
    x, weight, bias = (np.abs(a).astype(np.float64) for a in (x, weight, bias))
    return 2 * k * u / (1 - k * u) * (x @ weight + bias)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lead", [(), (1,), (7,), (2, 3), (2, 0, 3), (0,)])
@pytest.mark.parametrize("training", [False, True])
def test_forward_is_the_affine_map(rng, dtype, lead, training):
    layer = Linear(5, 3, dtype=dtype, rng=0)
    layer.bias.data = rng.standard_normal(3).astype(dtype)
    x = rng.standard_normal((*lead, 5)).astype(dtype)
    y = layer(x, training=training)
    w, b = layer.weight.data, layer.bias.data
    expected = x.astype(np.float64) @ w.astype(np.float64) + b
    assert y.shape == (*lead, 3)
    assert y.dtype == dtype
    rows = x.reshape(-1, 5) if x.size else np.empty((0, 5), dtype)
    assert np.all(np.abs(y - expected) <= bound(rows, w, b, dtype).reshape(y.shape))


@pytest.mark.parametrize("lead", [(), (6,), (2, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_gradients(rng, lead, bias):
    layer = Linear(5, 3, bias, dtype=np.float64, rng=0)
    check_layer(layer, rng.standard_normal((*lead, 5)))


def test_gradients_by_hand():
    # y = x w + b with one sample: dw = x^T dy, db = dy, dx = dy w^T.
    layer = Linear(2, 2, dtype=np.float64)
    layer.weight.data = np.array([[1.0, 2.0], [3.0, 4.0]])
    layer.bias.data = np.array([10.0, 20.0])
    y = layer(np.array([[5.0, 7.0]]), training=True)
    dx = layer.backward(np.array([[1.0, -1.0]]))
    np.testing.assert_array_equal(y, [[36.0, 58.0]])
    np.testing.assert_array_equal(layer.weight.grad, [[5.0, -5.0], [7.0, -7.0]])
    np.testing.assert_array_equal(layer.bias.grad, [1.0, -1.0])
    np.testing.assert_array_equal(dx, [[-1.0, -1.0]])


def test_backward_overwrites_grad(rng):
    layer = Linear(4, 3, rng=0)
    x, dy = (rng.standard_normal((5, n)).astype(np.float32) for n in (4, 3))
    layer(x, training=True)
    layer.backward(dy)
    first = layer.weight.grad.copy(), layer.bias.grad.copy()
    layer.backward(dy)
    np.testing.assert_array_equal(layer.weight.grad, first[0])
    np.testing.assert_array_equal(layer.bias.grad, first[1])


def test_need_dx_false_computes_the_rest(rng):
    layer = Linear(4, 3, rng=0)
    x, dy = (rng.standard_normal((5, n)).astype(np.float32) for n in (4, 3))
    layer(x, training=True)
    layer.backward(dy)
    weight, bias = layer.weight.grad.copy(), layer.bias.grad.copy()
    layer.weight.grad[:] = layer.bias.grad[:] = np.nan
    assert layer.backward(dy, need_dx=False) is None
    np.testing.assert_array_equal(layer.weight.grad, weight)
    np.testing.assert_array_equal(layer.bias.grad, bias)


@pytest.mark.parametrize("strided", ["transposed", "reversed", "every other", "axes"])
def test_strides_do_not_matter(rng, strided):
    layer = Linear(6, 3, rng=0)
    x = {
        "transposed": rng.standard_normal((6, 4)).T,
        "reversed": rng.standard_normal((4, 6))[::-1, ::-1],
        "every other": rng.standard_normal((4, 12))[:, ::2],
        "axes": rng.standard_normal((4, 6, 2)).swapaxes(1, 2),
    }[strided].astype(np.float32, order="K")
    dy = rng.standard_normal((*x.shape[:-1], 3)).astype(np.float32)
    results = []
    for array in (x, np.ascontiguousarray(x)):
        y = layer(array, training=True)
        results.append((y, layer.backward(dy), layer.weight.grad.copy(), layer.bias.grad.copy()))
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_initial_values_are_uniform_as_in_torch():
    layer = Linear(100, 2000, rng=0)
    bound = 1 / np.sqrt(100)
    for values in (layer.weight.data, layer.bias.data):
        n = values.size
        assert np.abs(values).max() <= bound
        # The mean of n values of U(-b, b) has the deviation b / sqrt(3 n), their mean square
        # b^2 / 3 that of sqrt(4 / 45 / n) b^2; six deviations.
        assert abs(values.mean(dtype=float)) <= 6 * bound / np.sqrt(3 * n)
        assert abs(np.square(values, dtype=float).mean() - bound**2 / 3) <= (
            6 * np.sqrt(4 / 45 / n) * bound**2
        )


def test_rng_decides_the_values():
    a, b = Linear(4, 3, rng=7), Linear(4, 3, rng=np.random.default_rng(7))
    np.testing.assert_array_equal(a.weight.data, b.weight.data)
    np.testing.assert_array_equal(a.bias.data, b.bias.data)
    assert np.any(a.weight.data != Linear(4, 3, rng=8).weight.data)
    assert np.any(Linear(4, 3).weight.data != Linear(4, 3).weight.data)
    double = Linear(4, 3, rng=7, dtype=np.float64)
    np.testing.assert_array_equal(a.weight.data, double.weight.data.astype(np.float32))
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - that nobody touches it is the test
    Linear(4, 3, rng=7)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_decay_is_the_weights():
    layer = Linear(4, 3)
    assert layer.weight.decay
    assert not layer.bias.decay


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.zeros((2, 5), np.float32), ValueError, "4 features.*(2, 5)"),
        (np.zeros((), np.float32), ValueError, "4 features"),
        (np.zeros((2, 4), np.float64), TypeError, "float32.*float64"),
        (np.zeros((2, 4), np.int64), TypeError, "float32.*int64"),
        ([[1.0, 2.0, 3.0, 4.0]], TypeError, "list"),
    ],
)
@pytest.mark.parametrize("training", [False, True])
def test_wrong_x(x, error, message, training):
    with pytest.raises(error, match=message):
        Linear(4, 3)(x, training=training)


def test_wrong_dy_writes_nothing():
    layer = Linear(4, 3)
    layer(np.zeros((2, 4), np.float32), training=True)
    for dy, error in [
        (np.ones((2, 4), np.float32), ValueError),
        (np.ones((3, 3), np.float32), ValueError),
        (np.ones((2, 3), np.float64), TypeError),
    ]:
        with pytest.raises(error):
            layer.backward(dy)
        assert not layer.weight.grad.any()
        assert not layer.bias.grad.any()


@pytest.mark.parametrize("sizes", [(0, 3), (4, 0), (-1, 3)])
def test_wrong_sizes(sizes):
    with pytest.raises(ValueError, match="must be positive, got"):
        Linear(*sizes)
    with pytest.raises(TypeError):
        Linear(4.5, 3)


@pytest.mark.parametrize("dtype", [np.float16, np.int32, np.complex64])
def test_wrong_dtype(dtype):
    with pytest.raises(TypeError, match="float32 or float64"):
        Linear(4, 3, dtype=dtype)
