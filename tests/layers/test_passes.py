"""Forward and backward by tape do what they do by units, to the bit, and own what they own."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastbn
from fastbn import _core
from fastbn.layers import BatchNorm1d, Dropout, Layer, Linear, ReLU, Sequential
from fastbn.layers.block import Block
from fastbn.layers.parameter import Parameter

from .taped_nets import FEATURES, NETS, OUT, ROWS, batch, pair, require_same


def by_tape(net: Sequential) -> bool:
    return net._passes._taped is not None


def passes(net: Sequential, x: Any, dy: Any, need_dx: bool = True) -> list[Any]:
    """Results of a step, and all that it leaves behind."""
    y = net.forward(x, training=True)
    dx = net.backward(dy, need_dx=need_dx)
    return [y, dx, *(p.grad.copy() for p in net.parameters()), *(b.copy() for b in net.buffers())]


def train(nets: tuple[Sequential, Sequential], steps: Any, dtype: Any = np.float32) -> None:
    for i in steps:
        require_same(*(passes(net, *batch(i, dtype)) for net in nets))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", NETS)
def test_bits(name: str, dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    nets = pair(name, dtype)
    for i in range(9):
        x, dy = batch(i, dtype)
        need_dx = i % 3 != 2
        require_same(*(passes(net, x, dy, need_dx) for net in nets))
        assert by_tape(nets[0]) == (i > 0)
        for parameters in zip(*(net.parameters() for net in nets), strict=True):
            for p in parameters:
                p.data -= np.asarray(0.1, dtype) * p.grad
    monkeypatch.setattr(nets[0]._passes, "_units", None)  # nothing of this is called any more
    for need_dx in (True, False):
        x, dy = batch(9, dtype)
        require_same(*(passes(net, x, dy, need_dx) for net in nets))


@pytest.mark.parametrize("name", NETS)
def test_results_are_the_callers(name: str) -> None:
    net, _ = pair(name)
    made = [(net.forward(x, training=True), net.backward(dy)) for x, dy in map(batch, range(6))]
    kept = [(y.copy(), dx.copy()) for y, dx in made]
    for x, dy in map(batch, range(6, 12)):
        net.forward(x, training=True)
        net.backward(dy)
    for arrays, copies in zip(made, kept, strict=True):
        require_same(list(arrays), list(copies))
    arrays = [array for both in made for array in both]
    assert len({array.ctypes.data for array in arrays}) == len(arrays)


def test_memory_is_lent_again() -> None:
    net, _ = pair("one block")
    places = set()
    for i in range(6):
        x, dy = batch(i)
        y, dx = net.forward(x, training=True), net.backward(dy)
        places.add((y.ctypes.data, dx.ctypes.data))
        del y, dx
    assert len(places) == 1


@pytest.mark.parametrize("name", NETS)
def test_each_layer_keeps_what_it_keeps_by_units(name: str) -> None:
    nets = pair(name)
    train(nets, range(3))
    ways = []
    for net in nets:
        x, dy = batch(3)
        net.forward(x, training=True)
        for layer in reversed(net.layers):
            dy = layer.backward(dy)
        ways.append([dy.copy(), *(p.grad.copy() for p in net.parameters())])
    require_same(*ways)
    train(nets, range(4, 7))


@pytest.mark.parametrize("name", ["one block", "a block without ReLU", "blocks"])
def test_blocks_know_that_their_layers_ran_as_one(name: str) -> None:
    """Else they would go back through them one by one."""
    net, _ = pair(name)
    for i in range(6):
        x, _ = batch(i)
        if i == 4:
            net._passes.rest()
        net.forward(x, training=True)
        assert by_tape(net) == (i > 0)
        assert net.layers[0]._saved[1] is x
        blocks = [unit for unit in net._units if isinstance(unit, Block)]
        assert len(blocks) == (2 if name == "blocks" else 1)
        for block in blocks:
            assert block._ran is not None
            assert block._ran[0] is block._linear._saved
            assert block._ran[1] is block._norm._saved


def test_samples_of_three_dimensions_since() -> None:
    """Go through the first layer alone, as many values as by the tape."""
    for backward_is_taped in (False, True):
        nets = pair("one layer")
        ways = []
        for net in nets:
            x, dy = batch(0)
            for _ in range(3):
                net.forward(x, training=True)
                if backward_is_taped:
                    net.backward(dy)
            shape = (2, ROWS // 2, OUT)
            net.layers[0].forward(batch(1)[0].reshape(2, -1, FEATURES), training=True)
            ways.append([net.backward(dy.reshape(shape)), net.parameters()[0].grad.copy()])
            with pytest.raises(ValueError, match="shape"):
                net.backward(dy)
        require_same(*ways)
        train(nets, range(2, 6))


def test_a_forward_that_fails_is_none() -> None:
    net, _ = pair()
    for i in range(3):
        passes(net, *batch(i))
    taped: Any = net._passes._taped
    net._passes._taped = taped._replace(ends=taped.ends._replace(y=object()))  # lends nothing
    with pytest.raises((TypeError, RuntimeError)):
        net.forward(batch(3)[0], training=True)
    net._passes._taped = taped
    with pytest.raises(RuntimeError, match="forward"):
        net.backward(batch(3)[1])


def features_of(name: str) -> list[int]:
    """How many features each layer takes."""
    x, features = batch(0)[0], []
    for layer in NETS[name](np.float32):
        features.append(x.shape[1])
        x = layer.forward(x)
    return features


@pytest.mark.parametrize("name", ["blocks", "activations"])
def test_a_layer_called_alone_since_counts(name: str) -> None:
    """Between forward and backward, and between two steps."""
    for place, features in enumerate(features_of(name)):
        nets = pair(name)
        train(nets, range(3))
        alone = np.random.default_rng(place).standard_normal((ROWS, features)).astype(np.float32)
        ways = []
        for net in nets:
            x, dy = batch(3)
            net.forward(x, training=True)
            net.layers[place].forward(alone, training=True)
            ways.append([net.backward(dy).copy(), *(p.grad.copy() for p in net.parameters())])
        require_same(*ways)
        train(nets, range(4, 8))


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


@pytest.mark.parametrize("change", [with_momentum, with_eps, with_a_weight, with_moved_parameters])
def test_what_changes_between_forward_and_backward_counts(
    change: Callable[[Sequential], None],
) -> None:
    nets = pair()
    train(nets, range(3))
    ways = []
    for net in nets:
        x, dy = batch(3)
        net.forward(x, training=True)
        change(net)
        ways.append([net.backward(dy).copy(), *(p.grad.copy() for p in net.parameters())])
    require_same(*ways)
    train(nets, range(4, 8))


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


def masked(x: Any, net: Sequential) -> Any:
    return x.view(np.recarray)


PLACES = [strided, in_fortran_order, among_the_parameters, among_the_gradients, masked]


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
def test_bad_input_is_refused_as_by_units(x: Any, dy: Any, error: type[Exception]) -> None:
    nets = pair()
    train(nets, range(3))
    messages = []
    for net in nets:
        before = [array.copy() for array in net.buffers()]
        good_x, good_dy = batch(3)
        with pytest.raises(error) as raised:
            passes(net, good_x if x is None else x, good_dy if dy is None else dy)
        messages.append(str(raised.value))
        if x is not None:
            require_same(net.buffers(), before)
    assert messages[0] == messages[1]
    train(nets, range(4, 8))


class MyReLU(ReLU):
    pass


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
    plain._passes._ends = None
    train((taped, plain), range(5))
    assert not by_tape(taped)


def test_a_net_within_a_net() -> None:
    """The outer one goes by layers, and has the inner one forget before each forward."""
    nets = []
    for _ in range(2):
        inner = Sequential(*NETS["one block"](np.float32))
        nets.append(Sequential(inner, Linear(OUT, OUT, rng=1)))
    nets[1].layers[0]._passes._ends = None
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
    _, tape = _core.record_pass(lambda: nets[0].forward(x, training=True), (), x)
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
    net.forget()
    assert not by_tape(net)
    with pytest.raises(RuntimeError, match="forward"):
        net.backward(batch(0)[1])


def test_any_number_of_threads(threads: Callable[[int], None]) -> None:
    """Also one that changes between two passes."""
    nets = pair()
    for i in range(8):
        threads(1 + i % 2)
        require_same(*(passes(net, *batch(i, rows=300)) for net in nets))
