"""Forward and backward by tape where something is not as it was when they were recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastbn.layers import Linear, Sequential
from fastbn.layers.parameter import Parameter

from .taped_nets import (
    FEATURES,
    NETS,
    OUT,
    Interrupted,
    MyReLU,
    batch,
    by_tape,
    pair,
    passes,
    require_same,
    train,
)


def with_momentum(net: Sequential) -> None:
    net.layers[1].momentum = 0.5


def with_eps(net: Sequential) -> None:
    net.layers[1].eps = 0.1


def with_statistics(net: Sequential) -> None:
    net.layers[1].running_mean = np.ones(20, np.float32)


def without_beta(net: Sequential) -> None:
    net.layers[1].beta = None


def with_ghosts(net: Sequential) -> None:
    net.layers[1].virtual_batch_size = 5


def with_a_weight(net: Sequential) -> None:
    net.layers[3].weight = Parameter(np.eye(20, 16, dtype=np.float32))


def with_moved_parameters(net: Sequential) -> None:
    Sequential(*net.layers[:3])


def with_a_method(net: Sequential) -> None:
    layer: Any = net.layers[2]
    layer.forget = lambda: type(layer).forget(layer)


def with_a_forgetful_layer(net: Sequential) -> None:
    net.layers[3].forget()


def forgotten(net: Sequential) -> None:
    net.forget()


def with_values_written_in_place(net: Sequential) -> None:
    net.layers[1].running_var[:] = 3
    net.layers[3].weight.data += 1


CHANGES = [
    with_momentum,
    with_eps,
    with_statistics,
    without_beta,
    with_ghosts,
    with_a_weight,
    with_moved_parameters,
    with_a_method,
    with_a_forgetful_layer,
    forgotten,
    with_values_written_in_place,
]


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_between_steps_counts(change: Callable[[Sequential], None]) -> None:
    nets = pair()
    train(nets, range(3))
    assert by_tape(nets[0])
    for net in nets:
        change(net)
    kept = nets[0]._passes._taped
    train(nets, range(3, 8))
    assert by_tape(nets[0]) == (change is not with_a_method)
    still_holds = change in (with_a_forgetful_layer, with_values_written_in_place)
    assert (nets[0]._passes._taped is kept) == still_holds


@pytest.mark.parametrize("backward_is_taped", [False, True])
@pytest.mark.parametrize("change", [with_momentum, with_eps, with_a_weight, with_moved_parameters])
def test_what_changes_between_forward_and_backward_counts(
    change: Callable[[Sequential], None], backward_is_taped: bool
) -> None:
    nets = pair()
    train(nets, range(3) if backward_is_taped else range(1))
    ways = []
    for net in nets:
        for i in range(3):
            x, dy = batch(i)
            net.forward(x, training=True)
        change(net)
        ways.append([net.backward(dy).copy(), *(p.grad.copy() for p in net.parameters())])
    require_same(*ways)
    train(nets, range(4, 8))


def test_what_changed_for_one_backward_counts() -> None:
    """The first one, which might be recorded so."""
    nets = pair()
    ways = []
    for net in nets:
        for i in range(4):
            x, dy = batch(i)
            net.forward(x, training=True)
            if i == 0:
                net.backward(dy)
        linear: Any = net.layers[3]
        weight, linear.weight = linear.weight, Parameter(np.ones((20, 16), np.float32))
        first = net.backward(dy)
        linear.weight = weight
        ways.append([first, net.backward(dy), *(p.grad.copy() for p in net.parameters())])
    require_same(*ways)
    train(nets, range(4, 8))


@pytest.mark.parametrize("which", ["forward", "with dx", "without"])
def test_each_first_pass_after_others_by_tape(which: str) -> None:
    """Also that of another kind, and by units: of gradients that the tape does not take."""
    for name in NETS:
        nets = pair(name)
        ways = []
        for net in nets:
            for i in range(5):
                x, dy = batch(i)
                net.forward(x, training=True)
                if which != "forward":
                    net.backward(dy, need_dx=which == "with dx")
            ways.append(
                [
                    net.backward(np.asfortranarray(dy)),
                    net.backward(dy, need_dx=False),
                    net.backward(dy),
                    *(p.grad.copy() for p in net.parameters()),
                ]
            )
        require_same(*ways)
        train(nets, range(5, 8))


def test_frozen_parameters_that_move() -> None:
    nets = pair()
    for net in nets:
        for p in net.parameters():
            p.data.flags.writeable = False
    train(nets, range(3))
    assert by_tape(nets[0])
    for net in nets:
        Sequential(*net.layers[:3])
        for p in net.parameters():
            if p.data.flags.writeable:
                p.data[...] = 1
    train(nets, range(3, 8))


class Number:
    """What becomes a float, another one each time."""

    value = 0.5

    def __float__(self) -> float:
        Number.value /= 2
        return self.value


def test_numbers_that_change_in_place() -> None:
    net = pair()[0]
    norm: Any = net.layers[1]
    norm.momentum = Number()
    for i in range(4):
        passes(net, *batch(i))
    assert not by_tape(net)


def test_a_number_that_is_another_each_time_is_not_recorded_for_ever() -> None:
    nets = pair()
    for i in range(8):
        for net in nets:
            norm: Any = net.layers[1]
            norm.momentum = 0.1 + 0.01 * i
        require_same(*(passes(net, *batch(i)) for net in nets))
        assert by_tape(nets[0]) == (i == 1)


@pytest.mark.parametrize("name", ["linear_batch_norm", "linear_batch_norm_backward"])
@pytest.mark.parametrize("step", [0, 1, 2])
def test_kernels_of_a_finalizer_are_not_the_tapes(
    name: str, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is what it made overwritten."""
    nets = pair()
    other = Linear(FEATURES, OUT, rng=0)
    made: list[Any] = []
    core = Interrupted(name, lambda: made.append(other.forward(batch(9)[0])))
    monkeypatch.setattr("fastbn.layers.block._core", core)
    for i in range(8):
        x, dy = batch(i)
        core.armed = i == step
        taped = passes(nets[0], x, dy)
        core.armed = False
        require_same(taped, passes(nets[1], x, dy))
        if i == step and made:
            made.append(made[0].copy())
            other.weight.data[...] = 0  # the same call would make something else of it
    assert len(made) == 2 * (step < 2)
    require_same(made[:1], made[1:])


def test_what_changes_while_a_tape_records_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    nets = pair()
    norm: Any = nets[0].layers[1]
    core = Interrupted("linear_batch_norm", lambda: setattr(norm, "momentum", 0.7))
    monkeypatch.setattr("fastbn.layers.block._core", core)
    for i in range(6):
        x, dy = batch(i)
        core.armed = i == 1
        taped = passes(nets[0], x, dy)
        require_same(taped, passes(nets[1], x, dy))
        nets[1].layers[1].momentum = norm.momentum  # type: ignore[attr-defined]
    assert norm.momentum == 0.7


@pytest.mark.parametrize("truth", [1, "yes", [0], np.True_, np.array(True)])
def test_whatever_is_true(truth: Any) -> None:
    nets = pair()
    for i in range(5):
        x, dy = batch(i)
        require_same(*(passes(net, x, dy, truth) for net in nets))
    ways = []
    for net in nets:
        for i in range(3):
            x, dy = batch(i)
            y = net.forward(x, training=truth)
        ways.append([y, net.backward(dy)])
    require_same(*ways)


def test_a_subclass_is_asked() -> None:
    class Counted(Sequential):
        forgets = backwards = 0

        def forget(self) -> None:
            self.forgets += 1
            super().forget()

        def backward_parameters(self, dy: Any) -> None:
            self.backwards += 1
            super().backward_parameters(dy)

    net = Counted(*NETS["blocks"](np.float32))
    for i in range(5):
        passes(net, *batch(i), need_dx=False)
    assert (net.forgets, net.backwards) == (5, 5)


def test_a_layer_of_another_class_now() -> None:
    nets = pair()
    for at in (0, 3):
        nets = pair()
        train(nets, range(at))
        for net in nets:
            net.layers[2].__class__ = MyReLU
        train(nets, range(at, at + 5))
        assert not by_tape(nets[0])
