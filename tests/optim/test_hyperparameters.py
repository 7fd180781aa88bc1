"""What an optimizer is made with and set to between steps."""

from typing import ClassVar

import numpy as np
import pytest

from fastbn.layers import Parameter
from fastbn.optim import SGD, Adam, AdamW, Optimizer

from .optimizers import OPTIMIZERS


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_an_optimizer_keeps_to_its_parameters(make):
    first, second = Parameter(np.zeros(3)), Parameter(np.zeros(3))
    optimizer = make([first])
    assert optimizer.params == (first,)
    with pytest.raises(AttributeError):
        optimizer.params = [second]
    with pytest.raises(TypeError):
        optimizer.params[0] = second
    assert optimizer.params == (first,)


@pytest.mark.parametrize("make", OPTIMIZERS)
@pytest.mark.parametrize(
    ("value", "error"),
    [
        (np.nan, ValueError),
        (np.inf, ValueError),
        (-1.0, ValueError),
        (None, TypeError),
        ("0.1", TypeError),
        (np.ones(2), TypeError),
        (1j, TypeError),
        ([1.0, [2.0]], TypeError),
    ],
)
def test_a_hyperparameter_is_checked_where_it_is_set(make, value, error):
    parameter = Parameter(np.ones(3))
    optimizer = make([parameter])
    before = optimizer.state_dict()
    for name in set(optimizer.hyperparameters) - {"nesterov"}:
        with pytest.raises(error, match=name):
            setattr(optimizer, name, value)
    after = optimizer.state_dict()
    assert all(np.array_equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize(
    ("made", "change", "error"),
    [
        ({}, {"momentum": 0.9}, ValueError),  # it keeps no velocity
        ({}, {"nesterov": True}, ValueError),
        ({"momentum": 0.9, "nesterov": True}, {"momentum": 0.0}, ValueError),
        ({"momentum": 0.9}, {"nesterov": 1.0}, TypeError),
        ({"momentum": 0.9}, {"nesterov": None}, TypeError),
    ],
)
def test_numbers_that_do_not_fit_one_another(made, change, error):
    """Neither set nor loaded, and the optimizer goes on as it was."""
    parameter = Parameter(np.ones(3))
    parameter.grad[:] = 1
    optimizer = SGD([parameter], lr=0.1, **made)
    before = optimizer.state_dict()
    ((name, value),) = change.items()
    with pytest.raises(error, match=name):
        setattr(optimizer, name, value)
    with pytest.raises(error, match=name):
        optimizer.load_state_dict(before | {"lr": 0.5} | change)
    after = optimizer.state_dict()
    assert all(np.array_equal(after[name], before[name]) for name in before)
    optimizer.step()
    expected = 1 - 0.1 * (1 + 0.9 * optimizer.nesterov)
    np.testing.assert_allclose(parameter.data, expected, rtol=4 * np.finfo(float).eps)


def test_momentum_may_be_switched_off_and_on():
    parameter = Parameter(np.zeros(3))
    parameter.grad[:] = 1
    optimizer = SGD([parameter], lr=1.0, momentum=0.5)
    for momentum, expected in ((0.0, -1), (0.5, -2.5)):  # velocities 1 and 1.5
        optimizer.momentum = momentum
        optimizer.step()
        assert np.all(parameter.data == expected)


class Half(Optimizer):
    """An optimizer of a user's own: it halves what is above `floor`."""

    hyperparameters = ("lr", "weight_decay", "floor", "bias")
    weight_decay = 0.0
    ranges: ClassVar = Optimizer.ranges | {"floor": (0.0, 10.0)}

    def __init__(self, params, floor, bias=-3.0, fail_at=None):
        self.lr, self.floor, self.bias = 0.0, floor, bias
        self.fail_at = fail_at
        super().__init__(params, (), decay_exempt=True)

    def _update(self, segment, step, weight_decay):
        if step == self.fail_at:
            raise MemoryError
        segment.data[segment.data > self.floor] /= 2


def test_an_optimizer_of_ones_own():
    parameter = Parameter(np.full(3, 8.0))
    optimizer = Half([parameter], floor=3)
    optimizer.step()
    with pytest.raises(ValueError, match=r"floor.*10"):
        optimizer.floor = 10.0
    for bias in (np.inf, -1e9):  # of no range
        optimizer.bias = bias
    optimizer.load_state_dict(optimizer.state_dict() | {"floor": np.array([4])})
    optimizer.step()
    assert np.all(parameter.data == 4)
    assert (optimizer.floor, optimizer.steps) == (4, 2)


def test_an_optimizer_that_lacks_a_hyperparameter():
    class Late(SGD):
        hyperparameters = (*SGD.hyperparameters, "late")

        def __init__(self, params):
            super().__init__(params, lr=0.1)
            self.late = 1.0

    with pytest.raises(TypeError, match=r"Late must set.*late"):
        Late([Parameter(np.ones(3))])


def test_a_step_that_fails_does_not_count():
    parameter = Parameter(np.full(3, 8.0))
    optimizer = Half([parameter], floor=0, fail_at=2)
    optimizer.step()
    with pytest.raises(MemoryError):
        optimizer.step()
    assert optimizer.steps == 1
    assert np.all(parameter.data == 4)


@pytest.mark.parametrize(
    ("cls", "options", "message"),
    [
        (SGD, {"lr": -0.1}, "lr.*-0.1"),
        (SGD, {"lr": np.nan}, "lr.*nan"),
        (SGD, {"lr": 0.1, "momentum": 1.0}, "momentum.*1.0"),
        (SGD, {"lr": 0.1, "nesterov": True}, "nesterov"),
        (SGD, {"lr": 0.1, "weight_decay": -1.0}, "weight_decay"),
        (Adam, {"betas": (1.0, 0.9)}, "beta1"),
        (Adam, {"betas": (0.9, -0.1)}, "beta2"),
        (Adam, {"eps": 0.0}, "eps"),
        (AdamW, {"lr": np.inf}, "lr"),
    ],
)
def test_wrong_options(cls, options, message):
    with pytest.raises(ValueError, match=message):
        cls([Parameter(np.ones(3))], **options)


def test_wrong_parameters():
    parameter = Parameter(np.ones(3))
    with pytest.raises(ValueError, match="none"):
        SGD([], lr=0.1)
    with pytest.raises(ValueError, match="twice"):
        SGD([parameter, parameter], lr=0.1)
    with pytest.raises(TypeError, match="ndarray"):
        SGD([np.ones(3)], lr=0.1)


def test_repr():
    assert repr(SGD([Parameter(np.ones(3))], 0.1)) == (
        "SGD(1 parameters, lr=0.1, momentum=0.0, nesterov=False, weight_decay=0.0)"
    )
