"""Callbacks are called when they say, and stop a training without an exception."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fastbn import Callback, EarlyStopping, History, Trainer
from fastbn.train import CosineDecay, LambdaCallback, TerminateOnNaN

MakeTrainer = Callable[..., Trainer]
Blobs = tuple[Any, Any]


def fit(trainer: Trainer, blobs: Blobs, **options: Any) -> History:
    return trainer.fit(*blobs, **{"epochs": 2, "batch_size": 60, "progress": False} | options)


class Diary(Callback):
    """Writes down every call."""

    def __init__(self) -> None:
        self.entries: list[tuple[Any, ...]] = []

    def on_train_begin(self, logs: dict[str, float]) -> None:
        self.entries.append(("train begin", *logs))

    def on_train_end(self, logs: dict[str, float]) -> None:
        self.entries.append(("train end", *logs))

    def on_epoch_begin(self, epoch: int, logs: dict[str, float]) -> None:
        self.entries.append(("epoch begin", epoch, *logs))

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        self.entries.append(("epoch end", epoch, *logs))

    def on_batch_begin(self, batch: int, logs: dict[str, float]) -> None:
        self.entries.append(("batch begin", batch, *logs))

    def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        self.entries.append(("batch end", batch, *logs))


def test_hooks_are_called_in_order_with_their_logs(make_trainer: MakeTrainer, blobs: Blobs) -> None:
    diary = Diary()
    fit(make_trainer(callbacks=[diary]), blobs, validation_data=blobs)
    values = ("loss", "accuracy", "val_loss", "val_accuracy")
    batches = [
        (f"batch {when}", i, *logs)
        for i in (0, 1)
        for when, logs in (("begin", ()), ("end", ("loss", "accuracy")))
    ]
    assert diary.entries == [
        ("train begin",),
        ("epoch begin", 0), *batches, ("epoch end", 0, *values),
        ("epoch begin", 1), *batches, ("epoch end", 1, *values),
        ("train end", *values),
    ]  # fmt: skip


def test_functions_make_a_callback(make_trainer: MakeTrainer, blobs: Blobs) -> None:
    seen: list[Any] = []
    hooks = {
        f"on_{what}_{when}": lambda *a, name=f"{what} {when}": seen.append((name, *a[:-1]))
        for what in ("train", "epoch", "batch")
        for when in ("begin", "end")
    }
    fit(make_trainer(callbacks=[LambdaCallback(**hooks)]), blobs, epochs=1, batch_size=120)
    assert seen == [
        ("train begin",),
        ("epoch begin", 0),
        ("batch begin", 0),
        ("batch end", 0),
        ("epoch end", 0),
        ("train end",),
    ]


def test_the_history_holds_the_epoch_when_its_end_is_called(
    make_trainer: MakeTrainer, blobs: Blobs
) -> None:
    trainer = make_trainer()
    seen: list[Any] = []
    trainer.callbacks = [
        LambdaCallback(
            on_epoch_end=lambda epoch, logs: seen.append(
                (epoch, trainer.history.epochs, trainer.history.history["loss"][-1] == logs["loss"])
            )
        )
    ]
    fit(trainer, blobs)
    assert seen == [(0, 1, True), (1, 2, True)]


def test_what_is_no_callback_is_refused_at_once(make_trainer: MakeTrainer) -> None:
    with pytest.raises(TypeError, match="Callback"):
        make_trainer(callbacks=[print])


# -- stopping ------------------------------------------------------------------------------------


def stop_after(trainer: Trainer, iterations: int) -> LambdaCallback:
    """Return a callback that stops the training after so many updates."""

    def check(batch: int, logs: dict[str, float]) -> None:
        if trainer.history.iterations == iterations:
            trainer.stop_training = True

    return LambdaCallback(on_batch_end=check)


def test_a_stop_within_an_epoch_counts_iterations_but_no_epoch(
    make_trainer: MakeTrainer, blobs: Blobs
) -> None:
    trainer = make_trainer()
    diary = Diary()
    trainer.callbacks = [stop_after(trainer, 3), diary]
    history = fit(trainer, blobs, epochs=5)
    assert (history.epochs, history.iterations, len(history.batch_losses)) == (1, 3, 3)
    assert len(history.history["loss"]) == 1
    assert history.samples_trained == 180
    assert diary.entries[-1][0] == "train end"


def test_a_stop_in_the_last_batch_completes_the_epoch(
    make_trainer: MakeTrainer, blobs: Blobs
) -> None:
    trainer = make_trainer()
    trainer.callbacks = [stop_after(trainer, 4)]
    history = fit(trainer, blobs, epochs=5)
    assert (history.epochs, history.iterations) == (2, 4)


def test_a_stop_at_the_begin_trains_nothing(make_trainer: MakeTrainer, blobs: Blobs) -> None:
    trainer = make_trainer()

    def stop(logs: dict[str, float]) -> None:
        trainer.stop_training = True

    trainer.callbacks = [LambdaCallback(on_train_begin=stop)]
    assert fit(trainer, blobs).iterations == 0
    trainer.callbacks = []
    assert fit(trainer, blobs).epochs == 2  # the next training is not stopped


# -- early stopping ------------------------------------------------------------------------------


class FakeNet:
    """A net whose state is one number."""

    def __init__(self) -> None:
        self.state = -1.0

    def state_dict(self) -> dict[str, float]:
        return {"state": self.state}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.state = state["state"]


def watch(callback: EarlyStopping, values: list[float]) -> tuple[int, float]:
    """Return how many epochs the callback lets pass, and the epoch of the net's state after."""
    net = FakeNet()
    trainer = SimpleNamespace(net=net, stop_training=False)
    callback.trainer = trainer  # type: ignore[assignment]
    callback.on_train_begin({})
    epochs = 0
    for epoch, value in enumerate(values):
        net.state = epoch
        callback.on_epoch_end(epoch, {callback.monitor: value})
        epochs = epoch + 1
        if trainer.stop_training:
            break
    callback.on_train_end({})
    return epochs, net.state


def test_it_waits_patience_epochs_and_gives_the_best_state_back() -> None:
    stop = EarlyStopping(patience=2)
    assert watch(stop, [3, 2, 1, 2, 1.5, 0]) == (5, 2)
    assert (stop.best, stop.best_epoch, stop.stopped_epoch) == (1, 2, 4)


def test_an_improvement_starts_the_wait_anew() -> None:
    stop = EarlyStopping(patience=2)
    assert watch(stop, [3, 4, 2, 3, 1, 5]) == (6, 4)
    assert stop.stopped_epoch is None


@pytest.mark.parametrize("patience", [0, 1])
def test_little_patience_ends_with_the_first_epoch_that_is_no_better(patience: int) -> None:
    assert watch(EarlyStopping(patience=patience), [3, 2, 2, 1]) == (3, 1)


def test_min_delta_is_what_counts_as_better() -> None:
    assert watch(EarlyStopping(patience=2, min_delta=0.5), [3, 2.6, 2.5, 0]) == (3, 0)


def test_the_last_state_stays_without_restore_best() -> None:
    assert watch(EarlyStopping(patience=1, restore_best=False), [1, 2, 3]) == (2, 1)


def test_nan_is_never_better() -> None:
    stop = EarlyStopping(patience=3)
    assert watch(stop, [math.nan, 2, math.nan, math.nan, math.nan]) == (5, 1)


@pytest.mark.parametrize(
    ("monitor", "mode"), [("val_accuracy", "max"), ("f1", "max"), ("val_loss", "min")]
)
def test_mode_follows_from_the_name(monitor: str, mode: str) -> None:
    assert EarlyStopping(monitor).mode == mode
    assert EarlyStopping(monitor, mode="max").mode == "max"


def test_higher_is_better_for_accuracies() -> None:
    assert watch(EarlyStopping("accuracy", patience=1), [0.1, 0.5, 0.4, 0.9]) == (3, 1)


def test_it_can_be_used_again() -> None:
    stop = EarlyStopping(patience=1)
    assert watch(stop, [1, 2]) == (2, 0)
    assert watch(stop, [5, 4, 6]) == (3, 1)


@pytest.mark.parametrize(
    "wrong", [{"patience": -1}, {"min_delta": -0.1}, {"min_delta": math.nan}, {"mode": "up"}]
)
def test_wrong_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        EarlyStopping(**wrong)


def test_a_missing_key_is_named_with_those_there(make_trainer: MakeTrainer, blobs: Blobs) -> None:
    trainer = make_trainer(callbacks=[EarlyStopping("val_loss")])
    with pytest.raises(ValueError, match=r"'val_loss'.*loss, accuracy"):
        fit(trainer, blobs)


def test_early_stopping_in_a_training_restores_parameters_and_statistics(
    make_trainer: MakeTrainer, blobs: Blobs
) -> None:
    x, y = blobs
    rng = np.random.default_rng(1)
    noise = rng.permutation(y)  # labels that cannot be learned: validation soon gets worse
    stop = EarlyStopping(patience=3)
    trainer = make_trainer(callbacks=[stop])
    history = fit(trainer, (x, noise), epochs=200, batch_size=10, validation_split=0.5)
    assert stop.stopped_epoch is not None
    assert history.epochs == stop.stopped_epoch + 1 < 200
    losses = history.history["val_loss"]
    assert stop.best_epoch == int(np.argmin(losses))
    assert trainer.evaluate(x[60:], noise[60:])["loss"] == losses[stop.best_epoch]


# -- learning rate, NaN --------------------------------------------------------------------------


def test_cosine_decay_falls_from_the_rate_to_the_final_one(
    make_trainer: MakeTrainer, blobs: Blobs
) -> None:
    trainer = make_trainer()
    rates: list[float] = []
    record = LambdaCallback(on_batch_end=lambda batch, logs: rates.append(trainer.optimizer.lr))
    trainer.callbacks = [CosineDecay(final=0.01), record]
    fit(trainer, blobs, epochs=5)
    assert rates[0] == pytest.approx(0.1)
    assert rates[5] == pytest.approx((0.1 + 0.01) / 2)
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(0.01 + 0.09 * (1 + math.cos(math.pi * 0.9)) / 2)
    assert trainer.optimizer.lr == 0.1  # for the next training


def test_warm_up_rises_in_a_straight_line(make_trainer: MakeTrainer, blobs: Blobs) -> None:
    trainer = make_trainer()
    rates: list[float] = []
    record = LambdaCallback(on_batch_end=lambda batch, logs: rates.append(trainer.optimizer.lr))
    trainer.callbacks = [CosineDecay(warmup=0.4), record]
    fit(trainer, blobs, epochs=5)
    np.testing.assert_allclose(rates[:5], [0.025, 0.05, 0.075, 0.1, 0.1])


@pytest.mark.parametrize("wrong", [{"warmup": 1.0}, {"warmup": -0.1}, {"final": -1.0}])
def test_cosine_decay_refuses_what_is_no_schedule(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        CosineDecay(**wrong)


def test_a_loss_that_is_no_number_warns_once_and_training_goes_on(
    make_trainer: MakeTrainer, blobs: Blobs
) -> None:
    x, y = blobs
    x = x.copy()
    x[0, 0] = np.nan
    with pytest.warns(RuntimeWarning, match="the loss is nan in iteration") as record:
        history = fit(make_trainer(), (x, y), epochs=3)
    assert len(record) == 1
    assert record[0].filename == __file__
    assert history.epochs == 3


def test_terminate_on_nan_ends_it(make_trainer: MakeTrainer, blobs: Blobs) -> None:
    x, y = blobs
    x = np.full_like(x, np.nan)
    with pytest.warns(RuntimeWarning, match="nan"):
        history = fit(make_trainer(callbacks=[TerminateOnNaN()]), (x, y), epochs=3)
    assert (history.epochs, history.iterations) == (0, 1)
