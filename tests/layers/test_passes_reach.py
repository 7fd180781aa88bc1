"""What tapes must not reach, or must notice: the net's own arrays, subclasses, hooks, pickles."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from fastbn.layers import Layer, Linear, ReLU, Sequential
from fastbn.layers.parameter import Parameter

from .taped_nets import NETS, OUT, batch, by_tape, pair, passes, require_same, train


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("place", [0, 1])
def test_a_weight_as_samples(training: bool, place: int) -> None:
    """The very object that kernels read beside the samples."""
    nets = tuple(Sequential(Linear(12, 12, rng=0), ReLU(), Linear(12, 12, rng=1)) for _ in range(2))
    nets[1]._passes._repeats = nets[1]._inference._repeats = False
    for i in range(8):
        ways = []
        for net in nets:
            weight = net.layers[2 * place].weight.data  # type: ignore[attr-defined]
            x = weight if i < 4 else batch(i, rows=12)[0]
            ways.append([net.forward(x, training=training)])
        require_same(*ways)


def infer_and_train(nets: tuple[Sequential, Sequential], steps: range) -> None:
    for i in steps:
        x, _ = batch(i)
        require_same(*([net.forward(x)] for net in nets))
        train(nets, range(i, i + 1))


def test_parameters_that_are_wholly_frozen_and_move() -> None:
    nets = pair()
    for net in nets:
        for p in net.parameters():
            p.data.flags.writeable = p.grad.flags.writeable = False
    for i in range(4):
        require_same(*([net.forward(batch(i)[0])] for net in nets))
    for net in nets:
        Sequential(*net.layers)
        for p in net.parameters():
            p.data[...] = 0.5
    infer_and_train(nets, range(4, 8))


class Halved(Parameter):
    """Of which others see the half."""

    @property
    def data(self) -> Any:
        return self._data / 2

    @data.setter
    def data(self, value: Any) -> None:
        self._data[...] = value


def test_a_subclass_of_parameter_is_asked() -> None:
    nets = pair("one layer")
    for net in nets:
        linear: Any = net.layers[0]
        linear.weight = Halved(np.ones((12, OUT), np.float32))
        linear.bias = None
    for i in range(5):
        x, dy = batch(i)
        require_same(*([net.forward(x), *passes(net, x, dy)[:3]] for net in nets))
        np.testing.assert_allclose(nets[0].forward(x)[:, 0], x.sum(1) / 2, rtol=1e-5, atol=1e-5)


def test_a_layer_of_ones_own_is_told_how_it_trains() -> None:
    class Told(Layer):
        def __init__(self) -> None:
            self.told: list[Any] = []

        def forward(self, x: Any, *, training: Any = False) -> Any:
            self.told.append(training)
            return x

        def backward(self, dy: Any) -> Any:
            return dy

    net = Sequential(told := Told(), Linear(12, OUT, rng=0))
    ways: list[Any] = [False, None, 0, True, "mc"]
    for way in ways:
        net.forward(batch(0)[0], training=way)
    assert told.told == ways


def test_a_net_with_a_forget_of_its_own() -> None:
    net, _ = pair()
    forgotten: list[int] = []

    def forget() -> None:
        forgotten.append(1)
        Sequential.forget(net)

    net.forget = forget  # type: ignore[method-assign]
    for i in range(4):
        passes(net, *batch(i))
    assert len(forgotten) == 4


class Plain(Sequential):
    """With a state of its own."""

    def __getstate__(self) -> dict[str, Any]:
        return dict(self.__dict__)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


def test_a_net_that_is_pickled_otherwise() -> None:
    net, twin = Plain(*NETS["blocks"](np.float32)), Sequential(*NETS["blocks"](np.float32))
    twin._passes._repeats = twin._inference._repeats = False
    infer_and_train((net, twin), range(4))
    assert by_tape(net)
    restored = pickle.loads(pickle.dumps(net))
    assert not by_tape(restored)
    infer_and_train((restored, twin), range(4, 8))


@pytest.mark.parametrize("training", [False, True])
def test_statistics_of_another_shape(training: bool) -> None:
    net, _ = pair()
    for i in range(3):
        net.forward(batch(i)[0], training=training)
    statistics: Any = net.layers[1].running_mean  # type: ignore[attr-defined]
    statistics.shape = (1, 20)
    with pytest.raises(ValueError, match="shape"):
        net.forward(batch(3)[0], training=training)
    statistics.shape = (20,)
    net.forward(batch(3)[0], training=training)
