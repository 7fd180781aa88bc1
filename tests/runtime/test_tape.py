"""The tape of kernel calls: what it repeats, what spoils it, and for which samples it holds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastbn
from fastbn import _core

ROWS, CLASSES = 24, 5


def batch(i: int) -> Any:
    """The i-th scores and labels, in memory of their own."""
    rng = np.random.default_rng(i)
    return rng.standard_normal((ROWS, CLASSES)).astype(np.float32), rng.integers(0, CLASSES, ROWS)


def run(tape: _core.Tape, x: Any, y: Any, watched: Any = (), *update: Any) -> Any:
    """Run a tape whose results are `loss_of`'s."""
    return tape.run(x, y, watched, ("loss",) * tape.results, *update)


def recorded(step: Callable[[Any, Any], Any], x: Any, y: Any) -> _core.Tape:
    return _core.record(lambda: step(x, y), x, y)[1]


def loss_of(logits: Any, labels: Any) -> float:
    return _core.cross_entropy(logits, labels)[0]


def test_a_tape_of_one_call() -> None:
    x, y = batch(0)
    tape = recorded(loss_of, x, y)
    assert tape.whole
    for i in range(3):
        x, y = batch(i)
        assert run(tape, x, y) == ({"loss": loss_of(x, y)}, False)


def statistics(x: Any) -> dict[str, Any]:
    names = ("gamma", "beta", "running_mean", "running_var")
    return {name: np.ones(x.shape[1], x.dtype) for name in names}


SPOILT: dict[str, Callable[[Any, Any], Any]] = {
    "no labels": lambda x, y: _core.gemm(x, x.T),
    "other labels": lambda x, y: loss_of(x, y.copy()),
    "labels twice": lambda x, y: (loss_of(x, y), loss_of(x, y)),
    "accuracy alone": _core.accuracy,
    "a copied argument": lambda x, y: loss_of(np.repeat(x, 2, 1)[:, ::2], y),
    "a strided result": lambda x, y: (
        _core.activation_forward("relu", x, np.repeat(x, 2, 1)[:, ::2]),
        loss_of(x, y),
    ),
    "an update": lambda x, y: (
        _core.sgd_update(x.copy(), x.copy(), None, 0.1),
        loss_of(x, y),
    ),
    "softmax, back": lambda x, y: (_core.softmax_backward(x, x), loss_of(x, y)),
    "Adam": lambda x, y: (
        _core.adam_update(x.copy(), x.copy(), x * 0, x * 0, step=1, lr=0.1),
        loss_of(x, y),
    ),
    "column sums": lambda x, y: (_core.column_sums(x), loss_of(x, y)),
    "a cumulative average": lambda x, y: (
        fastbn.batch_norm(
            x, **statistics(x), training=True, momentum=None, num_batches_tracked=np.array(0)
        ),
        loss_of(x, y),
    ),
    "another library's array": lambda x, y: loss_of(memoryview(x), y),
    "a product of its own": lambda x, y: (fastbn.matmul(x, x.T), loss_of(x, y)),
    "a gathering": lambda x, y: (
        _core.gather_rows(x, np.arange(3), np.zeros_like(x)),
        loss_of(x, y),
    ),
    "an overlap": lambda x, y: (_core.gemm(x, np.eye(CLASSES, dtype=x.dtype), x), loss_of(x, y)),
}


@pytest.mark.parametrize("name", SPOILT)
def test_what_spoils_a_tape(name: str) -> None:
    x, y = batch(0)
    tape = recorded(SPOILT[name], x, y)
    assert not tape.whole
    assert run(tape, x, y) is None


ON_TAPE: dict[str, Callable[[Any, Any], Any]] = {
    "softmax": lambda x, y: loss_of(_core.softmax(x), y),
    "inference": lambda x, y: loss_of(fastbn.batch_norm(x, **statistics(x), training=False)[0], y),
    "inference of a block": lambda x, y: loss_of(
        _core.linear_batch_norm_inference(
            x, np.eye(CLASSES, dtype=x.dtype), None, *statistics(x).values(), 1e-5, True
        ),
        y,
    ),
}


@pytest.mark.parametrize("name", ON_TAPE)
def test_what_is_on_a_tape(name: str) -> None:
    x, y = batch(0)
    tape = recorded(ON_TAPE[name], x, y)
    assert tape.whole
    for i in range(3):
        x, y = batch(i)
        assert run(tape, x, y) == ({"loss": ON_TAPE[name](x, y)}, False)


WEIGHT = np.random.default_rng(0).standard_normal((CLASSES, ROWS)).astype(np.float32)
PASSES: dict[str, tuple[Callable[[Any], Any], bool]] = {
    "a product": (lambda x: _core.gemm(x, WEIGHT), True),
    "two": (lambda x: _core.softmax(_core.activation_forward("relu", x)), True),
    "no result": (lambda x: (_core.softmax(x), None)[1], True),
    "a result of the samples": (lambda x: x, False),
    "a result that no call is told of": (lambda x: _core.scale(x, 2.0), False),
    "a result that a call reads unasked": (
        lambda x: (y := _core.softmax(x), _core.linear_backward(x[:3] * 0, WEIGHT[:3], y))[0],
        False,
    ),
    "a product of the samples with themselves, by another array": (
        lambda x: _core.gemm(x[:CLASSES], x[:CLASSES]),
        False,
    ),
    "a result that is no array": (lambda x: (_core.softmax(x), 1)[1], False),
    "Fortran order": (lambda x: _core.softmax(x).T, False),
}


@pytest.mark.parametrize("name", PASSES)
def test_passes(name: str) -> None:
    make, repeats = PASSES[name]
    _, tape = _core.record_pass(lambda: make(first), (), (), (first := batch(0)[0]))
    assert (tape is not None) == repeats
    if tape is None:
        return
    workspace = _core.Workspace()
    for i in range(3):
        x, _ = batch(i)
        for made in (tape.run_pass(x, None, workspace, ()), tape.run_pass(x, None, None, ())):
            expected = make(x)
            assert made is True if expected is None else np.array_equal(made, expected)
    assert tape.run_pass(x[1:], None, workspace, ()) is None
    assert tape.run_pass(x, x, workspace, ()) is None
    assert not tape.runs


def test_an_exception_ends_the_recording() -> None:
    x, y = batch(0)
    with pytest.raises(ValueError, match="label"):
        recorded(loss_of, x, y + CLASSES)
    tape = recorded(loss_of, x, y)
    loss_of(x, y)  # on no tape
    assert run(tape, x, y) == ({"loss": loss_of(x, y)}, False)


def test_a_tape_records_its_own_thread() -> None:
    x, y = batch(0)

    def step(x: Any, y: Any) -> None:
        other = threading.Thread(target=lambda: _core.softmax(x))
        other.start()
        other.join()
        loss_of(x, y)

    assert recorded(step, x, y).whole


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((ROWS + 1, CLASSES), np.float32),
        np.zeros((CLASSES, ROWS), np.float32).T,
        np.zeros((ROWS, CLASSES), np.float64),
        np.zeros((ROWS, CLASSES), ">f4"),
        np.zeros((ROWS, 1, CLASSES), np.float32),
        [[0.0] * CLASSES] * ROWS,
    ],
    ids=["rows", "strides", "dtype", "byte order", "dimensions", "list"],
)
def test_samples_of_another_form(x: Any) -> None:
    first, y = batch(0)
    assert run(recorded(loss_of, first, y), x, y) is None


@pytest.mark.parametrize(
    "y", [[0] * ROWS, np.zeros(ROWS - 1, int), np.zeros((), int)], ids=["list", "length", "number"]
)
def test_labels_of_another_form(y: Any) -> None:
    x, labels = batch(0)
    assert run(recorded(loss_of, x, labels), x, y) is None


def test_names_for_the_results() -> None:
    x, y = batch(0)
    tape = recorded(loss_of, x, y)
    with pytest.raises(ValueError, match="1 results got 2 names"):
        tape.run(x, y, (), ("loss", "accuracy"))


@pytest.mark.parametrize("watched", [({},), (({}, dict, ()),), (({}, dict, [], ()),)])
def test_what_cannot_be_watched(watched: Any) -> None:
    x, y = batch(0)
    with pytest.raises(TypeError, match="watches"):
        run(recorded(loss_of, x, y), x, y, watched)


def test_watched_objects() -> None:
    x, y = batch(0)
    tape, value = recorded(loss_of, x, y), np.float64(3)

    class Thing:
        pass

    class Other(Thing):
        pass

    for thing in ({}, Thing()):
        attributes: dict[str, Any] = thing if isinstance(thing, dict) else vars(thing)
        attributes |= {"a": value, "b": None, "any": 1}
        expected = tuple((attributes | {"any": ...}).values())
        watched = ((thing, type(thing), tuple(attributes), expected),)
        assert run(tape, x, y, watched) is not None
        attributes["any"] = 2
        assert run(tape, x, y, watched) is not None
        for changed in ({"a": np.float64(3)}, {"c": 1}):
            attributes.update(changed)
            assert run(tape, x, y, watched) is None
            attributes["a"] = value
            attributes.pop("c", None)
            assert run(tape, x, y, watched) is not None
        if isinstance(thing, Thing):
            thing.__class__ = Other
            assert run(tape, x, y, watched) is None
            thing.__class__ = Thing
            thing.__dict__ = attributes | {"b": 4}
            assert run(tape, x, y, watched) is None
            thing.__dict__ = attributes
            assert run(tape, x, y, watched) is not None
        attributes.pop("b")
        assert run(tape, x, y, watched) is None
    assert run(tape, x, y, (({}, dict, ("a",), ()),)) is None


def arrays_of_update() -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.uniform(0.1, 1, 40).astype(np.float32) for _ in range(4)]


def adam(arrays: list[np.ndarray], count: int) -> None:
    p, g, m, v = arrays
    _core.adam_update(p, g, m, v, step=count, lr=0.1)


class Counted:
    """Whatever counts its updates."""

    def __init__(self, steps: Any) -> None:
        self.steps = steps


def test_an_update_follows_a_step() -> None:
    """As the update of the number that comes, also if others were made beside the tape."""
    arrays, expected = arrays_of_update(), arrays_of_update()
    _, update = _core.record(lambda: adam(arrays, 1))
    adam(expected, 1)
    assert update.whole
    assert update.results == 0
    x, y = batch(0)
    tape = recorded(loss_of, x, y)
    loss = {"loss": loss_of(x, y)}
    watched, counted = {"lr": 0.1}, Counted(1)
    then = update, ((watched, dict, ("lr",), (watched["lr"],)),), counted, "steps"
    for count in (2, 3, 7):
        counted.steps = count - 1
        assert run(tape, x, y, (), then) == (loss, True)
        adam(expected, count)
        assert counted.steps == count
        np.testing.assert_array_equal(arrays, expected)
    watched["lr"] = 0.2
    assert run(tape, x, y, (), then) == (loss, False)
    assert counted.steps == 7
    np.testing.assert_array_equal(arrays, expected)


@pytest.mark.parametrize("count", [-1, 2**63 - 1, 2**64, 1.0, True, np.int64(1), None, "1"])
def test_an_update_needs_a_count(count: Any) -> None:
    arrays = arrays_of_update()
    _, update = _core.record(lambda: adam(arrays, 1))
    before = [array.copy() for array in arrays]
    x, y = batch(0)
    tape = recorded(loss_of, x, y)
    for counted, name in ((Counted(count), "steps"), (Counted(1), "updates")):
        then = update, (), counted, name
        assert run(tape, x, y, (), then) == ({"loss": loss_of(x, y)}, False)
    np.testing.assert_array_equal(arrays, before)


def test_an_update_of_an_array_that_has_moved() -> None:
    arrays = arrays_of_update()
    _, update = _core.record(lambda: adam(arrays, 1))
    before = [array.copy() for array in arrays]
    x, y = batch(0)
    tape = recorded(loss_of, x, y)
    arrays[0].flags.writeable = False
    then = update, (), Counted(1), "steps"
    assert run(tape, x, y, (), then) == ({"loss": loss_of(x, y)}, False)
    np.testing.assert_array_equal(arrays, before)


def test_a_step_that_does_not_hold_makes_no_update() -> None:
    arrays = arrays_of_update()
    _, update = _core.record(lambda: adam(arrays, 1))
    before = [array.copy() for array in arrays]
    x, y = batch(0)
    tape, counted = recorded(loss_of, x, y), Counted(1)
    then = update, (), counted, "steps"
    assert run(tape, x[1:], y[1:], (), then) is None
    with pytest.raises(ValueError, match="label"):
        run(tape, x, np.full_like(y, CLASSES), (), then)
    assert counted.steps == 1
    np.testing.assert_array_equal(arrays, before)


def test_an_update_is_no_step() -> None:
    arrays = arrays_of_update()
    _, update = _core.record(lambda: adam(arrays, 1))
    x, y = batch(0)
    assert run(update, x, y) is None


def test_copies_spoil_an_update() -> None:
    p, g, m, v = arrays_of_update()
    _, strided = _core.record(lambda: adam([np.repeat(p, 2)[::2], g, m, v], 1))
    _, labelled = _core.record(lambda: loss_of(*batch(0)))
    assert not strided.whole
    assert not labelled.whole
