"""Inference by tape does what it does by units, bit for bit, for any number of threads that ask."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import fastbn
from fastbn.layers import BatchNorm1d, Dropout, Flatten, Layer, Linear, ReLU, Sequential, Softmax
from fastbn.layers.parameter import Parameter

from .taped_nets import FEATURES, NETS, OUT, Interrupted, batch, pair, require_same

MORE_NETS: dict[str, Callable[[Any], list[Layer]]] = {
    **NETS,
    "probabilities": lambda t: [Linear(FEATURES, OUT, dtype=t, rng=0), Softmax()],
    "dropout": lambda t: [Linear(FEATURES, 5, dtype=t, rng=0), ReLU(), Dropout(0.5, rng=0)],
    "norm first": lambda t: [BatchNorm1d(FEATURES, dtype=t), ReLU()],
    "activation alone": lambda t: [ReLU()],
}


def nets_of(name: str, dtype: Any = np.float32) -> tuple[Sequential, Sequential]:
    taped, plain = (Sequential(*MORE_NETS[name](dtype)) for _ in range(2))
    plain._inference._repeats = False
    return taped, plain


def tapes(net: Sequential) -> int:
    return len(net._inference._tapes)


def infer(nets: tuple[Sequential, Sequential], x: Any) -> None:
    require_same(*([net.forward(x)] for net in nets))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", MORE_NETS)
def test_bits(name: str, dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    nets = nets_of(name, dtype)
    for i in range(4):
        infer(nets, batch(i, dtype)[0])
        assert tapes(nets[0]) == (i > 0)
    monkeypatch.setattr(nets[0]._inference, "_units", None)  # nothing of this is called any more
    infer(nets, batch(4, dtype)[0])


@pytest.mark.parametrize("name", ["blocks", "pairs", "activations"])
def test_between_training_steps(name: str) -> None:
    """Parameters and statistics are those of the step before, and backward is the training's."""
    nets = pair(name)
    for i in range(8):
        x, dy = batch(i)
        ways = []
        for net in nets:
            y = net.forward(x, training=True)
            inferred = [net.forward(x[:3]), net.forward(x)]
            ways.append([y, *inferred, net.backward(dy), net.forward(x[:3])])
            for p in net.parameters():
                p.data -= np.float32(0.1) * p.grad
        require_same(*ways)
        infer(nets, x)
    assert tapes(nets[0]) == 2


def test_results_are_the_callers() -> None:
    nets = nets_of("blocks")
    xs = [batch(i)[0] for i in range(8)]
    ys = [nets[0].forward(x) for x in xs]
    copies = [y.copy() for y in ys]
    for x in xs:
        nets[0].forward(-x)
    require_same(ys, copies)
    assert all(y.flags.owndata and y.flags.writeable for y in ys)


def with_eps(net: Sequential) -> None:
    net.layers[1].eps = 0.1


def with_statistics(net: Sequential) -> None:
    net.layers[1].running_mean = np.ones(20, np.float32)


def with_a_weight(net: Sequential) -> None:
    net.layers[3].weight = Parameter(np.eye(20, 16, dtype=np.float32))


def with_moved_parameters(net: Sequential) -> None:
    Sequential(*net.layers[:3])


def with_values_written_in_place(net: Sequential) -> None:
    net.layers[1].running_var[:] = 3
    net.layers[3].weight.data += 1


def with_a_method(net: Sequential) -> None:
    layer: Any = net.layers[2]
    layer.forward = lambda x, training: type(layer).forward(layer, x, training=training)


@pytest.mark.parametrize(
    "change",
    [
        with_eps,
        with_statistics,
        with_a_weight,
        with_moved_parameters,
        with_values_written_in_place,
        with_a_method,
    ],
)
def test_what_changes_counts(change: Callable[[Sequential], None]) -> None:
    nets = nets_of("blocks")
    for i in range(3):
        infer(nets, batch(i)[0])
    for net in nets:
        change(net)
    for i in range(3, 7):
        infer(nets, batch(i)[0])
    assert tapes(nets[0]) == (change is not with_a_method)


def test_frozen_parameters_that_move() -> None:
    nets = nets_of("blocks")
    for net in nets:
        for p in net.parameters():
            p.data.flags.writeable = False
    for i in range(3):
        infer(nets, batch(i)[0])
    assert tapes(nets[0]) == 1
    for net in nets:
        Sequential(*net.layers[:3])
        net.parameters()[0].data[...] = 1
    for i in range(3, 6):
        infer(nets, batch(i)[0])


def test_kernels_of_a_finalizer_are_not_the_tapes(monkeypatch: pytest.MonkeyPatch) -> None:
    nets = nets_of("blocks")
    other, (x, _) = Linear(FEATURES, OUT, rng=0), batch(9)
    made: list[Any] = []
    core = Interrupted("linear_batch_norm_inference", lambda: made.append(other.forward(x)))
    monkeypatch.setattr("fastbn.layers.block._core", core)
    for i in range(5):
        core.armed = i == 1
        got = nets[0].forward(batch(i)[0])
        core.armed = False
        require_same([got], [nets[1].forward(batch(i)[0])])
        if i == 1:
            made.append(made[0].copy())
            other.weight.data[...] = 0  # the same call would make something else of it
    require_same(made[:1], made[1:])


def test_samples_of_many_forms() -> None:
    """Few tapes are kept, of few samples."""
    nets = nets_of("blocks")
    for i, rows in enumerate(
        [1, 8, 1, 8, 1, 8, 2, 3, 2, 3, 4, 5, 6, 5, 6, 7, 1, 1, 65, 65, 65, 1000]
    ):
        infer(nets, batch(i, rows=rows)[0])
        assert tapes(nets[0]) <= 4
    assert all(shape[0] <= 64 for shape, _ in nets[0]._inference._tapes)


def test_samples_in_unusual_memory() -> None:
    nets = nets_of("blocks")
    for i in range(6):
        x, _ = batch(i)
        infer(nets, x)
        infer(nets, np.repeat(x, 2, axis=1)[:, ::2])
        infer(nets, np.asfortranarray(x))
        infer(nets, x.view(np.recarray))
        infer(nets, np.broadcast_to(x[0], x.shape))
        for net in nets:
            statistics = net.layers[1].running_mean
            place = net.parameters()[0].place.data[: x.size].reshape(x.shape)
            place[...] = x
            statistics[...] = 0.5
        require_same(
            *(
                [net.forward(net.parameters()[0].place.data[: x.size].reshape(x.shape))]
                for net in nets
            )
        )


@pytest.mark.parametrize("shape", [(FEATURES,), (0, FEATURES), (3, 2, FEATURES)])
def test_other_dimensions(shape: tuple[int, ...]) -> None:
    nets = nets_of("one layer")
    for i in range(4):
        x = np.random.default_rng(i).standard_normal(shape).astype(np.float32)
        infer(nets, x)


def test_images_that_are_flattened() -> None:
    nets = tuple(Sequential(Flatten(), Linear(12, 3, rng=0)) for _ in range(2))
    nets[1]._inference._repeats = False
    for i in range(4):
        x = np.random.default_rng(i).standard_normal((5, 3, 4)).astype(np.float32)
        infer((nets[0], nets[1]), x)


def test_bad_input_is_refused_as_by_units() -> None:
    nets = nets_of("blocks")
    for i in range(3):
        infer(nets, batch(i)[0])
    for x in (np.zeros((4, 5), np.float32), np.zeros((10, FEATURES), np.int8), [[0.0] * FEATURES]):
        messages = []
        for net in nets:
            with pytest.raises((ValueError, TypeError)) as raised:
                net.forward(x)
            messages.append(str(raised.value))
        assert messages[0] == messages[1]


def test_many_threads_share_a_net(threads: Callable[[int], None]) -> None:
    threads(1)
    nets = nets_of("activations")
    xs = [batch(i)[0] for i in range(40)]
    expected = [nets[1].forward(x) for x in xs]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            require_same(list(pool.map(nets[0].forward, xs)), expected)


def test_inference_within_a_step_of_a_trainer() -> None:
    """Of a metric, say: the step's tape, if any, must not miss its kernels."""
    nets = pair("blocks")
    seen: list[Any] = []
    x, _ = batch(0)
    trainers = []
    for net in nets:
        trainers.append(
            fastbn.Trainer(
                net,
                fastbn.CrossEntropyLoss(),
                fastbn.SGD(net.parameters(), lr=0.1),
                metrics=[lambda p, t, net=net: seen.append(net.forward(x)) or 0.0],
            )
        )
    for i in range(6):
        labels = np.arange(len(x)) % OUT
        samples, _ = batch(i)
        assert trainers[0].step(samples, labels) == trainers[1].step(samples, labels)
        require_same(*([y] for y in seen[-2:]))


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_stand_alone(clone: Callable[[Sequential], Sequential]) -> None:
    nets = nets_of("blocks")
    for i in range(3):
        infer(nets, batch(i)[0])
    copied = clone(nets[0])
    assert tapes(copied) == 0
    for p in nets[0].parameters():
        p.data[...] = 0
    for i in range(3):
        infer((copied, nets[1]), batch(i)[0])
    assert tapes(copied) == 1
