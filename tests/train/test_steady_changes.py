"""Steady steps: a tape holds for no step that is another."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from steady_trainers import (
    FEATURES,
    batch,
    by_layers,
    dense,
    layer,
    make,
    on_tape,
    require_same,
)

from fastbn import (
    Adam,
    BatchNorm1d,
    CrossEntropyLoss,
    ReLU,
    Sequential,
    Trainer,
)


def error_rate(predictions: Any, targets: Any) -> float:
    """Be a metric that no tape knows."""
    return float(np.mean(predictions.argmax(axis=1) != targets))


def lend_parameters(trainer: Trainer) -> None:
    Sequential(trainer.net)  # moves them


def set_eps(trainer: Trainer) -> None:
    layer(trainer, 1).eps = 0.1


def set_momentum(trainer: Trainer) -> None:
    layer(trainer, 1).momentum = 0.9


def replace_statistics(trainer: Trainer) -> None:
    layer(trainer, 1).running_mean = np.full(16, 7, np.float32)


def stride_statistics(trainer: Trainer) -> None:
    layer(trainer, 1).running_var = np.ones(32, np.float32)[::2]


def ask_for_ghosts(trainer: Trainer) -> None:
    layer(trainer, 1).virtual_batch_size = 6


def smooth(trainer: Trainer) -> None:
    trainer.loss.label_smoothing = 0.2  # type: ignore[attr-defined]


def replace_loss(trainer: Trainer) -> None:
    trainer.loss = CrossEntropyLoss(0.3)


def replace_net(trainer: Trainer) -> None:
    trainer.net = dense(BatchNorm1d(16), width=16)
    trainer.optimizer = Adam(trainer.net.parameters(), lr=0.01)


def add_metric(trainer: Trainer) -> None:
    trainer.metrics["error_rate"] = error_rate


def override_forward(trainer: Trainer) -> None:
    linear = layer(trainer, 3)
    original = linear.forward
    linear.forward = lambda x, *, training=False: original(3 * x, training=training)


def use_layers(trainer: Trainer) -> None:
    y = trainer.net.forward(batch(50, (9, FEATURES))[0], training=True)
    trainer.net.backward(y)


def load_state(trainer: Trainer) -> None:
    state = trainer.net.state_dict()
    trainer.net.load_state_dict({name: value + 1 for name, value in state.items()})


def scale_in_place(trainer: Trainer) -> None:
    for parameter in trainer.net.parameters():
        parameter.data *= 0.5


def replace_attributes(trainer: Trainer) -> None:
    norm = layer(trainer, 1)
    norm.__dict__ = vars(norm) | {"eps": 0.5}


class Shifted(BatchNorm1d):
    """A layer of another kind."""

    def _forward(self, *args: Any, **options: Any) -> Any:
        return super()._forward(*args, **options) + 1


def change_class(trainer: Trainer) -> None:
    layer(trainer, 1).__class__ = Shifted


def replace_metrics(trainer: Trainer) -> None:
    trainer.metrics = {"error_rate": error_rate}


def freeze_metrics(trainer: Trainer) -> None:
    trainer.metrics = types.MappingProxyType(dict(trainer.metrics))  # type: ignore[assignment]


def change_rate(trainer: Trainer) -> None:
    trainer.optimizer.lr = 0.5


CHANGES = [
    lend_parameters,
    set_eps,
    set_momentum,
    replace_statistics,
    stride_statistics,
    ask_for_ghosts,
    smooth,
    replace_loss,
    replace_net,
    add_metric,
    replace_attributes,
    change_class,
    replace_metrics,
    freeze_metrics,
    override_forward,
    use_layers,
    load_state,
    scale_in_place,
    change_rate,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_changes_count_from_the_next_step_on(change: Callable[[Trainer], None]) -> None:
    steady, plain = (make(dense(BatchNorm1d(16), ReLU())) for _ in range(2))
    by_layers(plain)
    for i in range(9):
        if i in (3, 7):
            for trainer in (steady, plain):
                change(trainer)
        assert steady._train_batch(*batch(i)) == plain._train_batch(*batch(i))
        require_same(steady, plain)


def test_numbers_in_arrays_are_read_in_each_step() -> None:
    """Where a float is meant; changed in place, the array is still the same object."""
    for name, other in (("eps", 0.5), ("momentum", 0.9)):
        steady, plain = (make(dense(BatchNorm1d(16), ReLU())) for _ in range(2))
        by_layers(plain)
        for trainer in (steady, plain):
            setattr(layer(trainer, 1), name, np.array(0.1))
        for i in range(6):
            if i == 4:
                for trainer in (steady, plain):
                    getattr(layer(trainer, 1), name)[...] = other
            assert steady.step(*batch(i)) == plain.step(*batch(i))
            require_same(steady, plain)


def test_a_change_while_the_tape_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a signal handler, say: it counts from the next step on."""
    steady, plain = (make(dense(BatchNorm1d(16), ReLU())) for _ in range(2))
    by_layers(plain)
    gradients = Trainer._gradients

    def then_change(trainer: Trainer, x: Any, y: Any) -> Any:
        values = gradients(trainer, x, y)
        layer(trainer, 1).eps = 0.5
        return values

    for i in range(6):
        with monkeypatch.context() as patch:
            if i == 1:
                patch.setattr(Trainer, "_gradients", then_change)
            assert steady.step(*batch(i)) == plain.step(*batch(i))
        require_same(steady, plain)


def test_a_tape_is_tried_again() -> None:
    """What could not be repeated may be repeated later."""
    trainer = make(dense(BatchNorm1d(16, momentum=None), ReLU()))
    for i in range(5):
        trainer.step(*batch(i))
    layer(trainer, 1).momentum = 0.1
    for i in range(110):
        trainer.step(*batch(i))
    assert on_tape(trainer)


def test_frozen_parameters_are_refused() -> None:
    trainer = make(dense(BatchNorm1d(16), ReLU()))
    for i in range(3):
        trainer.step(*batch(i))
    trainer.net.parameters()[0].grad.flags.writeable = False
    before = trainer.net.parameters()[0].data.copy()
    with pytest.raises(ValueError, match="read-only"):
        trainer.step(*batch(3))
    np.testing.assert_array_equal(trainer.net.parameters()[0].data, before)
