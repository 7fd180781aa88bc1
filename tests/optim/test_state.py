"""Saving, resuming and copying."""

import copy
import io
import pickle

import numpy as np
import pytest

from fastbn.layers import Linear, Parameter
from fastbn.losses import CrossEntropyLoss
from fastbn.optim import SGD, Adam

from .optimizers import OPTIMIZERS, make_net


def through_a_file(state):
    file = io.BytesIO()
    np.savez(file, **state)
    file.seek(0)
    with np.load(file) as arrays:
        return dict(arrays)


@pytest.mark.parametrize("make", OPTIMIZERS)
@pytest.mark.parametrize("way", [copy.deepcopy, through_a_file])
def test_resuming_has_the_same_bits(rng, make, way):
    x, t = rng.standard_normal((8, 5)).astype(np.float32), np.arange(8) % 3
    loss = CrossEntropyLoss()

    def train(net, optimizer, steps):
        for _ in range(steps):
            loss(net(x, training=True), t)
            net.backward(loss.backward())
            optimizer.step()

    net = make_net()
    optimizer = make(net.parameters())
    train(net, optimizer, 3)
    optimizer.lr = 0.05
    saved = way(net.state_dict()), way(optimizer.state_dict())
    train(net, optimizer, 3)
    other = make_net()
    resumed = make(other.parameters())
    other.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    assert resumed.lr == 0.05
    assert resumed.steps == 3
    train(other, resumed, 3)
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(array, other.state_dict()[name])


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))]
)
@pytest.mark.parametrize("in_a_net", [True, False])
def test_a_copy_of_net_and_optimizer_trains_on(duplicate, in_a_net):
    net = make_net() if in_a_net else Linear(5, 3, rng=0)
    optimizer = Adam(net.parameters(), lr=0.1)

    def step(net, optimizer):
        for parameter in net.parameters():
            parameter.grad[...] = 1
        optimizer.step()

    step(net, optimizer)
    other = duplicate((net, optimizer))
    step(net, optimizer)
    step(*other)
    for a, b in zip(net.parameters(), other[0].parameters(), strict=True):
        np.testing.assert_array_equal(a.data, b.data)
        assert not np.shares_memory(a.data, b.data)


def test_names_of_the_state():
    parameters = [Parameter(np.ones((2, 3))), Parameter(np.ones(4), decay=False)]
    assert list(SGD(parameters, 0.1).state_dict()) == [
        "steps",
        "lr",
        "momentum",
        "nesterov",
        "weight_decay",
    ]
    state = SGD(parameters, 0.1, momentum=0.9).state_dict()
    assert state["velocity.0"].shape == (2, 3)
    assert state["velocity.1"].shape == (4,)
    assert {"m.0", "m.1", "v.0", "v.1", "beta1", "beta2", "eps"} <= Adam(
        parameters
    ).state_dict().keys()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"velocity.1": None}, ValueError, "velocity.1"),
        ({"lr": None}, ValueError, "lr"),
        ({"extra": 1.0}, ValueError, "extra"),
        ({"velocity.0": np.ones(3)}, ValueError, r"\(2, 3\).*\(3,\)"),
        ({"velocity.0": np.ones((2, 3), np.float32)}, TypeError, "float64.*float32"),
        ({"lr": -1.0}, ValueError, "lr"),
        ({"lr": np.nan}, ValueError, "lr"),
        ({"lr": "fast"}, TypeError, "lr"),
        ({"lr": np.ones(2)}, TypeError, "lr"),
        ({"steps": 1.5}, TypeError, "steps"),
        ({"steps": -1}, ValueError, "steps"),
        ({"nesterov": 1}, TypeError, "nesterov"),
    ],
)
def test_a_wrong_state_changes_nothing(change, error, message):
    optimizer = SGD([Parameter(np.ones((2, 3))), Parameter(np.ones(4))], 0.1, momentum=0.9)
    optimizer.step()
    before = optimizer.state_dict()
    state = {"steps": 9, "lr": 0.5} | change
    state = {name: value for name, value in (before | state).items() if value is not None}
    with pytest.raises(error, match=message):
        optimizer.load_state_dict(state)
    after = optimizer.state_dict()
    assert after.keys() == before.keys()
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value)
