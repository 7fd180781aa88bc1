"""Steady steps: the update follows on a tape of its own, and is the optimizer's."""

from __future__ import annotations

import copy
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

from fastbn import SGD, Adam, AdamW, BatchNorm1d, Linear, ReLU, Sequential, Trainer


def momentum(params: Any, lr: float) -> SGD:
    return SGD(params, lr, momentum=0.9)


def nesterov(params: Any, lr: float) -> SGD:
    return SGD(params, lr, momentum=0.9, nesterov=True, weight_decay=0.01)


def decay_all(params: Any, lr: float) -> AdamW:
    return AdamW(params, lr, weight_decay=0.1, decay_exempt=False)


OPTIMIZERS = [SGD, momentum, nesterov, Adam, AdamW, decay_all]


def pair(optimizer: Any) -> tuple[Trainer, Trainer]:
    """Return two trainers of one kind, of which the second goes by layers."""
    first, second = (make(dense(BatchNorm1d(16), ReLU()), optimizer=optimizer) for _ in range(2))
    return first, by_layers(second)


def update_on_tape(trainer: Trainer) -> bool:
    return trainer._steady._update._taped is not None


def require_same_states(one: Trainer, other: Trainer) -> None:
    require_same(one, other)
    theirs = other.optimizer.state_dict()
    for name, value in one.optimizer.state_dict().items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name, strict=True)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_bits_of_the_optimizer(optimizer: Any, dtype: Any) -> None:
    first, second = (
        make(dense(BatchNorm1d(16, dtype=dtype), ReLU(), dtype=dtype), optimizer=optimizer)
        for _ in range(2)
    )
    by_layers(second)
    for i in range(8):
        assert first.step(*batch(i, dtype=dtype)) == second.step(*batch(i, dtype=dtype))
        require_same_states(first, second)
        assert first.optimizer.steps == i + 1
        # By layers, recorded, its first run, which makes an update in Python, the same recorded.
        assert update_on_tape(first) == (i >= 3)


def test_a_long_training_by_epochs() -> None:
    """With a smaller last batch, which goes by layers, and a rate for each epoch."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((200, FEATURES)).astype(np.float32), rng.integers(0, 5, 200)
    first, second = pair(Adam)
    for epoch in range(3):
        for trainer in (first, second):
            trainer.optimizer.lr = 0.1 / (epoch + 1)
            trainer.fit(x, y, epochs=1, batch_size=24, progress=False)
        require_same_states(first, second)


def set_rate(trainer: Trainer) -> None:
    trainer.optimizer.lr = 0.5


def set_decay(trainer: Trainer) -> None:
    trainer.optimizer.weight_decay = 0.25


def decay_a_bias(trainer: Trainer) -> None:
    trainer.optimizer.params[1].decay = True


def exempt_none(trainer: Trainer) -> None:
    trainer.optimizer.decay_exempt = False


def count_anew(trainer: Trainer) -> None:
    trainer.optimizer.steps = 0


def load_state(trainer: Trainer) -> None:
    state = trainer.optimizer.state_dict()
    trainer.optimizer.load_state_dict(
        {name: 0.5 * value for name, value in state.items()} | {"steps": 40, "beta1": 0.5}
    )


def replace_optimizer(trainer: Trainer) -> None:
    trainer.optimizer = SGD(trainer.net.parameters(), lr=0.1)


def train_with_another_optimizer(trainer: Trainer) -> None:
    trainer.optimizer = Adam(trainer.net.parameters(), lr=0.05)
    for i in range(5):
        trainer.step(*batch(70 + i))


def move_parameters(trainer: Trainer) -> None:
    Sequential(trainer.net)


def step_beside(trainer: Trainer) -> None:
    trainer.optimizer.step()


def override_step(trainer: Trainer) -> None:
    def step(optimizer: Any) -> None:
        type(optimizer).step(optimizer)
        for parameter in optimizer.params:
            parameter.data *= 0.5

    trainer.optimizer.step = types.MethodType(step, trainer.optimizer)  # type: ignore[method-assign]


def change_class(trainer: Trainer) -> None:
    trainer.optimizer.__class__ = AdamW


CHANGES = [
    set_rate,
    set_decay,
    decay_a_bias,
    exempt_none,
    count_anew,
    load_state,
    replace_optimizer,
    train_with_another_optimizer,
    move_parameters,
    step_beside,
    override_step,
    change_class,
]


def decayed(params: Any, lr: float) -> Adam:
    return Adam(params, lr, weight_decay=0.1)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_changes_count_from_the_next_step_on(change: Callable[[Trainer], None]) -> None:
    first, second = pair(decayed)
    for i in range(14):
        if i in (5, 10):
            assert on_tape(first)
            for trainer in (first, second):
                change(trainer)
        assert first.step(*batch(i)) == second.step(*batch(i))
        require_same_states(first, second)
        assert first.optimizer.steps == second.optimizer.steps


def test_a_rate_for_each_step_is_never_recorded() -> None:
    first, second = pair(Adam)
    for i in range(8):
        for trainer in (first, second):
            trainer.optimizer.lr = 0.1 / (i + 1)
        assert first.step(*batch(i)) == second.step(*batch(i))
        require_same_states(first, second)
        assert not update_on_tape(first)
    assert on_tape(first)


class Halving(SGD):
    """An optimizer of one's own."""

    def _update(self, segment: Any, step: int, weight_decay: float) -> None:
        super()._update(segment, step, weight_decay)
        segment.data[...] *= 0.5


def test_an_optimizer_of_ones_own_is_asked() -> None:
    first, second = pair(Halving)
    for i in range(6):
        assert first.step(*batch(i)) == second.step(*batch(i))
        require_same_states(first, second)
    assert not update_on_tape(first)


def test_parameters_of_others_move() -> None:
    """Those that the net does not have: the tape of its steps does not see them."""
    first, second = pair(SGD)
    others = []
    for trainer in (first, second):
        other = Linear(4, 4, rng=0)
        others.append(other)
        trainer.optimizer = SGD([*trainer.net.parameters(), *other.parameters()], lr=0.1)
    for i in range(12):
        for other in others:
            if i == 6:
                Sequential(other)
            other.weight.grad = np.full((4, 4), i, np.float32)
        assert first.step(*batch(i)) == second.step(*batch(i))
        require_same_states(first, second)
        np.testing.assert_array_equal(others[0].weight.data, others[1].weight.data)


def away_to_another_optimizer(trainer: Trainer) -> Callable[[], None]:
    own = trainer.optimizer
    trainer.optimizer = SGD(trainer.net.parameters(), lr=0.1)

    def back() -> None:
        trainer.optimizer = own

    return back


def away_to_another_net(trainer: Trainer) -> Callable[[], None]:
    own = trainer.net
    trainer.net = dense(BatchNorm1d(16), ReLU())

    def back() -> None:
        Sequential(own)

    return back


def away_without_updates(trainer: Trainer) -> Callable[[], None]:
    trainer.optimizer.step = lambda: None  # type: ignore[method-assign]

    def back() -> None:
        del trainer.optimizer.step

    return back


@pytest.mark.parametrize(
    "go",
    [away_to_another_optimizer, away_to_another_net, away_without_updates],
    ids=lambda go: go.__name__,
)
def test_parameters_that_move_while_the_update_rests(
    go: Callable[[Trainer], Callable[[], None]],
) -> None:
    trainers = pair(Adam)
    parameters = [trainer.net.parameters() for trainer in trainers]

    def both(i: int) -> None:
        assert trainers[0].step(*batch(i)) == trainers[1].step(*batch(i))
        for own, other in zip(*parameters, strict=True):
            np.testing.assert_array_equal(own.data, other.data)
            np.testing.assert_array_equal(own.grad, other.grad)

    for i in range(6):
        both(i)
    assert update_on_tape(trainers[0])
    back = [go(trainer) for trainer in trainers]
    for trainer in trainers:
        Sequential(trainer.net)
    for i in range(3):
        both(i)
    for end in back:
        end()
    for i in range(6):
        both(i)


def toggle_decay(trainer: Trainer) -> None:
    """There and back, with an update between: other arrays of state since."""
    weight = trainer.optimizer.params[0]
    weight.decay = False
    trainer.optimizer.step()
    weight.decay = True


def test_segments_made_anew_beside() -> None:
    first, second = pair(decayed)
    for i in range(10):
        if i == 6:
            for trainer in (first, second):
                toggle_decay(trainer)
        assert first.step(*batch(i)) == second.step(*batch(i))
        require_same_states(first, second)


class Drawing(SGD):
    """Its rate is another each time that it is read."""

    drawn = 0.0

    @property
    def lr(self) -> float:
        self.drawn += 1.0
        return 0.1 / self.drawn

    @lr.setter
    def lr(self, value: float) -> None:
        pass


def test_numbers_of_ones_own_are_read_once() -> None:
    first, second = pair(Drawing)
    for i in range(8):
        assert first.step(*batch(i)) == second.step(*batch(i))
        require_same(first, second)


class Wrapper:
    """No Optimizer, but it steps."""

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer

    def step(self) -> None:
        self.optimizer.step()


def test_whatever_steps() -> None:
    first, second = pair(SGD)
    for trainer in (first, second):
        wrapper: Any = Wrapper(trainer.optimizer)
        trainer.optimizer = wrapper
    for i in range(6):
        assert first.step(*batch(i)) == second.step(*batch(i))
        require_same(first, second)


def test_an_update_made_beside_the_recorded_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a finalizer, say: it is not made again."""
    first, second = pair(SGD)
    other = SGD(Linear(4, 4, rng=0).parameters(), lr=0.1)
    for parameter in other.params:
        parameter.grad = np.ones_like(parameter.grad)
    update = SGD._update

    def then_other(optimizer: Any, *args: Any) -> None:
        update(optimizer, *args)
        if optimizer is first.optimizer and optimizer.steps == 3 and other.steps == 0:
            other.step()

    monkeypatch.setattr(SGD, "_update", then_other)
    for i in range(8):
        assert first.step(*batch(i)) == second.step(*batch(i))
        require_same_states(first, second)
    assert other.steps == 1
    for parameter, old in zip(other.params, Linear(4, 4, rng=0).parameters(), strict=True):
        np.testing.assert_array_equal(parameter.data, old.data - np.float32(0.1))


def test_some_parameters_of_the_net() -> None:
    first, second = pair(SGD)
    for trainer in (first, second):
        trainer.optimizer = Adam(layer(trainer, 0).parameters(), lr=0.1)
    for i in range(8):
        assert first.step(*batch(i)) == second.step(*batch(i))
        require_same_states(first, second)
    assert update_on_tape(first)


def test_two_trainers_of_one_optimizer() -> None:
    first, second = pair(Adam)
    others = [Trainer(t.net, t.loss, t.optimizer, rng=0) for t in (first, second)]
    by_layers(others[1])
    for i in range(12):
        assert first.step(*batch(i)) == second.step(*batch(i))
        if i > 5:
            assert others[0].step(*batch(i)) == others[1].step(*batch(i))
        require_same_states(first, second)


def test_a_copy_has_a_tape_of_its_own() -> None:
    first, second = pair(Adam)
    for i in range(6):
        first.step(*batch(i)), second.step(*batch(i))
    twin = copy.deepcopy(first)
    for i in range(6):
        assert twin.step(*batch(i)) == second.step(*batch(i))
    require_same_states(twin, second)
    assert first.optimizer.steps == 6
