"""Steady steps: tapes beside whatever else is done with a net, its memory and its trainer."""

from __future__ import annotations

import contextlib
import copy
import gc
import pickle
import threading
import weakref
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
    whole_state,
)

from fastbn import (
    GELU,
    SGD,
    BatchNorm1d,
    Linear,
    ReLU,
    Sequential,
    Trainer,
)


def test_shapes_that_take_turns() -> None:
    """Epochs with a smaller last batch."""
    steady, plain = (make(dense(BatchNorm1d(16), ReLU())) for _ in range(2))
    by_layers(plain)
    x, y = batch(0, (5 * ROWS + 7, FEATURES))
    for trainer in (steady, plain):
        trainer.fit(x, y, epochs=3, batch_size=ROWS, progress=False)
    require_same(steady, plain)
    for rows in (ROWS, 7, ROWS, ROWS, ROWS, 7, 7, 7, 1 + ROWS, ROWS):
        assert steady.step(*batch(rows, (rows, FEATURES))) == plain.step(
            *batch(rows, (rows, FEATURES))
        )
    require_same(steady, plain)


WRONG_LABELS = {
    "too large": np.full(ROWS, CLASSES),
    "negative": np.full(ROWS, -1),
    "floats": np.zeros(ROWS),
    "one-hot": np.eye(CLASSES, dtype=int)[np.zeros(ROWS, int)],
}


@pytest.mark.parametrize("name", WRONG_LABELS)
def test_wrong_labels_change_nothing(name: str) -> None:
    trainer, plain = (make(dense(BatchNorm1d(16), ReLU())) for _ in range(2))
    for i in range(3):
        trainer.step(*batch(i))
        plain.step(*batch(i))
    before = whole_state(trainer)
    messages = []
    for one in (trainer, by_layers(plain)):
        with pytest.raises((TypeError, ValueError)) as error:
            one.step(batch(3)[0], WRONG_LABELS[name])
        messages.append((error.type, str(error.value)))
        if one is trainer:
            for key, value in whole_state(trainer).items():
                np.testing.assert_array_equal(value, before[key], err_msg=key)
    assert messages[0] == messages[1]
    trainer.step(*batch(4))
    assert on_tape(trainer)


@pytest.mark.parametrize("rows", [0, 1, ROWS - 1, ROWS + 1])
def test_targets_of_another_length_are_told_as_at_first(rows: int) -> None:
    trainer = make(dense(BatchNorm1d(16), ReLU()))
    for i in range(4):
        assert on_tape(trainer) == (i > 1)
        with pytest.raises(ValueError, match=f"^x has {ROWS} samples, but y has {rows}$"):
            trainer.step(batch(i)[0], np.zeros(rows, int))
        trainer.step(*batch(i))


def test_targets_in_a_list() -> None:
    steady, plain = (make(dense(BatchNorm1d(16), ReLU())) for _ in range(2))
    by_layers(plain)
    for i in range(5):
        x, y = batch(i)
        assert steady.step(x, y.tolist()) == plain.step(x, y)
        assert on_tape(steady) == (i > 0)
    require_same(steady, plain)


@pytest.mark.parametrize("kind", [np.ma.MaskedArray, np.memmap, np.recarray])
@pytest.mark.parametrize("which", ["samples", "labels"])
def test_subclasses_of_arrays(kind: type, which: str) -> None:
    """Are what they are to NumPy's asarray, as in the first steps."""
    steady, plain = (make(dense(BatchNorm1d(16), ReLU())) for _ in range(2))
    by_layers(plain)
    for i in range(5):
        x, y = batch(i)
        given = (x.view(kind), y) if which == "samples" else (x, y.view(kind))
        assert steady.step(*given) == plain.step(*given)
        assert on_tape(steady) == (i > 0)
    require_same(steady, plain)


def test_a_steady_step_is_checked_by_its_tape(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `check_pair` asks of samples would cost as much again."""
    trainer = make(dense(BatchNorm1d(16), ReLU()))
    for i in range(2):
        trainer.step(*batch(i))
    monkeypatch.setattr("fastbn.train.trainer.check_pair", None)
    trainer.step(*batch(2))


def strided(x: Any, trainer: Trainer) -> Any:
    return np.repeat(x, 2, axis=1)[:, ::2]


def misaligned(x: Any, trainer: Trainer) -> Any:
    odd = np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    odd[...] = x
    return odd


def among_the_gradients(x: Any, trainer: Trainer) -> Any:
    """Overwritten by the step itself."""
    place = trainer.net.parameters()[0].place.grad[8:]
    view = place[: x.size].reshape(x.shape)
    view[...] = x
    return view


def among_the_parameters(x: Any, trainer: Trainer) -> Any:
    """Where the first weight begins: one pointer for both."""
    view = trainer.net.parameters()[0].place.data[: x.size].reshape(x.shape)
    view[...] = x
    return view


@pytest.mark.parametrize("place", [strided, misaligned, among_the_gradients, among_the_parameters])
def test_samples_in_unusual_memory(place: Callable[[Any, Trainer], Any]) -> None:
    """With a tape of others, and while one is recorded."""
    steady, plain = (make(dense(BatchNorm1d(16), ReLU(), width=64)) for _ in range(2))
    steady.net, plain.net = (dense(ReLU(), width=64) for _ in range(2))
    for trainer in (steady, plain):
        trainer.optimizer = SGD(trainer.net.parameters(), lr=0.05)
    by_layers(plain)
    shape = (8, FEATURES)
    for i in range(10):
        unusual = i in (3, 6, 7)
        if unusual:
            assert on_tape(steady) == (i != 7)
        losses = []
        for trainer in (steady, plain):
            x, y = batch(i, shape)
            losses.append(trainer.step(place(x, trainer) if unusual else x, y))
        assert losses[0] == losses[1]
        # A step that no tape could repeat is not tried again.
        again = (8, 9) if place in (strided, misaligned) else ()
        assert on_tape(steady) == (i in (1, 2, 4, 5, *again))
        require_same(steady, plain)


def test_samples_in_the_statistics() -> None:
    """A tape was recorded of samples elsewhere: those may lie in nothing that it writes."""
    nets = [Sequential(BatchNorm1d(4), Linear(4, 2, rng=0)) for _ in range(2)]
    shared = np.arange(8, dtype=np.float32).reshape(2, 4)
    losses = []
    for trainer, net in zip(map(make, nets), nets, strict=True):
        memory = shared.copy()
        net[0].running_mean, net[0].running_var = memory[0], np.ones(4, np.float32)
        if net is nets[1]:
            by_layers(trainer)
        for i in range(3):
            x = np.random.default_rng(i).standard_normal((2, 4)).astype(np.float32)
            trainer.step(x, np.array([0, 1]))
        with pytest.raises(ValueError, match="running_mean overlaps x"):
            trainer.step(memory, np.array([0, 1]))
        losses.append(trainer.step(shared, np.array([0, 1])))
    assert losses[0] == losses[1]


@pytest.mark.parametrize("evaluates", [True, False], ids=["evaluate", "loss"])
def test_evaluation_is_in_no_tapes_way(evaluates: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make(dense(BatchNorm1d(16), ReLU()))
    for i in range(6):
        trainer.step(*batch(i))
        assert on_tape(trainer) == (i > 0)
        if i == 1:
            monkeypatch.setattr(Trainer, "_gradients", None)
        x, y = batch(50)
        if evaluates:
            trainer.evaluate(x, y)
        else:
            trainer.loss(trainer.predict(x), y)


def test_samples_are_not_held() -> None:
    """Also where the first layer is one that keeps them for its backward."""
    for first in (BatchNorm1d(FEATURES), GELU(), Linear(FEATURES, FEATURES)):
        trainer = make(Sequential(first, dense()))
        x, y = batch(0)
        alive = weakref.ref(x)
        for _ in range(3):
            trainer.step(x, y)
        assert on_tape(trainer)
        del x
        assert alive() is None


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_layers_have_forgotten_the_batch(steps: int) -> None:
    trainer = make(dense(BatchNorm1d(16), ReLU()))
    for i in range(steps):
        trainer.evaluate(*batch(9))
        trainer.step(*batch(i))
    with pytest.raises(RuntimeError, match="needs a forward"):
        trainer.net.backward(np.zeros((ROWS, CLASSES), np.float32))
    with pytest.raises(RuntimeError, match="needs a forward"):
        trainer.loss.backward()


def test_the_net_can_be_used_between_steps() -> None:
    """Results of the user's own forward stay his while the tape runs."""
    steady, plain = (make(dense(BatchNorm1d(16), ReLU())) for _ in range(2))
    by_layers(plain)
    for i in range(6):
        mine = [t.net.forward(batch(90)[0], training=i % 2 == 1) for t in (steady, plain)]
        kept = mine[0].copy()
        assert steady.step(*batch(i)) == plain.step(*batch(i))
        assert steady.evaluate(*batch(91)) == plain.evaluate(*batch(91))
        np.testing.assert_array_equal(mine[0], kept)
        np.testing.assert_array_equal(mine[0], mine[1])


@pytest.mark.parametrize("way", [copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))])
def test_copies_of_a_trainer(way: Callable[[Trainer], Trainer]) -> None:
    trainer = make(dense(BatchNorm1d(16), ReLU()))
    for i in range(3):
        trainer.step(*batch(i))
    twin = way(trainer)
    for i in range(3, 7):
        assert trainer.step(*batch(i)) == twin.step(*batch(i))
    assert on_tape(trainer)
    assert on_tape(twin)


def test_a_trainer_can_be_freed() -> None:
    """Also where its net knows it."""
    trainer = make(dense(BatchNorm1d(16), ReLU()))
    trainer.net.trainer = trainer  # type: ignore[attr-defined]
    for i in range(4):
        trainer.step(*batch(i))
    assert on_tape(trainer)
    alive = weakref.ref(trainer)
    del trainer
    gc.collect()
    assert alive() is None


def test_two_threads_of_one_trainer() -> None:
    """No order of their updates is right, but none may crash or deadlock."""
    trainer = make(dense(BatchNorm1d(256), ReLU(), width=256))
    x, y = batch(0, (256, FEATURES))
    for _ in range(3):
        trainer.step(x, y)

    def train() -> None:
        for i in range(200):
            with contextlib.suppress(RuntimeError):  # the layers have forgotten what was another's
                trainer.step(x, np.roll(y, i))

    threads = [threading.Thread(target=train) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.isfinite(trainer.step(x, y))
