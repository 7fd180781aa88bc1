import copy
import io
import pickle

import numpy as np
import pytest

from fastbn.layers import BatchNorm1d, BatchNorm2d, Dropout, Layer, Linear, ReLU, Sequential


def make(seed=0, dtype=np.float32):
    return Sequential(
        Linear(4, 3, rng=seed, dtype=dtype),
        BatchNorm1d(3, dtype=dtype),
        ReLU(),
        Sequential(Linear(3, 5, bias=False, rng=seed, dtype=dtype), BatchNorm1d(5, dtype=dtype)),
        Dropout(rng=seed),
    )


NAMES = [
    "0.weight",
    "0.bias",
    "1.gamma",
    "1.beta",
    "1.running_mean",
    "1.running_var",
    "1.num_batches_tracked",
    "3.0.weight",
    "3.1.gamma",
    "3.1.beta",
    "3.1.running_mean",
    "3.1.running_var",
    "3.1.num_batches_tracked",
]


def trained(seed=0):
    net = make(seed)
    x = np.random.default_rng(seed).standard_normal((6, 4)).astype(np.float32)
    net.backward(net(x, training=True))
    for parameter in net.parameters():
        parameter.data -= 0.1 * parameter.grad
    return net, x


def test_names_are_in_the_order_of_the_layers():
    net = make()
    assert list(net.state_dict()) == NAMES
    names = [name for name, _ in net.named_parameters()]
    assert names == [n for n in NAMES if n.split(".")[-1] in ("weight", "bias", "gamma", "beta")]
    assert [name for name, _ in net.named_buffers()] == [n for n in NAMES if n not in names]
    assert len(net.parameters()) == len(names)
    assert len(net.buffers()) == len(NAMES) - len(names)
    assert net.buffers()[0] is net[1].running_mean


def test_round_trip():
    net, x = trained()
    other = make(seed=1)
    assert np.any(other(x) != net(x))
    live = other.parameters()[0].data
    other.load_state_dict(net.state_dict())
    assert other.parameters()[0].data is live
    np.testing.assert_array_equal(other(x), net(x))
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(array, other.state_dict()[name])


def test_round_trip_through_a_file():
    net, x = trained()
    file = io.BytesIO()
    np.savez(file, **net.state_dict())
    file.seek(0)
    other = make(seed=1)
    with np.load(file) as arrays:
        other.load_state_dict(arrays)
    np.testing.assert_array_equal(other(x), net(x))


def test_state_dict_is_a_copy():
    net, x = trained()
    state, y = net.state_dict(), net(x)
    for parameter in net.parameters():
        parameter.data += 1
    net(x, training=True)
    net.load_state_dict(state)
    np.testing.assert_array_equal(net(x), y)


def test_arrays_of_the_net_itself_may_be_loaded():
    layer = Linear(3, 3, rng=0)
    weight = layer.weight.data.copy()
    layer.load_state_dict({"weight": layer.weight.data.T, "bias": layer.weight.data[0]})
    np.testing.assert_array_equal(layer.weight.data, weight.T)
    np.testing.assert_array_equal(layer.bias.data, weight[0])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda s: s.pop("1.running_var"), ValueError, r"missing \['1.running_var'\]"),
        (lambda s: s.update(extra=np.ones(3)), ValueError, r"unknown \['extra'\]"),
        (
            lambda s: s.update({"3.1.beta": np.ones((1, 5), np.float32)}),
            ValueError,
            r"3.1.beta.*\(5,\).*\(1, 5\)",
        ),
        (lambda s: s.update({"3.1.beta": np.ones(5)}), TypeError, "3.1.beta.*float32.*float64"),
        (lambda s: s.update({"1.num_batches_tracked": np.float64(1)}), TypeError, "int64"),
    ],
)
def test_a_wrong_state_changes_nothing(change, error, message):
    net, _ = trained()
    state = trained(seed=1)[0].state_dict()
    before = net.state_dict()
    change(state)
    with pytest.raises(error, match=message):
        net.load_state_dict(state)
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_of_a_net(duplicate):
    net, x = trained()
    other = duplicate(net)
    np.testing.assert_array_equal(other(x), net(x))
    with pytest.raises(RuntimeError, match="forward"):
        other.backward(net(x))
    place = other.parameters()[0].place
    assert all(p.place.data is place.data for p in other.parameters())  # one flat array again
    for (_, a), (_, b) in zip(net.named_buffers(), other.named_buffers(), strict=True):
        assert not np.shares_memory(a, b)
    y = net(x)
    for parameter in other.parameters():
        parameter.data += 1
    np.testing.assert_array_equal(net(x), y)
    # The units of the copy are of its own layers, the generator of the dropout goes on alike.
    np.testing.assert_array_equal(duplicate(net)(x, training=True), net(x, training=True))


def test_a_shallow_copy_shares_the_parameters():
    net, x = trained()
    held = net[0].weight.data
    other = copy.copy(net)
    assert other[0] is net[0]
    held += 1  # still the live array
    np.testing.assert_array_equal(other(x), net(x))


def test_layers_of_ones_own():
    class Residual(Layer):
        def __init__(self, size):
            self.inner = Sequential(Linear(size, size, rng=0), ReLU())
            self.norm = BatchNorm1d(size)

        def forward(self, x, *, training=False):
            return self.norm(x + self.inner(x, training=training), training=training)

        def backward(self, dy):
            dy = self.norm.backward(dy)
            return dy + self.inner.backward(dy)

    net = Sequential(Residual(3), Linear(3, 2, rng=1))
    assert list(net.state_dict())[:3] == ["0.inner.0.weight", "0.inner.0.bias", "0.norm.gamma"]
    place = net.parameters()[0].place
    assert all(p.place.data is place.data for p in net.parameters())
    x = np.ones((4, 3), np.float32)
    assert net.backward(net(x, training=True)).shape == x.shape


def test_repr_tells_the_options():
    text = repr(Sequential(make(), BatchNorm2d(3, momentum=None), Linear(2, 1, bias=False)))
    for part in ("BatchNorm2d(3, ", "momentum=None", "Linear(2, 1, bias=False", "Dropout(0.5)"):
        assert part in text
