"""Epochs, batches and iterations are counted as the textbooks count them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastbn import SGD, CrossEntropyLoss, Linear, Sequential, Trainer
from fastbn.train import Accounting

MakeTrainer = Callable[..., Trainer]


class Recording(CrossEntropyLoss):
    """A loss that remembers the targets of each batch."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[int]] = []

    def forward(self, predictions: Any, targets: Any) -> float:
        self.batches.append(targets.tolist())
        return super().forward(predictions, np.zeros_like(targets))


def recording_trainer() -> tuple[Trainer, Recording]:
    """Return a trainer whose targets are the numbers of the samples, and its loss."""
    net, loss = Sequential(Linear(1, 2, rng=0)), Recording()
    return Trainer(net, loss, SGD(net.parameters(), lr=0.0), metrics=(), rng=0), loss


def samples(n: int, features: int = 1) -> tuple[Any, Any]:
    return np.zeros((n, features), np.float32), np.arange(n)


def test_sixty_thousand_samples_at_batch_size_100_are_6000_updates_in_10_epochs() -> None:
    trainer, loss = recording_trainer()
    history = trainer.fit(*samples(60_000), epochs=10, batch_size=100, progress=False)
    assert history.iterations_per_epoch == 600
    assert history.epochs == 10
    assert history.iterations == 6_000
    assert len(history.batch_losses) == len(loss.batches) == trainer.optimizer.steps == 6_000
    assert history.samples_trained == 600_000
    assert {len(batch) for batch in loss.batches} == {100}


def test_the_table_shows_updates_as_a_product() -> None:
    plan = Accounting(60_000, 100, 600, 10, "none")
    assert plan.updates == 6_000
    assert dict(plan.rows()) == {
        "samples": "60,000",
        "batch size": "100  (mini-batch gradient descent)",
        "iterations an epoch": "600",
        "epochs": "10",
        "updates": "6,000  (600 x 10)",
        "tail": "none",
    }


@pytest.mark.parametrize(
    ("batch_size", "iterations", "descent"),
    [(50, 1, "batch"), (80, 1, "batch"), (1, 50, "stochastic"), (10, 5, "mini-batch")],
)
def test_batch_stochastic_and_mini_batch_descent(
    batch_size: int, iterations: int, descent: str
) -> None:
    trainer, loss = recording_trainer()
    history = trainer.fit(*samples(50), epochs=2, batch_size=batch_size, progress=False)
    assert history.iterations == 2 * iterations
    assert history.accounting.descent == descent
    assert {len(batch) for batch in loss.batches} == {min(batch_size, 50)}


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(
    ("tail", "sizes"), [("keep", [10, 10, 10, 7]), ("drop", [10, 10, 10]), ("merge", [10, 10, 17])]
)
def test_each_tail_does_what_it_says_and_is_said(
    tail: Any, sizes: list[int], shuffle: bool
) -> None:
    trainer, loss = recording_trainer()
    history = trainer.fit(
        *samples(37), epochs=1, batch_size=10, tail=tail, shuffle=shuffle, progress=False
    )
    assert [len(batch) for batch in loss.batches] == sizes
    assert history.iterations == history.iterations_per_epoch == len(sizes)
    assert history.samples_trained == sum(sizes)
    assert "7" in history.accounting.tail


def test_every_epoch_is_one_pass_over_all_samples_in_a_new_order() -> None:
    trainer, loss = recording_trainer()
    trainer.fit(*samples(37), epochs=2, batch_size=10, progress=False)
    first = [i for batch in loss.batches[:4] for i in batch]
    second = [i for batch in loss.batches[4:] for i in batch]
    assert sorted(first) == sorted(second) == list(range(37))
    assert first != second


def test_without_shuffling_the_samples_come_as_they_are() -> None:
    trainer, loss = recording_trainer()
    trainer.fit(*samples(20), epochs=1, batch_size=10, shuffle=False, progress=False)
    assert loss.batches == [list(range(10)), list(range(10, 20))]


def test_one_sample_left_joins_its_neighbour_only_if_the_net_takes_variances(
    make_trainer: MakeTrainer,
) -> None:
    x, y = samples(21, 2)
    with_bn, without = make_trainer(), make_trainer(batch_norm=False)
    joined = with_bn.fit(x, y % 2, epochs=1, batch_size=10, progress=False)
    alone = without.fit(x, y % 2, epochs=1, batch_size=10, progress=False)
    assert joined.iterations == 2
    assert "joined" in joined.accounting.tail
    assert alone.iterations == 3
    assert joined.samples_trained == alone.samples_trained == 21


def test_an_epoch_without_iterations_is_refused() -> None:
    trainer, _ = recording_trainer()
    with pytest.raises(ValueError, match=r"tail='drop'.*9.*10"):
        trainer.fit(*samples(9), epochs=1, batch_size=10, tail="drop", progress=False)
    assert trainer.history.iterations == 0


def test_the_loss_of_an_epoch_is_the_mean_over_samples(
    make_trainer: MakeTrainer, blobs: tuple[Any, Any]
) -> None:
    history = make_trainer().fit(*blobs, epochs=1, batch_size=50, progress=False)
    assert len(history.batch_losses) == 3
    mean = np.average(history.batch_losses, weights=[50, 50, 20])
    assert history.history["loss"] == [pytest.approx(mean, rel=1e-12)]


def test_a_validation_split_takes_the_last_samples() -> None:
    trainer, loss = recording_trainer()
    history = trainer.fit(
        *samples(40), epochs=1, batch_size=10, validation_split=0.25, progress=False
    )
    assert history.accounting.samples == 30
    assert sorted(i for batch in loss.batches[:3] for i in batch) == list(range(30))
    assert loss.batches[3] == list(range(30, 40))
