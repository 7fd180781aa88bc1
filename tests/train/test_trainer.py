"""The training loop: it learns, repeats itself, refuses what is wrong, and wastes nothing."""

from __future__ import annotations

import io
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastbn import (
    SGD,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    Layer,
    Linear,
    MSELoss,
    ReLU,
    Sequential,
    Trainer,
)
from fastbn.train import LambdaCallback, accuracy

MakeTrainer = Callable[..., Trainer]
Blobs = tuple[Any, Any]
QUICK: dict[str, Any] = {"epochs": 1, "batch_size": 32, "progress": False}


class Watched(Layer):
    """The identity; it remembers the rows and the mode of each forward."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, bool]] = []

    def forward(self, x: Any, *, training: bool = False) -> Any:
        self.calls.append((len(x), training))
        return x

    def backward(self, dy: Any) -> Any:
        return dy


# -- learning ------------------------------------------------------------------------------------


def test_it_learns(make_trainer: MakeTrainer, blobs: Blobs) -> None:
    trainer = make_trainer()
    history = trainer.fit(*blobs, epochs=10, batch_size=20, progress=False)
    assert history.history["loss"][-1] < 0.1 * history.history["loss"][0]
    assert trainer.evaluate(*blobs)["accuracy"] > 0.98


def test_the_same_seed_gives_the_same_bits(make_trainer: MakeTrainer, blobs: Blobs) -> None:
    first, again, other = (make_trainer(seed=seed) for seed in (3, 3, 4))
    runs = [t.fit(*blobs, epochs=3, batch_size=32, progress=False) for t in (first, again, other)]
    assert runs[0].batch_losses == runs[1].batch_losses != runs[2].batch_losses
    np.testing.assert_array_equal(first.predict(blobs[0]), again.predict(blobs[0]))


def test_the_number_of_threads_does_not_change_a_bit(
    make_trainer: MakeTrainer, blobs: Blobs, threads: Callable[[int], None]
) -> None:
    losses = []
    for n in (1, 2, 3):
        threads(n)
        losses.append(make_trainer().fit(*blobs, **QUICK).batch_losses)
    assert losses[0] == losses[1] == losses[2]


def test_a_step_is_one_update_and_returns_the_loss_before_it(
    make_trainer: MakeTrainer, blobs: Blobs
) -> None:
    trainer = make_trainer()
    x, y = blobs
    losses = [trainer.step(x, y) for _ in range(20)]
    assert losses[-1] < losses[0]
    assert trainer.optimizer.steps == 20
    assert trainer.history.iterations == 0


def test_steps_and_fit_make_the_same_updates(make_trainer: MakeTrainer, blobs: Blobs) -> None:
    x, y = blobs
    whole, single = make_trainer(), make_trainer()
    history = whole.fit(x, y, epochs=2, batch_size=40, shuffle=False, progress=False)
    losses = [single.step(x[i : i + 40], y[i : i + 40]) for _ in range(2) for i in (0, 40, 80)]
    assert history.batch_losses == losses


def test_lists_of_a_net_in_float64_are_taken() -> None:
    net = Sequential(Linear(1, 2, dtype=np.float64, rng=0))
    trainer = Trainer(net, CrossEntropyLoss(), SGD(net.parameters(), lr=0.1))
    history = trainer.fit([[0.0], [1.0]], [0, 1], epochs=1, batch_size=1, progress=False)
    assert history.iterations == 2


# -- evaluation ----------------------------------------------------------------------------------


def test_evaluate_is_the_mean_over_all_samples(make_trainer: MakeTrainer) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2500, 2)).astype(np.float32), rng.integers(2, size=2500)
    trainer = make_trainer()
    logits = trainer.net.forward(x)
    result = trainer.evaluate(x, y)
    assert list(result) == ["loss", "accuracy"]
    assert result["loss"] == pytest.approx(CrossEntropyLoss().forward(logits, y), rel=1e-6)
    assert result["accuracy"] == pytest.approx(np.mean(logits.argmax(axis=1) == y))


def test_predict_gives_every_row_its_place(make_trainer: MakeTrainer) -> None:
    x = np.random.default_rng(0).standard_normal((2500, 2)).astype(np.float32)
    trainer = make_trainer(n_out=3)
    y = trainer.predict(x)
    assert y.shape == (2500, 3)
    np.testing.assert_array_equal(y[[0, 1023, 1024, 2499]], trainer.net(x)[[0, 1023, 1024, 2499]])


def test_evaluation_runs_in_bounded_batches_and_never_trains(make_trainer: MakeTrainer) -> None:
    watched = Watched()
    net = Sequential(watched, Linear(2, 2, rng=0))
    trainer = Trainer(net, CrossEntropyLoss(), SGD(net.parameters(), lr=0.1))
    x, y = np.zeros((2500, 2), np.float32), np.zeros(2500, int)
    trainer.evaluate(x, y)
    trainer.predict(x)
    assert watched.calls == [(1024, False), (1024, False), (452, False)] * 2


def test_validation_leaves_the_net_as_it_is(make_trainer: MakeTrainer, blobs: Blobs) -> None:
    trainer = make_trainer()
    trainer.fit(*blobs, **QUICK)
    before = trainer.net.state_dict()
    trainer.evaluate(*blobs)
    for name, array in trainer.net.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


# -- metrics -------------------------------------------------------------------------------------


def test_metrics_of_ones_own_go_by_their_name(make_trainer: MakeTrainer, blobs: Blobs) -> None:
    def error_rate(predictions: Any, targets: Any) -> float:
        return 1 - accuracy(predictions, targets)

    history = make_trainer(metrics=["accuracy", error_rate]).fit(*blobs, **QUICK).history
    assert list(history) == ["loss", "accuracy", "error_rate"]
    assert history["error_rate"][0] == pytest.approx(1 - history["accuracy"][0])


@pytest.mark.parametrize(
    ("metrics", "error"),
    [
        ("accuracy", TypeError),
        (["acc"], ValueError),
        ([1], TypeError),
        (["accuracy"] * 2, ValueError),
    ],
)
def test_wrong_metrics_are_refused(
    make_trainer: MakeTrainer, metrics: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match="metric"):
        make_trainer(metrics=metrics)


@pytest.mark.parametrize(
    ("predictions", "targets", "expected"),
    [
        ([[1, 2], [3, 0]], [1, 1], 0.5),
        ([[1, 2], [3, 0]], [[0, 1], [1, 0]], 1.0),
        ([-1.0, 2.0], [0, 1], 1.0),
        ([[-1.0], [2.0]], [[1.0], [1.0]], 0.5),
    ],
)
def test_accuracy_of_classes_one_hot_rows_and_signs(
    predictions: Any, targets: Any, expected: float
) -> None:
    assert accuracy(np.asarray(predictions), np.asarray(targets)) == expected


def test_accuracy_of_what_has_no_classes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(4, 3\).*\(4, 2\)"):
        accuracy(np.zeros((4, 3)), np.zeros((4, 2)))


def test_one_logit_a_sample() -> None:
    x = np.linspace(-1, 1, 40, dtype=np.float32)[:, None]
    y = (x > 0).astype(np.float32)
    net = Sequential(Linear(1, 1, rng=0))
    trainer = Trainer(net, BCEWithLogitsLoss(), SGD(net.parameters(), lr=1.0), rng=0)
    trainer.fit(x, y, epochs=40, batch_size=10, progress=False)
    assert trainer.evaluate(x, y)["accuracy"] > 0.95


def test_regression_without_metrics() -> None:
    x = np.linspace(-1, 1, 40, dtype=np.float32)[:, None]
    net = Sequential(Linear(1, 1, rng=0))
    trainer = Trainer(net, MSELoss(), SGD(net.parameters(), lr=0.1), metrics=(), rng=0)
    history = trainer.fit(x, 2 * x, epochs=40, batch_size=10, progress=False)
    assert list(history.history) == ["loss"]
    assert history.history["loss"][-1] < 1e-3


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"y": np.zeros(7, int)}, ValueError, r"120.*7"),
        ({"x": np.zeros((0, 2), np.float32), "y": np.zeros(0, int)}, ValueError, "no samples"),
        ({"x": np.float32(3), "y": np.zeros(0, int)}, ValueError, "no samples"),
        ({"x": np.zeros((120, 2))}, TypeError, r"float64.*float32"),
        ({"x": np.zeros((120, 2), np.uint8)}, TypeError, r"uint8.*float32.*/ 255"),
        ({"epochs": 0}, ValueError, "epochs.*0"),
        ({"epochs": 1.5}, TypeError, "epochs.*1.5"),
        ({"batch_size": 0}, ValueError, "batch_size.*0"),
        ({"batch_size": "32"}, TypeError, "batch_size.*32"),
        ({"tail": "cut"}, ValueError, "tail.*cut"),
        ({"validation_split": 1.0}, ValueError, "1.0"),
        ({"validation_split": -0.1}, ValueError, "-0.1"),
        ({"validation_split": float("nan")}, ValueError, "nan"),
        ({"validation_data": 3}, TypeError, "pair"),
        ({"validation_data": (np.zeros((4, 2), np.float32), [1])}, ValueError, "validation.*4.*1"),
        ({"validation_data": (np.zeros((1, 2)), [1])}, TypeError, "validation.*float64.*float32"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_trained(
    make_trainer: MakeTrainer,
    blobs: Blobs,
    change: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    trainer = make_trainer()
    before = trainer.net.state_dict()
    with pytest.raises(error, match=message):
        trainer.fit(**{"x": blobs[0], "y": blobs[1]} | QUICK | change)
    for name, array in trainer.net.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_validation_data_or_split_but_not_both(make_trainer: MakeTrainer, blobs: Blobs) -> None:
    with pytest.raises(ValueError, match="not both"):
        make_trainer().fit(*blobs, validation_data=blobs, validation_split=0.1, **QUICK)


@pytest.mark.parametrize("method", ["evaluate", "step"])
def test_evaluate_and_step_check_too(make_trainer: MakeTrainer, blobs: Blobs, method: str) -> None:
    with pytest.raises(ValueError, match=r"120.*60"):
        getattr(make_trainer(), method)(blobs[0], blobs[1][:60])
    with pytest.raises(TypeError, match="uint8"):
        getattr(make_trainer(), method)(blobs[0].astype(np.uint8), blobs[1])


def test_predict_checks_too(make_trainer: MakeTrainer) -> None:
    with pytest.raises(TypeError, match="float64"):
        make_trainer().predict(np.zeros((3, 2)))
    with pytest.raises(ValueError, match="no samples"):
        make_trainer().predict(np.zeros((0, 2), np.float32))


# -- what it costs -------------------------------------------------------------------------------


def test_a_steady_step_allocates_nothing_large() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1024, 512)).astype(np.float32)
    y = rng.integers(10, size=1024)
    net = Sequential(Linear(512, 256, rng=rng), ReLU(), Linear(256, 10, rng=rng))
    trainer = Trainer(net, CrossEntropyLoss(), SGD(net.parameters(), lr=0.01), rng=0)
    peaks: list[int] = []

    def begin(epoch: int, logs: dict[str, float]) -> None:
        tracemalloc.start()

    def end(epoch: int, logs: dict[str, float]) -> None:
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    trainer.callbacks = [LambdaCallback(on_epoch_begin=begin, on_epoch_end=end)]
    trainer.fit(x, y, epochs=3, batch_size=256, progress=False)
    smallest_activation = 256 * 256 * 4
    assert max(peaks[1:]) < smallest_activation


# -- what is shown -------------------------------------------------------------------------------


def test_progress_prints_a_header_and_a_line_an_epoch(
    make_trainer: MakeTrainer, blobs: Blobs, capsys: pytest.CaptureFixture[str]
) -> None:
    make_trainer().fit(*blobs, epochs=3, batch_size=32, validation_split=0.25)
    out, err = capsys.readouterr()
    header, *lines = out.splitlines()
    assert header.split() == ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "samples/s"]
    assert [line.split()[0] for line in lines] == ["1/3", "2/3", "3/3"]
    assert err == ""
    assert out.isascii()
    assert all(character.isprintable() or character == "\n" for character in out)
    assert max(map(len, out.splitlines())) <= 80


def test_no_progress_is_silent(
    make_trainer: MakeTrainer, blobs: Blobs, capsys: pytest.CaptureFixture[str]
) -> None:
    make_trainer().fit(*blobs, **QUICK)
    assert capsys.readouterr() == ("", "")


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar_above_which_the_lines_stand(
    make_trainer: MakeTrainer, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("rich")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    make_trainer().fit(*blobs, epochs=2, batch_size=32)
    shown = terminal.getvalue()
    assert "\x1b" in shown
    assert "iterations" in shown
    assert all(f"{epoch}/2" in shown for epoch in (1, 2))


def test_a_terminal_is_left_in_order_after_an_exception(
    make_trainer: MakeTrainer, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("rich")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")

    def interrupt(batch: int, logs: dict[str, float]) -> None:
        raise KeyboardInterrupt

    trainer = make_trainer(callbacks=[LambdaCallback(on_batch_end=interrupt)])
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(*blobs, epochs=2, batch_size=32)
    assert terminal.getvalue().rindex("\x1b[?25h") > terminal.getvalue().rindex("\x1b[?25l")
    assert trainer.history.iterations == 1  # the record so far is there
