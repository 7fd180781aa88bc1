"""What a training records, and how one training continues another."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastbn import History, Trainer
from fastbn.train import Accounting

MakeTrainer = Callable[..., Trainer]
Blobs = tuple[Any, Any]


def fit(trainer: Trainer, blobs: Blobs, **options: Any) -> History:
    return trainer.fit(*blobs, **{"epochs": 2, "batch_size": 32, "progress": False} | options)


def test_keys_are_those_of_keras(make_trainer: MakeTrainer, blobs: Blobs) -> None:
    history = fit(make_trainer(), blobs, validation_split=0.25)
    assert list(history.history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert {len(values) for values in history.history.values()} == {history.epochs} == {2}
    assert all(isinstance(v, float) for values in history.history.values() for v in values)


def test_counts_and_speed(make_trainer: MakeTrainer, blobs: Blobs) -> None:
    history = fit(make_trainer(), blobs)
    assert (history.epochs, history.iterations, history.iterations_per_epoch) == (2, 8, 4)
    assert history.epoch_samples == [120, 120]
    assert history.train_seconds == pytest.approx(sum(history.epoch_seconds))
    assert history.samples_per_second == pytest.approx(240 / history.train_seconds)
    assert "2 epochs, 8 iterations, loss=" in repr(history)


def test_speed_of_nothing_is_nan() -> None:
    assert math.isnan(History(Accounting(1, 1, 1, 1, "")).samples_per_second)


def test_every_list_has_one_value_an_epoch_even_if_keys_change() -> None:
    history = History(Accounting(1, 1, 1, 3, ""))
    history.record_epoch({"loss": 3.0}, 1, 1.0)
    history.record_epoch({"loss": 2.0, "val_loss": 4.0}, 1, 1.0)
    history.record_epoch({"loss": 1.0}, 1, 1.0)
    assert history.history["loss"] == [3.0, 2.0, 1.0]
    np.testing.assert_array_equal(history.history["val_loss"], [math.nan, 4.0, math.nan])


def test_resuming_gives_the_bits_of_one_training(make_trainer: MakeTrainer, blobs: Blobs) -> None:
    straight, resumed = make_trainer(), make_trainer()
    whole = fit(straight, blobs, epochs=5)
    first = fit(resumed, blobs, epochs=2)
    rest = fit(resumed, blobs, epochs=5, resume=first)
    assert rest.batch_losses == whole.batch_losses
    assert rest.history == whole.history
    assert (rest.epochs, rest.iterations) == (5, 20)
    for name, array in straight.net.state_dict().items():
        np.testing.assert_array_equal(array, resumed.net.state_dict()[name], strict=True)


def test_resuming_leaves_the_earlier_record_alone(make_trainer: MakeTrainer, blobs: Blobs) -> None:
    trainer = make_trainer()
    first = fit(trainer, blobs)
    rest = fit(trainer, blobs, epochs=3, resume=first)
    assert (first.epochs, first.iterations, len(first.batch_losses)) == (2, 8, 8)
    assert rest is not first
    assert rest is trainer.history


def test_resuming_with_another_batch_size_counts_what_was_done(
    make_trainer: MakeTrainer, blobs: Blobs
) -> None:
    trainer = make_trainer()
    history = fit(trainer, blobs, epochs=3, batch_size=60, resume=fit(trainer, blobs))
    assert history.iterations == 2 * 4 + 1 * 2


@pytest.mark.parametrize("wrong", [{"loss": [1.0]}, "checkpoint.npz", 3, True])
def test_resume_takes_nothing_but_a_history(
    make_trainer: MakeTrainer, blobs: Blobs, wrong: Any
) -> None:
    with pytest.raises(TypeError, match="resume"):
        fit(make_trainer(), blobs, resume=wrong)


def test_resume_takes_no_history_of_another_trainer(
    make_trainer: MakeTrainer, blobs: Blobs
) -> None:
    other = fit(make_trainer(), blobs)
    with pytest.raises(TypeError, match="this trainer"):
        fit(make_trainer(), blobs, resume=other)


def test_nothing_left_to_resume_is_said(make_trainer: MakeTrainer, blobs: Blobs) -> None:
    trainer = make_trainer()
    history = fit(trainer, blobs)
    with pytest.raises(ValueError, match=r"epochs=2 leaves nothing to resume.*epochs=4"):
        fit(trainer, blobs, resume=history)


def test_plot_without_matplotlib_names_the_extra(
    make_trainer: MakeTrainer, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"fastbn\[plot\]"):
        fit(make_trainer(), blobs).plot()


def test_plot_has_a_panel_for_each_quantity(
    make_trainer: MakeTrainer, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    pytest.importorskip("matplotlib")
    history = fit(make_trainer(), blobs, validation_split=0.25)
    loss, accuracy = history.plot().axes
    assert [axis.get_ylabel() for axis in (loss, accuracy)] == ["loss", "accuracy"]
    assert len(loss.lines) == 2
    np.testing.assert_array_equal(loss.lines[1].get_ydata(), history.history["val_loss"])
