"""Forward and backward by tape: for which arrays and nets, and beside other tapes."""

from __future__ import annotations

import copy
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastbn
from fastbn import _core
from fastbn.layers import BatchNorm1d, Dropout, Layer, Linear, ReLU, Sequential

from .taped_nets import (
    FEATURES,
    NETS,
    OUT,
    ROWS,
    MyReLU,
    batch,
    by_tape,
    pair,
    passes,
    require_same,
    train,
)


def test_batches_of_other_sizes() -> None:
    nets = pair()
    for i, rows in enumerate([8, 8, 8, 5, 8, 8, 8, 2, 2, 2, 300, 300, 300, 8]):
        require_same(*(passes(net, *batch(i, rows=rows)) for net in nets))


def strided(x: Any, net: Sequential) -> Any:
    return np.repeat(x, 2, axis=1)[:, ::2]


def in_fortran_order(x: Any, net: Sequential) -> Any:
    return np.asfortranarray(x)


def among_the_parameters(x: Any, net: Sequential) -> Any:
    """Where the first weight begins: one pointer for both."""
    view = net.parameters()[0].place.data[: x.size].reshape(x.shape)
    view[...] = x
    return view


def among_the_gradients(x: Any, net: Sequential) -> Any:
    view = net.parameters()[0].place.grad[: x.size].reshape(x.shape)
    view[...] = x
    return view


def of_a_subclass(x: Any, net: Sequential) -> Any:
    return x.view(np.recarray)


PLACES = [strided, in_fortran_order, among_the_parameters, among_the_gradients, of_a_subclass]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("first", [1, 3])
def test_samples_in_unusual_memory(place: Callable[[Any, Sequential], Any], first: int) -> None:
    """When a tape is recorded, and when it is there."""
    nets = pair()
    for i in range(10):
        ways = []
        for net in nets:
            x, dy = batch(i)
            ways.append(passes(net, place(x, net) if i in (first, first + 1, 7) else x, dy))
        require_same(*ways)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("first", [1, 3])
def test_gradients_in_unusual_memory(place: Callable[[Any, Sequential], Any], first: int) -> None:
    nets = pair()
    for i in range(10):
        ways = []
        for net in nets:
            x, dy = batch(i)
            ways.append(passes(net, x, place(dy, net) if i in (first, first + 1, 7) else dy))
        require_same(*ways)


@pytest.mark.parametrize("name", ["one layer", "one block", "blocks"])
@pytest.mark.parametrize("steps", [(1,), (1, 4), (3, 4), range(9)])
def test_what_is_made_is_given_again(name: str, steps: Any) -> None:
    """The result as gradient, as in the derivative of half its squares, or as the next samples."""
    nets = pair(name)
    last = [batch(0)[0] for _ in nets]
    for i in range(9):
        ways = []
        for which, net in enumerate(nets):
            x, dy = batch(i)
            y = net.forward(last[which] if i in steps else x, training=True)
            dx = net.backward(y if i in steps else dy)
            ways.append([y, dx, *(p.grad.copy() for p in net.parameters())])
            last[which] = y
            if i % 4 == 3:
                last[which] = dx
        require_same(*ways)


def test_one_array_for_samples_and_gradients() -> None:
    nets = pair("one layer")
    for i in range(12):
        x, dy = batch(i)
        require_same(*(passes(net, x, x if i % 3 < i // 4 else dy) for net in nets))


def test_several_passes_a_step() -> None:
    """Forward twice before backward, backward twice, inference between them."""
    nets = pair()
    for i in range(6):
        ways = []
        for net in nets:
            x, dy = batch(i)
            net.forward(x[::-1].copy(), training=True)
            first = net.forward(x, training=True)
            inferred = net.forward(x[:3])
            net.backward(dy[::-1].copy())
            ways.append([first, inferred, net.backward(dy), *passes(net, x, dy)])
        require_same(*ways)


@pytest.mark.parametrize(
    ("x", "dy", "error"),
    [
        (np.zeros((ROWS, FEATURES + 1), np.float32), None, ValueError),
        (np.zeros((ROWS, FEATURES)), None, TypeError),
        (np.zeros((1, FEATURES), np.float32), None, ValueError),
        (None, np.zeros((ROWS + 1, OUT), np.float32), ValueError),
        (None, np.zeros((ROWS, OUT)), TypeError),
        (None, [[0.0] * OUT] * ROWS, TypeError),
    ],
)
@pytest.mark.parametrize("backward_is_taped", [False, True])
def test_bad_input_is_refused_as_by_units(
    x: Any, dy: Any, error: type[Exception], backward_is_taped: bool
) -> None:
    nets = pair()
    train(nets, range(3) if backward_is_taped else range(1))
    messages = []
    for net in nets:
        for i in range(3):
            net.forward(batch(i)[0], training=True)
        before = [array.copy() for array in net.buffers()]
        good_x, good_dy = batch(3)
        with pytest.raises(error) as raised:
            passes(net, good_x if x is None else x, good_dy if dy is None else dy)
        messages.append(str(raised.value))
        if x is not None:
            require_same(net.buffers(), before)
    assert messages[0] == messages[1]
    train(nets, range(4, 8))


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [Dropout(0.5, rng=0), Linear(FEATURES, OUT, rng=1)],
        lambda: [Linear(FEATURES, 20, rng=1), Dropout(0.5, rng=0), Linear(20, OUT, rng=1)],
        lambda: [Linear(FEATURES, 20, rng=1), MyReLU(), Linear(20, OUT, rng=1)],
        lambda: [Sequential(Linear(FEATURES, 20, rng=1)), Linear(20, OUT, rng=1)],
        lambda: [Linear(FEATURES, OUT, rng=1), ReLU()],
        lambda: [BatchNorm1d(FEATURES), Linear(FEATURES, OUT, rng=1)],
        lambda: [Linear(FEATURES, OUT, rng=1), BatchNorm1d(OUT, momentum=None)],
        lambda: [],
    ],
)
def test_what_is_not_repeated(layers: Callable[[], list[Layer]]) -> None:
    taped, plain = (Sequential(*layers()) for _ in range(2))
    plain._passes._repeats = False
    train((taped, plain), range(5))
    assert not by_tape(taped)


def test_a_net_within_a_net() -> None:
    """The outer one goes by layers, and has the inner one forget before each forward."""
    nets = []
    for _ in range(2):
        inner = Sequential(*NETS["one block"](np.float32))
        nets.append(Sequential(inner, Linear(OUT, OUT, rng=1)))
    nets[1].layers[0]._passes._repeats = False
    train((nets[0], nets[1]), range(5))
    assert not by_tape(nets[0].layers[0])


def test_beside_the_tape_of_a_trainer() -> None:
    """A loop of one's own before, between and after the steps of a trainer."""
    nets = pair()
    trainers = [
        fastbn.Trainer(
            net, fastbn.CrossEntropyLoss(), fastbn.SGD(net.parameters(), lr=0.1, momentum=0.9)
        )
        for net in nets
    ]
    labels = np.arange(ROWS) % OUT
    for i in range(24):
        x, dy = batch(i)
        if i // 4 % 2 == 0:
            require_same(*(passes(net, x, dy) for net in nets))
        else:
            assert trainers[0].step(x, labels) == trainers[1].step(x, labels)
            require_same(*([p.grad for p in net.parameters()] for net in nets))


@pytest.mark.parametrize("name", ["one block", "blocks", "activations"])
def test_a_trainer_by_layers_goes_by_the_tapes_of_its_net(name: str) -> None:
    """Of a loss that no tape has; the layers forget each batch."""
    nets = pair(name)
    trainers = [
        fastbn.Trainer(
            net, fastbn.BCEWithLogitsLoss(), fastbn.SGD(net.parameters(), lr=0.1), metrics=()
        )
        for net in nets
    ]
    for i in range(8):
        x, dy = batch(i)
        y = (dy > 0).astype(np.float32)
        assert trainers[0].step(x, y) == trainers[1].step(x, y)
        require_same(*([*net.buffers(), *(p.data for p in net.parameters())] for net in nets))
        assert by_tape(nets[0]) == (i > 0)
        assert all(layer._saved is None for layer in nets[0])
        with pytest.raises(RuntimeError, match="forward"):
            nets[0].backward(dy)
    train(nets, range(8, 12))


def test_while_another_tape_records() -> None:
    """Its calls are then that tape's, which would miss them otherwise."""
    nets = pair("one block")
    train(nets, range(3))
    x, dy = batch(3)
    _, tape = _core.record_pass(lambda: nets[0].forward(x, training=True), (), (), x)
    assert tape is not None
    assert tape.calls == 1
    assert not by_tape(nets[0])
    nets[1].forward(x, training=True)
    require_same([nets[0].backward(dy)], [nets[1].backward(dy)])


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_stand_alone(clone: Callable[[Sequential], Sequential]) -> None:
    nets = pair()
    train(nets, range(3))
    copies = clone(nets[0]), clone(nets[1])
    assert not by_tape(copies[0])
    train(copies, range(3, 7))
    assert by_tape(copies[0])
    train(nets, range(3, 7))
    assert by_tape(nets[0])


def test_forget_frees_the_memory_of_tapes() -> None:
    net, _ = pair()
    for i in range(3):
        passes(net, *batch(i))
    tape = weakref.ref(net._passes._taped.forward)  # type: ignore[union-attr]
    net.forget()
    assert not by_tape(net)
    assert tape() is None
    with pytest.raises(RuntimeError, match="forward"):
        net.backward(batch(0)[1])


def test_any_number_of_threads(threads: Callable[[int], None]) -> None:
    """Also one that changes between two passes."""
    nets = pair()
    for i in range(8):
        threads(1 + i % 2)
        require_same(*(passes(net, *batch(i, rows=300)) for net in nets))
