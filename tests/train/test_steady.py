"""Steady steps: a tape gives the bits of the layers, where it is the whole step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from steady_trainers import (
    CLASSES,
    FEATURES,
    ROWS,
    batch,
    by_layers,
    dense,
    make,
    on_tape,
    require_same,
)

from fastbn import (
    GELU,
    BatchNorm1d,
    BatchNorm2d,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    Dropout,
    Flatten,
    Layer,
    LeakyReLU,
    Linear,
    MSELoss,
    ReLU,
    Rescaling,
    Sequential,
    Sigmoid,
    Softmax,
    Tanh,
    Trainer,
)

Net = Callable[[], Layer]


def image_net() -> Sequential:
    return Sequential(
        Rescaling(1 / 255, -0.5),
        BatchNorm2d(3, layout="NHWC"),
        ReLU(),
        Flatten(),
        Linear(48, CLASSES, rng=0),
    )


TAPED: dict[str, tuple[Net, dict[str, Any]]] = {
    "block": (lambda: dense(BatchNorm1d(16), ReLU()), {}),
    "no ReLU": (lambda: dense(BatchNorm1d(16)), {}),
    "a wide one": (lambda: dense(BatchNorm1d(1024), ReLU(), width=1024), {"shape": (300, 12)}),
    "double": (
        lambda: dense(BatchNorm1d(16, dtype=np.float64), ReLU(), dtype=np.float64),
        {"dtype": np.float64},
    ),
    "no parameters": (lambda: dense(BatchNorm1d(16, affine=False)), {}),
    "no statistics": (lambda: dense(BatchNorm1d(16, track_running_stats=False), ReLU()), {}),
    "ghost batches": (lambda: dense(BatchNorm1d(16, virtual_batch_size=8), ReLU()), {}),
    "first a norm": (lambda: Sequential(BatchNorm1d(FEATURES), ReLU(), dense()), {}),
    "first a GELU": (lambda: Sequential(GELU(), dense(Tanh())), {}),
    "activations": (lambda: dense(ReLU(), Tanh(), Sigmoid(), GELU(), LeakyReLU(0.1)), {}),
    "nested": (lambda: Sequential(dense(Sequential(BatchNorm1d(16)), ReLU())), {}),
    "one layer": (lambda: Linear(FEATURES, CLASSES, rng=0), {}),
    "nothing to train before": (
        lambda: Sequential(Flatten(), dense()),
        {"shape": (ROWS, 3, 4)},
    ),
    "bytes": (image_net, {"shape": (ROWS, 4, 4, 3), "dtype": np.uint8}),
    "one sample": (lambda: dense(ReLU()), {"shape": (1, FEATURES)}),
}


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("name", TAPED)
def test_bits_of_the_layers(
    name: str, n_threads: int, threads: Callable[[int], None], distance: None
) -> None:
    """Samples in new memory each time, losses, metrics, gradients, statistics and parameters."""
    net, how = TAPED[name]
    threads(n_threads)
    steady, plain = make(net()), by_layers(make(net()))
    for i in range(6):
        x, y = batch(i, **how)
        assert steady._train_batch(x, y) == plain._train_batch(x, y)
        assert on_tape(steady) == (i > 0)
        require_same(steady, plain)


def test_it_is_the_tape_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make(dense(BatchNorm1d(16), ReLU()))
    for i in range(2):
        trainer.step(*batch(i))
    before = trainer.net.state_dict()
    monkeypatch.setattr(Trainer, "_gradients", None)
    trainer.step(*batch(2))
    assert not np.array_equal(before["0.weight"], trainer.net.state_dict()["0.weight"])


@pytest.mark.parametrize("targets", ["labels", "smooth labels", "int8 labels", "no accuracy"])
def test_losses_and_labels(targets: str) -> None:
    smoothing = 0.1 if targets == "smooth labels" else 0.0
    options: Any = {"metrics": ()} if targets == "no accuracy" else {}
    pair = [make(dense(ReLU()), CrossEntropyLoss(smoothing), **options) for _ in range(2)]
    by_layers(pair[1])
    for i in range(5):
        x, y = batch(i)
        if targets == "int8 labels":
            y = np.repeat(y.astype(np.int8), 2)[::2]
        one, other = (trainer._train_batch(x, y) for trainer in pair)
        assert one == other
        assert list(one) == ["loss"] + ["accuracy"] * (not options)
    assert on_tape(pair[0])


class Doubled(Linear):
    """A layer of somebody else's."""

    def forward(self, x: Any, *, training: bool = False) -> Any:
        return 2 * super().forward(x, training=training)

    def backward(self, dy: Any, **options: Any) -> Any:
        return super().backward(2 * dy, **options)


class Halved(CrossEntropyLoss):
    """A loss of somebody else's."""

    def forward(self, predictions: Any, targets: Any) -> float:
        return super().forward(predictions, targets) / 2


class Weighted(CrossEntropyLoss):
    """Another one, whose weight is of one batch."""

    weight = 1.0

    def forward(self, predictions: Any, targets: Any) -> float:
        return self.weight * super().forward(predictions, targets)

    def forget(self) -> None:
        super().forget()
        self.weight = 1.0


def test_a_loss_forgets_after_a_step() -> None:
    pair = [make(dense(), Weighted()) for _ in range(2)]
    by_layers(pair[1])
    for i in range(5):
        for trainer in pair:
            trainer.loss.weight = i + 2.0
        assert pair[0].step(*batch(i)) == pair[1].step(*batch(i))
        for trainer in pair:
            trainer.loss.forget()


def error_rate(predictions: Any, targets: Any) -> float:
    return float(np.mean(predictions.argmax(axis=1) != targets))


NOT_TAPED: dict[str, tuple[Net, dict[str, Any]]] = {
    "random": (lambda: dense(Dropout(0.5, rng=3)), {}),
    "cumulative": (lambda: dense(BatchNorm1d(16, momentum=None), ReLU()), {}),
    "a layer of mine": (lambda: dense(Doubled(16, 16, rng=2)), {}),
    "a loss of mine": (lambda: dense(), {"loss": Halved()}),
    "one class": (lambda: Linear(FEATURES, 1, rng=0), {}),
    "softmax": (lambda: dense(Softmax()), {}),
    "floats rescaled": (lambda: Sequential(Rescaling(2.0), dense()), {}),
    "rescaled within": (lambda: dense(Rescaling(2.0)), {}),
    "a metric of mine": (lambda: dense(), {"metrics": ["accuracy", error_rate]}),
}


@pytest.mark.parametrize("name", NOT_TAPED)
def test_what_no_tape_repeats(name: str) -> None:
    net, how = NOT_TAPED[name]
    steady, plain = make(net(), **how), by_layers(make(net(), **how))
    for i in range(5):
        x, y = batch(i)
        if name == "one class":
            y[:] = 0
        assert steady._train_batch(x, y) == plain._train_batch(x, y)
        assert not on_tape(steady)
        require_same(steady, plain)


def targets(i: int, width: int = CLASSES) -> Any:
    """The i-th batch of numbers to be fitted."""
    return batch(i + 10, (ROWS, width))[0]


@pytest.mark.parametrize("n_threads", [1, 2])
def test_squared_error(n_threads: int, threads: Callable[[int], None]) -> None:
    threads(n_threads)
    steady, plain = (make(dense(BatchNorm1d(16)), MSELoss(), metrics=()) for _ in range(2))
    by_layers(plain)
    for i in range(6):
        x, y = batch(i)[0], targets(i)
        if i == 4:
            y = np.repeat(y, 2, axis=1)[:, ::2]  # strides of its own
        assert steady._train_batch(x, y) == plain._train_batch(x, y)
        assert on_tape(steady) == (i not in (0, 4))
        require_same(steady, plain)


def test_targets_that_are_the_samples() -> None:
    """An autoencoder, and then not; and the other way about."""
    for first in (True, False):
        net = [Sequential(Linear(FEATURES, 4, rng=0), Linear(4, FEATURES, rng=1)) for _ in range(2)]
        steady, plain = (make(one, MSELoss(), metrics=()) for one in net)
        by_layers(plain)
        for i in range(12):
            x = batch(i)[0]
            y = x if (i % 8 < 4) == first else targets(i, FEATURES)
            assert steady.step(x, y) == plain.step(x, y)
            assert on_tape(steady) == (i % 4 != 0)
        require_same(steady, plain)


def test_binary_cross_entropy_goes_by_layers() -> None:
    trainer, plain = (make(dense(ReLU()), BCEWithLogitsLoss(), metrics=()) for _ in range(2))
    by_layers(plain)
    for i in range(5):
        y = (targets(i) > 0).astype(np.float32)
        assert trainer.step(batch(i)[0], y) == plain.step(batch(i)[0], y)
    assert not on_tape(trainer)
