"""The whole training against an independent one in NumPy: same weights and batches and losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from fastbn import SGD, Adam, AdamW, BatchNorm1d, CrossEntropyLoss, Linear, Trainer
from fastbn.cli.model import build_net
from fastbn.data import MiniBatches
from fastbn.datasets import Dataset, load_digits
from fastbn.layers import Sequential
from fastbn.train.numpy_baseline import Block, NumpyNet, random_blocks

STEPS = 50
BATCH_SIZE = 32
OPTIMIZERS: dict[str, Any] = {
    "sgd": lambda p: SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-3),
    "adam": lambda p: Adam(p, lr=1e-3, weight_decay=1e-3),
    "adamw": lambda p: AdamW(p, lr=1e-3, weight_decay=1e-2),
}
SETTINGS: dict[str, dict[str, float]] = {
    "sgd": {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-3},
    "adam": {"lr": 1e-3, "weight_decay": 1e-3},
    "adamw": {"lr": 1e-3, "weight_decay": 1e-2},
}


def blocks_of(net: Sequential) -> list[Block]:
    """Return the parameters of a net as the NumPy net takes them."""
    blocks: list[Block] = []
    for layer in net.layers:
        if isinstance(layer, Linear):
            blocks.append(Block(layer.weight.data, layer.bias and layer.bias.data))
        elif isinstance(layer, BatchNorm1d):
            assert layer.gamma is not None
            assert layer.beta is not None
            blocks[-1].gamma, blocks[-1].beta = layer.gamma.data, layer.beta.data
    return blocks


def losses_of_both(
    dtype: Any, *, batch_norm: bool, optimizer: str = "sgd", sizes: Sequence[int] = (64, 96, 48, 10)
) -> tuple[Any, Any, Sequential, NumpyNet, Dataset]:
    """Train 50 steps on the digits, by fastbn in `dtype` and by NumPy in float64."""
    data = load_digits(dtype=dtype)
    net = build_net(sizes, batch_norm=batch_norm, dtype=dtype, rng=np.random.default_rng(7))
    oracle = NumpyNet(blocks_of(net), dtype=np.float64, optimizer=optimizer, **SETTINGS[optimizer])
    trainer = Trainer(net, CrossEntropyLoss(), OPTIMIZERS[optimizer](net.parameters()), rng=7)
    epochs = -(-STEPS // -(-len(data.x_train) // BATCH_SIZE))
    history = trainer.fit(
        data.x_train, data.y_train, epochs=epochs, batch_size=BATCH_SIZE, progress=False
    )
    batches = MiniBatches(len(data.x_train), BATCH_SIZE, rng=7)
    order = [rows for epoch in range(epochs) for rows in batches.epoch_indices(epoch)]
    theirs = [oracle.step(data.x_train[rows], data.y_train[rows]) for rows in order]
    assert len(history.batch_losses) == len(theirs) >= STEPS
    return np.array(history.batch_losses), np.array(theirs), net, oracle, data


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("batch_norm", [True, False], ids=["batch norm", "plain"])
def test_fifty_losses_in_float32_agree_with_float64_numpy(batch_norm: bool, optimizer: str) -> None:
    ours, theirs, *_ = losses_of_both(np.float32, batch_norm=batch_norm, optimizer=optimizer)
    assert theirs[STEPS - 1] < 0.9 * theirs[0]  # there is something to compare
    np.testing.assert_allclose(ours[:STEPS], theirs[:STEPS], rtol=0, atol=1e-4)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("batch_norm", [True, False], ids=["batch norm", "plain"])
def test_float64_agrees_to_rounding_on_every_target(
    batch_norm: bool, optimizer: str, target: str
) -> None:
    ours, theirs, net, oracle, data = losses_of_both(
        np.float64, batch_norm=batch_norm, optimizer=optimizer
    )
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)
    np.testing.assert_allclose(net(data.x_test), oracle.predict(data.x_test), rtol=0, atol=1e-8)


def test_the_running_statistics_agree() -> None:
    _, _, net, oracle, _ = losses_of_both(np.float64, batch_norm=True)
    layers = [layer for layer in net.layers if isinstance(layer, BatchNorm1d)]
    for layer, mean, var in zip(layers, oracle.running_mean, oracle.running_var, strict=True):
        np.testing.assert_allclose(layer.running_mean, mean, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(layer.running_var, var, rtol=1e-9, atol=1e-9)


# -- the oracle itself ---------------------------------------------------------------------------


@pytest.mark.parametrize("batch_norm", [True, False], ids=["batch norm", "plain"])
def test_the_oracles_gradients_are_those_of_its_loss(batch_norm: bool) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((12, 5)), rng.integers(3, size=12)
    blocks = random_blocks((5, 7, 6, 3), batch_norm=batch_norm, dtype=np.float64, rng=rng)
    net = NumpyNet(blocks, lr=0.0, momentum=0.0)
    net.flat += 0.1 * rng.standard_normal(net.flat.shape)  # biases, gamma and beta too
    net.step(x, y)
    gradient = net.flat_grad.copy()
    h = 1e-6
    for i in range(net.flat.size):
        before = net.flat[i]
        net.flat[i] = before + h
        above = net.step(x, y)
        net.flat[i] = before - h
        below = net.step(x, y)
        net.flat[i] = before
        assert gradient[i] == pytest.approx((above - below) / (2 * h), rel=1e-5, abs=1e-8)


def test_the_oracle_copies_its_parameters() -> None:
    blocks = random_blocks((4, 3, 2), rng=0)
    before = blocks[0].weight.copy()
    NumpyNet(blocks).step(np.ones((5, 4), np.float32), np.zeros(5, int))
    np.testing.assert_array_equal(blocks[0].weight, before)


def test_the_oracle_refuses_an_unknown_optimizer() -> None:
    with pytest.raises(ValueError, match="lion"):
        NumpyNet(random_blocks((4, 2), rng=0), optimizer="lion")
