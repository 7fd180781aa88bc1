from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fastbn.layers import (
    GELU,
    BatchNorm1d,
    BatchNorm2d,
    Dropout,
    Flatten,
    Layer,
    LeakyReLU,
    Linear,
    ReLU,
    Sequential,
    Sigmoid,
    Softmax,
    Tanh,
)
from fastbn.losses import BCEWithLogitsLoss, CrossEntropyLoss, MSELoss

from .gradients import assert_close, check_layer, numeric_gradient

F64 = {"dtype": np.float64}


def dense():
    return Sequential(
        Linear(5, 4, rng=0, **F64),
        BatchNorm1d(4, **F64),
        ReLU(),
        Linear(4, 4, rng=1, **F64),
        ReLU(),
        Sequential(Linear(4, 3, False, rng=2, **F64), BatchNorm1d(3, affine=False, **F64), Tanh()),
        Linear(3, 3, rng=3, **F64),
    )


def images(layout="NCHW"):
    channels = 2 if layout == "NCHW" else 3
    return Sequential(
        BatchNorm2d(channels, layout=layout, **F64),
        ReLU(),
        Flatten(),
        Dropout(0.3),
        Linear(12, 4, rng=0, **F64),
        GELU(),
        LeakyReLU(0.2),
        Linear(4, 3, rng=1, **F64),
        Sigmoid(),
        Softmax(),
    )


NETS = {
    "dense": (dense, (6, 5)),
    "NCHW": (images, (5, 2, 3, 2)),
    "NHWC": (lambda: images("NHWC"), (5, 2, 2, 3)),
}


@pytest.mark.parametrize(("make", "shape"), NETS.values(), ids=NETS.keys())
def test_gradients_of_whole_nets(rng, make, shape):
    net = make()

    def fix_masks():
        for layer in net:
            if isinstance(layer, Dropout):
                layer.rng = np.random.default_rng(1)

    check_layer(net, rng.standard_normal(shape), fix_masks)


@pytest.mark.parametrize(
    ("loss", "targets"),
    [
        (CrossEntropyLoss(0.1), np.array([0, 2, 1, 1, 0, 2])),
        (MSELoss(), np.linspace(-1, 1, 18).reshape(6, 3)),
        (BCEWithLogitsLoss(), np.linspace(0, 1, 18).reshape(6, 3)),
    ],
)
def test_gradients_through_the_loss(rng, loss, targets):
    net, x = dense(), rng.standard_normal((6, 5))

    def scalar():
        return loss(net(x, training=True), targets)

    expected = [numeric_gradient(scalar, parameter.data) for parameter in net.parameters()]
    scalar()
    assert net.backward(loss.backward(), need_dx=False) is None
    for (name, parameter), gradient in zip(net.named_parameters(), expected, strict=True):
        assert_close(parameter.grad, gradient, name)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_net_has_the_bits_of_its_layers(rng, dtype):
    def layers():
        return [
            Linear(7, 9, rng=0, dtype=dtype),
            BatchNorm1d(9, dtype=dtype),
            ReLU(),
            Linear(9, 8, rng=1, dtype=dtype),
            ReLU(),
            Dropout(0.5, rng=2),
            Linear(8, 3, rng=3, dtype=dtype),
        ]

    alone, net = layers(), Sequential(*layers())
    for n in (12, 5):
        x, dy = (rng.standard_normal((n, k)).astype(dtype) for k in (7, 3))
        x[1, 2] = 0
        y, expected = net(x, training=True), x
        for layer in alone:
            expected = layer(expected, training=True)
        np.testing.assert_array_equal(y, expected)
        dx = dy
        for layer in reversed(alone):
            dx = layer.backward(dx)
        np.testing.assert_array_equal(net.backward(dy), dx)
        parameters = [parameter for layer in alone for parameter in layer.parameters()]
        for a, b in zip(net.parameters(), parameters, strict=True):
            np.testing.assert_array_equal(a.grad, b.grad)
        expected = x
        for layer in alone:
            expected = layer(expected)
        np.testing.assert_array_equal(net(x), expected)


def test_nan_passes_a_fused_linear(rng):
    net = Sequential(Linear(3, 4, rng=0), ReLU())
    x = np.array([[1.0, np.nan, 2.0], [1.0, 1.0, 1.0]], np.float32)
    y = net(x, training=True)
    assert np.isnan(y[0]).all()
    assert np.isfinite(y[1]).all()


def test_need_dx_false_stops_at_the_first_trained_layer(rng):
    class Counted(Flatten):
        calls = 0

        def backward(self, dy):
            self.calls += 1
            return super().backward(dy)

    counted = Counted()
    net = Sequential(counted, Linear(4, 3, rng=0), BatchNorm1d(3), ReLU())
    x = rng.standard_normal((5, 2, 2)).astype(np.float32)
    dy = np.ones((5, 3), np.float32)
    net(x, training=True)
    assert net.backward(dy).shape == x.shape
    gradients = [parameter.grad.copy() for parameter in net.parameters()]
    assert counted.calls == 1
    assert net.backward(dy, need_dx=False) is None
    assert counted.calls == 1
    for parameter, gradient in zip(net.parameters(), gradients, strict=True):
        np.testing.assert_array_equal(parameter.grad, gradient)


@pytest.mark.parametrize(
    "first", [lambda: Sequential(ReLU(), Linear(3, 3, rng=0)), lambda: BatchNorm1d(3)]
)
def test_need_dx_false_with_any_first_layer(rng, first):
    net = Sequential(first(), ReLU(), Linear(3, 2, rng=1))
    y = net(rng.standard_normal((5, 3)).astype(np.float32), training=True)
    assert net.backward(y, need_dx=False) is None
    assert all(parameter.grad.any() for parameter in net.parameters()[:1])


def test_need_dx_false_without_parameters(rng):
    net = Sequential(ReLU(), Tanh())
    y = net(rng.standard_normal((5, 3)), training=True)
    assert net.backward(y, need_dx=False) is None


def test_updates_in_place_train_the_net(rng):
    net = dense()
    x = rng.standard_normal((6, 5))
    held = net[0].weight.data
    for parameter in net.parameters():
        parameter.data -= 0.1
    held += 0.3
    expected = dense()
    for parameter in expected.parameters():
        parameter.data[...] = parameter.data - 0.1
    expected[0].weight.data[...] = expected[0].weight.data + 0.3
    np.testing.assert_array_equal(net(x), expected(x))


@pytest.mark.parametrize(("make", "shape"), NETS.values(), ids=NETS.keys())
def test_backward_needs_a_training_forward(rng, make, shape):
    net, x = make(), rng.standard_normal(shape)
    y = net(x)
    with pytest.raises(RuntimeError, match=r"forward\(x, training=True\)"):
        net.backward(y)
    net(x, training=True)
    net.forget()
    with pytest.raises(RuntimeError, match=r"forward\(x, training=True\)"):
        net.backward(y)


def test_a_failed_forward_leaves_no_backward(rng):
    net = Sequential(Linear(3, 4, rng=0), BatchNorm1d(4), ReLU(), Linear(4, 2, rng=1))
    x = rng.standard_normal((5, 3)).astype(np.float32)
    y = net(x, training=True)
    with pytest.raises(ValueError, match="1"):
        net(x[:1], training=True)
    with pytest.raises(RuntimeError, match="forward"):
        net.backward(y)


def test_inference_between_forward_and_backward_changes_nothing(rng):
    net = dense()
    x, z, dy = (rng.standard_normal((6, k)) for k in (5, 5, 3))
    net(x, training=True)
    expected = net.backward(dy).copy()
    net(x, training=True)
    net(z)
    np.testing.assert_array_equal(net.backward(dy), expected)


def test_inference_from_many_threads(rng):
    net = dense()
    inputs = [rng.standard_normal((n, 5)) for n in range(1, 13)]
    expected = [net(x) for x in inputs]

    def run(i):
        return all(np.array_equal(net(inputs[i]), expected[i]) for _ in range(50))

    with ThreadPoolExecutor(12) as pool:
        assert all(pool.map(run, range(12)))


def test_shape_of_a_sequential():
    first, second = Linear(3, 2), ReLU()
    net = Sequential(first, second)
    assert len(net) == 2
    assert net[0] is first
    assert net[-1] is second
    assert list(net) == [first, second]
    assert net.layers == (first, second)
    empty, x = Sequential(), np.ones((2, 3))
    assert empty(x, training=True) is x
    assert empty.backward(x) is x


def test_what_a_sequential_refuses():
    relu, linear = ReLU(), Linear(3, 3)
    with pytest.raises(ValueError, match="two"):
        Sequential(relu, linear, relu)
    with pytest.raises(ValueError, match="two"):
        Sequential(linear, Sequential(linear))
    with pytest.raises(TypeError, match="list"):
        Sequential([relu, linear])
    tied = Linear(3, 3)
    tied.weight = linear.weight
    with pytest.raises(ValueError, match=r"0.weight and 1.weight"):
        Sequential(linear, tied)


def test_a_subclass_is_not_fused_over(rng):
    class Doubled(Linear):
        def forward(self, x, *, training=False):
            return 2 * super().forward(x, training=training)

    layer = Doubled(3, 2, rng=0)
    x = rng.standard_normal((4, 3)).astype(np.float32)
    np.testing.assert_array_equal(Sequential(layer, ReLU())(x), np.maximum(layer(x), 0))


def test_layer_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        Layer()
