"""Neighbouring parameters are updated as one, and their state follows them."""

import numpy as np
import pytest

from fastbn import optim, segments
from fastbn.layers import Linear, Parameter, Sequential
from fastbn.optim import SGD, AdamW

from .optimizers import OPTIMIZERS, make_net


def calls(monkeypatch):
    """Sizes of the flat arrays of all kernel calls from now on."""
    sizes = []
    for name in ("sgd_update", "adam_update"):
        kernel = getattr(optim._core, name)

        def counted(data, *args, kernel=kernel, **kwargs):
            sizes.append(data.size)
            return kernel(data, *args, **kwargs)

        monkeypatch.setattr(optim._core, name, counted)
    return sizes


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_a_net_is_updated_like_its_parameters_one_by_one(rng, make):
    net = make_net()
    alone = [Parameter(p.data.copy(), decay=p.decay) for p in net.parameters()]
    optimizer, other = make(net.parameters()), make(alone)
    for _ in range(3):
        for a, b in zip(net.parameters(), alone, strict=True):
            a.grad[...] = b.grad[...] = rng.standard_normal(a.data.shape)
        optimizer.step()
        other.step()
        for a, b in zip(net.parameters(), alone, strict=True):
            np.testing.assert_array_equal(a.data, b.data)
    flat, taken = net.parameters()[0].place.data, 0
    for parameter in net.parameters():
        taken += np.count_nonzero(parameter.data)
    assert np.count_nonzero(flat) == taken  # the padding is still zero


def test_kernel_calls_of_a_step(monkeypatch):
    net = make_net()
    sizes = calls(monkeypatch)
    flat = net.parameters()[0].place.data
    SGD(net.parameters(), lr=0.1).step()
    assert len(sizes) == 1
    assert flat.size - 16 <= sum(sizes) <= flat.size
    sizes.clear()
    AdamW(net.parameters()).step()
    assert len(sizes) == 2
    sizes.clear()
    SGD(net.parameters(), lr=0.1, weight_decay=0.1, decay_exempt=False).step()
    assert len(sizes) == 1
    sizes.clear()
    weights = [p for p in net.parameters() if p.decay]
    SGD(weights[::-1], lr=0.1).step()  # any order, and a part of the net
    assert len(sizes) == 1
    sizes.clear()
    SGD([net[0].weight, net[3].bias], lr=0.1).step()
    assert len(sizes) == 2
    sizes.clear()
    SGD([Parameter(np.ones(3)), Parameter(np.ones(4))], lr=0.1).step()
    assert sorted(sizes) == [3, 4]


def test_threads_share_out_large_parameters_one_by_one(monkeypatch):
    """As the kernels of their gradients do; small parameters between them are one part."""
    net = Sequential(
        Linear(131, 127, rng=0),
        Linear(127, 10, rng=1),
        Linear(10, 9, rng=2),
        Linear(9, 2000, rng=3),
    )
    seen = []
    monkeypatch.setattr(optim._core, "sgd_update", lambda *args: seen.append((args[0], *args[-2:])))
    SGD(net.parameters(), lr=0.1, momentum=0.9).step()
    ((data, ends, cols),) = seen
    # Weights come first, each from a cache line on: 16,637 of 16,640, 1,270 of 1,280, 90 of 96.
    assert ends == (16640, 16640 + 1280 + 96, 16640 + 1280 + 96 + 18000, data.size)
    assert cols == (0, 0, 2000, 0)  # the first is no matrix with the padding behind it


def test_weights_side_by_side_each_have_their_columns():
    starts, shapes = [0, 20000, 40000, 40064], [(200, 100), (400, 50), (50,)]
    assert segments._parts(starts, shapes) == ((20000, 40000, 40064), (100, 50, 0))
    # A small parameter before a weight, and two behind it.
    starts, shapes = [0, 64, 20064, 20128, 20192], [(64,), (200, 100), (8, 8), (64,)]
    assert segments._parts(starts, shapes) == ((64, 20064, 20192), (0, 100, 0))


def test_a_large_bias_has_no_columns(monkeypatch):
    seen = []
    monkeypatch.setattr(optim._core, "sgd_update", lambda *args: seen.append(args[-2:]))
    SGD([Parameter(np.ones(20000))], lr=0.1).step()
    assert seen == [((20000,), (0,))]


def test_a_part_of_a_net_leaves_the_rest_alone(rng):
    net = make_net()
    for parameter in net.parameters():
        parameter.grad[...] = 1
    before = net.state_dict()
    chosen = {"0.weight", "1.beta"}
    named = dict(net.named_parameters())
    SGD([named[name] for name in sorted(chosen)], lr=0.1, momentum=0.9).step()
    for name, array in net.state_dict().items():
        assert np.any(array != before[name]) == (name in chosen)


def test_decay_may_be_switched_on_later(monkeypatch):
    net = make_net()
    before = net.state_dict()
    optimizer = SGD(net.parameters(), lr=0.1)
    optimizer.step()
    optimizer.weight_decay = 0.5
    optimizer.step()
    np.testing.assert_array_equal(net[1].gamma.data, before["1.gamma"])
    assert np.all(net[0].weight.data != before["0.weight"])


@pytest.mark.parametrize("change", ["decay", "decay_exempt"])
def test_decay_of_a_parameter_may_be_switched_later(change):
    parameter = Parameter(np.ones(3), decay=False)
    optimizer = SGD([parameter], lr=0.1, weight_decay=0.5)
    optimizer.step()
    np.testing.assert_array_equal(parameter.data, 1)
    if change == "decay":
        parameter.decay = True
    else:
        optimizer.decay_exempt = False
    optimizer.step()
    np.testing.assert_allclose(parameter.data, 0.95)


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_state_follows_a_parameter_that_moves(rng, make):
    def run(moves):
        rng = np.random.default_rng(1)
        layers = Linear(4, 3, rng=0), Linear(3, 2, rng=1)
        optimizer = make([p for layer in layers for p in layer.parameters()])
        for step in range(6):
            if moves and step == 2:
                Sequential(layers[0])
            if moves and step == 4:
                Sequential(*layers)
            for parameter in optimizer.params:
                parameter.grad[...] = rng.standard_normal(parameter.data.shape)
            optimizer.step()
        return optimizer

    still, moved = run(False), run(True)
    for a, b in zip(still.params, moved.params, strict=True):
        np.testing.assert_array_equal(a.data, b.data)
    state = moved.state_dict()
    for name, value in still.state_dict().items():
        np.testing.assert_array_equal(value, state[name])
