import numpy as np
import pytest

import fastbn
from fastbn.layers import BatchNorm1d, BatchNorm2d, ReLU, Sequential

from .gradients import check_layer

DTYPES = [np.float32, np.float64]

# class, options, shape of x, axis of the channels
CASES = [
    pytest.param(BatchNorm1d, {}, (7, 3), 1, id="rows"),
    pytest.param(BatchNorm1d, {}, (4, 3, 5), 1, id="sequences"),
    pytest.param(BatchNorm2d, {}, (3, 3, 4, 2), 1, id="NCHW"),
    pytest.param(BatchNorm2d, {"layout": "NHWC"}, (3, 4, 2, 3), -1, id="NHWC"),
]


def channels_last(x, axis):
    return np.moveaxis(x, axis, -1).reshape(-1, x.shape[axis])


def oracle(x, axis, gamma, beta, mean=None, var=None, eps=1e-5):
    """y in float64, by the statistics given or else those of x."""
    rows = channels_last(x.astype(np.float64), axis)
    mean = rows.mean(0) if mean is None else mean
    var = ((rows - mean) ** 2).mean(0) if var is None else var
    y = (np.moveaxis(x.astype(np.float64), axis, -1) - mean) / np.sqrt(var + eps) * gamma + beta
    return np.moveaxis(y, -1, axis)


def bound(x, axis, gamma, beta, mean, var, eps=1e-5):
    """Rounding of (x - mean) * (gamma * invstd) + beta, each factor off by gamma_(n+8)."""
    n = x.size // x.shape[axis] + 8
    u = np.finfo(x.dtype).eps / 2
    rows = np.abs(np.moveaxis(x, axis, -1).astype(np.float64)) + np.abs(mean)
    y = rows / np.sqrt(var + eps) * np.abs(gamma) + np.abs(beta)
    return np.moveaxis(3 * n * u / (1 - n * u) * y, -1, axis)


def make(cls, options, rng, dtype):
    layer = cls(3, dtype=dtype, **options)
    layer.gamma.data = rng.uniform(0.5, 2, 3).astype(dtype)
    layer.beta.data = rng.standard_normal(3).astype(dtype)
    return layer


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("cls", "options", "shape", "axis"), CASES)
def test_training_forward_and_statistics(rng, cls, options, shape, axis, dtype):
    layer = make(cls, options, rng, dtype)
    x = (3 + 2 * rng.standard_normal(shape)).astype(dtype)
    y = layer(x, training=True)
    rows = channels_last(x.astype(np.float64), axis)
    n, mean, var = len(rows), rows.mean(0), rows.var(0)
    gamma, beta = layer.gamma.data.astype(float), layer.beta.data.astype(float)
    error = np.abs(y - oracle(x, axis, gamma, beta))
    assert np.all(error <= bound(x, axis, gamma, beta, mean, var))
    # running = (1 - momentum) * running + momentum * batch, the variance unbiased.
    u = np.finfo(dtype).eps / 2
    tolerance = (n + 8) * u / (1 - (n + 8) * u)
    np.testing.assert_allclose(
        layer.running_mean, 0.1 * mean, atol=tolerance * np.abs(rows).mean(0).max(), rtol=0
    )
    np.testing.assert_allclose(
        layer.running_var, 0.9 + 0.1 * var * n / (n - 1), rtol=3 * tolerance, atol=0
    )
    assert layer.num_batches_tracked == 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("cls", "options", "shape", "axis"), CASES)
def test_inference_forward(rng, cls, options, shape, axis, dtype):
    layer = make(cls, options, rng, dtype)
    layer.running_mean[:] = rng.standard_normal(3)
    layer.running_var[:] = rng.uniform(0.5, 2, 3)
    before = layer.state_dict()
    x = rng.standard_normal(shape).astype(dtype)
    y = layer(x)
    arguments = [layer.gamma.data, layer.beta.data, layer.running_mean, layer.running_var]
    arguments = [a.astype(np.float64) for a in arguments]
    assert np.all(np.abs(y - oracle(x, axis, *arguments)) <= bound(x, axis, *arguments))
    for name, array in layer.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize(("cls", "options", "shape", "axis"), CASES)
@pytest.mark.parametrize("affine", [True, False])
def test_gradients(rng, cls, options, shape, axis, affine):
    layer = cls(3, dtype=np.float64, affine=affine, **options)
    if affine:
        layer.gamma.data = rng.uniform(0.5, 2, 3)
        layer.beta.data = rng.standard_normal(3)
    check_layer(layer, rng.standard_normal(shape))


def test_gradients_by_hand():
    # x = (-1, 1): mean 0, var 1, xhat = x with eps = 0.  With dy = (1, 0): dbeta = 1,
    # dgamma = sum(dy xhat) = -1 and dx = gamma (dy - dbeta / 2 - xhat dgamma / 2) = 0 but for eps:
    # two values are always mapped to -1 and 1.
    layer = BatchNorm1d(1, eps=0.0, dtype=np.float64)
    layer.gamma.data = np.array([3.0])
    x = np.array([[-1.0], [1.0]])
    np.testing.assert_array_equal(layer(x, training=True), [[-3.0], [3.0]])
    dx = layer.backward(np.array([[1.0], [0.0]]))
    np.testing.assert_array_equal(layer.beta.grad, [1.0])
    np.testing.assert_array_equal(layer.gamma.grad, [-1.0])
    np.testing.assert_allclose(dx, [[0.0], [0.0]], atol=4 * np.finfo(float).eps)


def test_momentum_none_is_the_mean_over_all_batches(rng):
    layer = BatchNorm1d(3, momentum=None, dtype=np.float64)
    batches = [rng.standard_normal((n, 3)) for n in (4, 9, 2)]
    for batch in batches:
        layer(batch, training=True)
    assert layer.num_batches_tracked == 3
    means = np.mean([batch.mean(0) for batch in batches], axis=0)
    variances = np.mean([batch.var(0, ddof=1) for batch in batches], axis=0)
    np.testing.assert_allclose(layer.running_mean, means, rtol=1e-13)
    np.testing.assert_allclose(layer.running_var, variances, rtol=1e-13)


def test_an_empty_batch_leaves_the_statistics_alone():
    layer = BatchNorm1d(3, momentum=None)
    assert layer(np.empty((0, 3), np.float32), training=True).shape == (0, 3)
    assert layer.num_batches_tracked == 0
    np.testing.assert_array_equal(layer.running_mean, np.zeros(3))
    np.testing.assert_array_equal(layer.running_var, np.ones(3))


def test_without_statistics_inference_uses_the_batch(rng):
    layer = BatchNorm1d(3, track_running_stats=False)
    x = rng.standard_normal((5, 3)).astype(np.float32)
    assert layer.buffers() == []
    assert list(layer.state_dict()) == ["gamma", "beta"]
    np.testing.assert_array_equal(layer(x), layer(x, training=True))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(BatchNorm1d(3), (1, 3)), (BatchNorm2d(3), (1, 3, 1, 1))],
)
def test_one_value_a_channel(layer, shape):
    x = np.zeros(shape, np.float32)
    assert layer(x).shape == shape
    with pytest.raises(ValueError, match="1"):
        layer(x, training=True)
    assert layer.num_batches_tracked == 0
    with pytest.raises(RuntimeError, match="forward"):
        layer.backward(x)


@pytest.mark.parametrize(
    ("layer", "x", "error", "message"),
    [
        (BatchNorm1d(3), np.zeros((2, 4), np.float32), ValueError, r"3 features.*\(2, 4\)"),
        (BatchNorm1d(3), np.zeros((2, 3), np.float64), TypeError, "float32.*float64"),
        (BatchNorm1d(3), np.zeros((2, 3, 1, 1), np.float32), ValueError, r"\(2, 3\).*\(2, 3, 1"),
        (BatchNorm2d(3), np.zeros((2, 3), np.float32), ValueError, r"4.*\(2, 3\)"),
        (BatchNorm2d(3), np.zeros((2, 4, 4, 3), np.float32), ValueError, "3 features"),
        (BatchNorm1d(3, affine=False), np.zeros((2, 4), np.float32), ValueError, "3 features"),
        (BatchNorm1d(3), np.zeros(3, np.float32), ValueError, "3 features"),
        (BatchNorm1d(3), 1.0, TypeError, "float"),
    ],
)
@pytest.mark.parametrize("training", [False, True])
def test_wrong_x(layer, x, error, message, training):
    with pytest.raises(error, match=message):
        layer(x, training=training)


def test_wrong_options():
    for options in ({"eps": -1.0}, {"momentum": 1.5}, {"momentum": -0.1}, {"eps": np.nan}):
        with pytest.raises(ValueError, match="got"):
            BatchNorm1d(3, **options)
    with pytest.raises(ValueError, match="NCWH"):
        BatchNorm2d(3, layout="NCWH")
    with pytest.raises(ValueError, match="positive"):
        BatchNorm1d(0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("cls", "options", "shape", "axis"), CASES)
def test_a_fused_relu_has_the_bits_of_two_layers(rng, cls, options, shape, axis, dtype):
    x = rng.standard_normal(shape).astype(dtype)
    x.flat[1] = 0
    dy = rng.standard_normal(shape).astype(dtype)
    bn, relu = make(cls, options, np.random.default_rng(1), dtype), ReLU()
    other = make(cls, options, np.random.default_rng(1), dtype)
    net = Sequential(other, ReLU())
    y = relu(bn(x, training=True), training=True)
    np.testing.assert_array_equal(net(x, training=True), y)
    np.testing.assert_array_equal(net.backward(dy), bn.backward(relu.backward(dy)))
    np.testing.assert_array_equal(other.gamma.grad, bn.gamma.grad)
    np.testing.assert_array_equal(other.beta.grad, bn.beta.grad)
    np.testing.assert_array_equal(other.running_mean, bn.running_mean)
    np.testing.assert_array_equal(other.running_var, bn.running_var)
    np.testing.assert_array_equal(net(x), relu(bn(x)))


def test_a_fused_layer_alone_has_its_own_gradient(rng):
    x, dy = (rng.standard_normal((6, 3)) for _ in range(2))
    alone = BatchNorm1d(3, dtype=np.float64)
    net = Sequential(BatchNorm1d(3, dtype=np.float64), ReLU())
    alone(x, training=True)
    net(x, training=True)
    # By hand, layer by layer: the same as the net; and the first layer alone: without the ReLU.
    by_hand = net[0].backward(net[1].backward(dy)).copy()
    np.testing.assert_array_equal(by_hand, net.backward(dy))
    np.testing.assert_array_equal(net[0].backward(dy), alone.backward(dy))
    np.testing.assert_array_equal(net[0].gamma.grad, alone.gamma.grad)
    # Called alone after the net's forward: the pair's backward falls back to the ReLU's own.
    net[0](x, training=True)
    np.testing.assert_array_equal(net.backward(dy), by_hand)


def test_nan_propagates(rng):
    x = rng.standard_normal((6, 3)).astype(np.float32)
    x[2, 1] = np.nan
    y = Sequential(BatchNorm1d(3), ReLU())(x, training=True)
    assert np.isnan(y[:, 1]).all()
    assert np.isfinite(y[:, [0, 2]]).all()


# -- weights and ghost batches ---------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("cls", "options", "shape", "axis"), CASES)
@pytest.mark.parametrize("size", [None, 2])
def test_weights_and_ghost_batches_are_those_of_batch_norm(
    rng, cls, options, shape, axis, dtype, size
):
    options = {**options, "virtual_batch_size": size}
    layer = make(cls, options, rng, dtype)
    x, dy = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    places = shape[:1] + shape[2:] if axis == 1 else shape[:-1]
    mask = rng.random(places) < 0.8
    mask[(slice(None), *[0] * (len(places) - 1))] = True
    mean, var, count = np.zeros(3, dtype), np.ones(3, dtype), np.array(0)
    for weights in (None, mask, mask * dtype(0.5), np.ones(shape[0], dtype)):
        y = layer.forward(x, training=True, weights=weights)
        expected, cache = fastbn.batch_norm(
            x, layer.gamma.data, layer.beta.data, mean, var, training=True, axis=axis,
            num_batches_tracked=count, weights=weights, virtual_batch_size=size,
        )  # fmt: skip
        np.testing.assert_array_equal(y, expected)
        dx, dgamma, dbeta = fastbn.batch_norm_backward(dy, cache)
        np.testing.assert_array_equal(layer.backward(dy), dx)
        np.testing.assert_array_equal(layer.gamma.grad, dgamma)
        np.testing.assert_array_equal(layer.beta.grad, dbeta)
        np.testing.assert_array_equal(layer.running_mean, mean)
        np.testing.assert_array_equal(layer.running_var, var)
        assert layer.num_batches_tracked == count
    np.testing.assert_array_equal(
        layer.forward(x, weights=mask),
        fastbn.batch_norm(
            x, layer.gamma.data, layer.beta.data, mean, var, training=False, axis=axis, weights=mask
        )[0],
    )


@pytest.mark.parametrize("size", [None, 2])
def test_a_fused_layer_gone_through_by_hand_keeps_its_groups(rng, size):
    bn, relu = BatchNorm1d(3, virtual_batch_size=size), ReLU()
    net = Sequential(bn, relu)
    x, dy = rng.standard_normal((2, 7, 3)).astype(np.float32)
    together = bn, relu
    net.forward(x, training=True)
    fused = net.backward(dy)
    net.forward(x, training=True)
    d = dy
    for layer in reversed(together):
        d = layer.backward(d)
    np.testing.assert_array_equal(d, fused)
    gradients = bn.gamma.grad.copy(), bn.beta.grad.copy()
    relu.forward(bn.forward(x, training=True), training=True)
    np.testing.assert_array_equal(bn.backward(relu.backward(dy)), fused)
    np.testing.assert_array_equal(bn.gamma.grad, gradients[0])
    np.testing.assert_array_equal(bn.beta.grad, gradients[1])


def test_a_virtual_batch_size_is_no_state():
    plain, ghost = BatchNorm1d(3).state_dict(), BatchNorm1d(3, virtual_batch_size=4).state_dict()
    assert list(plain) == list(ghost)
    for size in (0, -1):
        with pytest.raises(ValueError, match=f"virtual_batch_size .*got {size}"):
            BatchNorm2d(3, virtual_batch_size=size)


def test_inference_knows_no_ghost_batches(rng):
    x = rng.standard_normal((24, 5)).astype(np.float32)
    ghost = fastbn.BatchNorm1d(5, track_running_stats=False, virtual_batch_size=8)
    whole = fastbn.BatchNorm1d(5, track_running_stats=False)
    np.testing.assert_array_equal(ghost.forward(x), whole.forward(x))
    assert not np.array_equal(ghost.forward(x, training=True), whole.forward(x, training=True))
