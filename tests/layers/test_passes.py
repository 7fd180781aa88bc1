"""Forward and backward by tape do what they do by units, to the bit, and own what they own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastbn.layers.block import Block

from .taped_nets import FEATURES, NETS, OUT, ROWS, batch, by_tape, pair, passes, require_same, train


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
    made: list[Any] = []
    kept: list[Any] = []
    for x, dy in map(batch, range(9)):
        for array in (net.forward(x, training=True), net.backward(dy)):
            made.append(array)
            kept.append(array.copy())
    require_same(made, kept)
    assert len({array.ctypes.data for array in made}) == len(made)


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
    gradients = [p.grad.copy() for p in net.parameters()]
    taped: Any = net._passes._taped
    net._passes._taped = taped._replace(ends=taped.ends._replace(y=object()))  # lends nothing
    with pytest.raises((TypeError, RuntimeError)):
        net.forward(batch(3)[0], training=True)
    with pytest.raises(RuntimeError, match="forward"):
        net.backward(batch(3)[1])
    require_same([p.grad for p in net.parameters()], gradients)


def test_a_block_whose_layer_forgot_writes_nothing() -> None:
    net, _ = pair("one block")
    passes(net, *batch(0))
    gradients = [p.grad.copy() for p in net.parameters()]
    net.layers[0].forget()
    with pytest.raises(RuntimeError, match=r"Linear\.backward needs"):
        net.backward(batch(1)[1])
    require_same([p.grad for p in net.parameters()], gradients)


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
