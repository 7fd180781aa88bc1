"""On real images: what batch normalization is for, and when training goes on for too long."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbn
from fastbn import SGD, CrossEntropyLoss, Trainer
from fastbn.bench.images import fashion_mnist_folder
from fastbn.cli.model import build_net
from fastbn.datasets import Dataset, load_idx

FOLDER = fashion_mnist_folder()

pytestmark = pytest.mark.skipif(FOLDER is None, reason="Fashion-MNIST is not on this machine")


@pytest.fixture(scope="module")
def images() -> Dataset:
    """Fashion-MNIST: 60,000 images of clothes to train on, 10,000 to test with."""
    assert isinstance(FOLDER, Path)
    return load_idx(FOLDER)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """These nets are too small for threads, which would only suffer from other programs."""
    with fastbn.threads(1):
        yield


def train(
    data: Dataset,
    n: int,
    *,
    epochs: int,
    lr: float,
    hidden: Sequence[int],
    batch_norm: bool = True,
    momentum: float = 0.0,
    seed: int = 0,
) -> dict[str, list[float]]:
    """Train on the first `n` images and validate on 2,000 test images after each epoch."""
    net_rng, order_rng = np.random.default_rng(seed).spawn(2)
    sizes = (data.x_train.shape[1], *hidden, data.n_classes)
    net = build_net(sizes, batch_norm=batch_norm, dtype=np.float32, rng=net_rng)
    optimizer = SGD(net.parameters(), lr=lr, momentum=momentum)
    trainer = Trainer(net, CrossEntropyLoss(), optimizer, rng=order_rng)
    validation: tuple[Any, Any] = data.x_test[:2000], data.y_test[:2000]
    return trainer.fit(
        data.x_train[:n],
        data.y_train[:n],
        epochs=epochs,
        batch_size=100,
        validation_data=validation,
        progress=False,
    ).history


@pytest.mark.parametrize("seed", [0, 1])
def test_with_batch_norm_fewer_epochs_reach_what_the_plain_net_reaches(
    images: Dataset, seed: int
) -> None:
    settings: dict[str, Any] = {"epochs": 8, "lr": 0.03, "hidden": (128, 64), "seed": seed}
    plain = train(images, 10_000, batch_norm=False, **settings)["val_accuracy"]
    normalized = train(images, 10_000, batch_norm=True, **settings)["val_accuracy"]
    reached = max(plain)
    epochs_plain = 1 + plain.index(reached)
    epochs_normalized = 1 + next(i for i, a in enumerate(normalized) if a >= reached)
    assert 2 * epochs_normalized <= epochs_plain
    assert max(normalized) > reached


def test_too_few_epochs_underfit_and_too_many_overfit(images: Dataset) -> None:
    history = train(images, 500, epochs=60, lr=0.05, momentum=0.9, hidden=(128, 64))
    loss, val_loss = history["loss"], history["val_loss"]
    best = int(np.argmin(val_loss))
    assert 0 < best < 20  # neither the first epoch nor the last is the best to stop at
    assert loss[0] > 2 * loss[best]  # underfit: both losses are still high
    assert val_loss[0] > 1.2 * val_loss[best]
    assert loss[-1] < 0.1 * loss[best]  # overfit: one goes on falling while the other rises
    assert val_loss[-1] > 1.1 * val_loss[best]


def test_three_epochs_on_all_images(images: Dataset) -> None:
    history = train(images, 60_000, epochs=3, lr=0.1, momentum=0.9, hidden=(64,))
    assert history["val_accuracy"][-1] > 0.83
