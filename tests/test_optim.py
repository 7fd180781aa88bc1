import copy
import io
import pickle
from typing import ClassVar

import numpy as np
import pytest

from fastbn import optim
from fastbn.layers import BatchNorm1d, Linear, Parameter, ReLU, Sequential
from fastbn.losses import CrossEntropyLoss
from fastbn.optim import SGD, Adam, AdamW, Optimizer

DTYPES = [np.float32, np.float64]


def sgd(p, grads, lr, momentum=0.0, nesterov=False, weight_decay=0.0):
    v = np.zeros_like(p)
    for grad in grads:
        g = grad + weight_decay * p
        v = momentum * v + g
        p = p - lr * (g + momentum * v if nesterov else v)
    return p


def adam(p, grads, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, *, decoupled=False):
    m, v = np.zeros_like(p), np.zeros_like(p)
    for step, grad in enumerate(grads, 1):
        if decoupled:
            p, g = p - lr * weight_decay * p, grad
        else:
            g = grad + weight_decay * p
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g * g
        m_hat, v_hat = m / (1 - betas[0] ** step), v / (1 - betas[1] ** step)
        p = p - lr * m_hat / (np.sqrt(v_hat) + eps)
    return p


def adamw(p, grads, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
    return adam(p, grads, lr, betas, eps, weight_decay, decoupled=True)


CASES = [
    (SGD, sgd, {"lr": 0.1}),
    (SGD, sgd, {"lr": 0.1, "weight_decay": 0.3}),
    (SGD, sgd, {"lr": 0.1, "momentum": 0.9}),
    (SGD, sgd, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.3}),
    (SGD, sgd, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.3}),
    (Adam, adam, {}),
    (Adam, adam, {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.3}),
    (AdamW, adamw, {}),
    (AdamW, adamw, {"lr": 0.1, "weight_decay": 0.3}),
]
OPTIMIZERS = [
    lambda params: SGD(params, lr=0.1),
    lambda params: SGD(params, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    lambda params: Adam(params, lr=0.1, weight_decay=0.1),
    lambda params: AdamW(params, lr=0.1, weight_decay=0.1),
]


def make_net(dtype=np.float32):
    return Sequential(
        Linear(5, 4, rng=0, dtype=dtype),
        BatchNorm1d(4, dtype=dtype),
        ReLU(),
        Linear(4, 3, rng=1, dtype=dtype),
    )


def calls(monkeypatch):
    """Sizes of the flat arrays of all kernel calls from now on."""
    sizes = []
    for name in ("sgd_update", "adam_update"):
        kernel = getattr(optim._core, name)

        def counted(data, *args, kernel=kernel, **kwargs):
            sizes.append(data.size)
            return kernel(data, *args, **kwargs)

        monkeypatch.setattr(optim._core, name, counted)
    return sizes


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("cls", "oracle", "options"), CASES)
def test_updates(rng, cls, oracle, options, dtype):
    steps = 10
    p = rng.standard_normal((7, 5)).astype(dtype)
    grads = rng.standard_normal((steps, 7, 5)).astype(dtype)
    parameter = Parameter(p.copy())
    optimizer = cls([parameter], **options)
    for grad in grads:
        parameter.grad = grad
        optimizer.step()
    expected = oracle(p.astype(np.float64), grads.astype(np.float64), **options)
    # A step makes some ten roundings, of p itself and of terms of lr * abs(v) at most; v sums up
    # to 1 / (1 - momentum) gradients, Adam's quotient is at most of order 1 / sqrt(1 - beta2).
    lr, momentum = options.get("lr", 1e-3), options.get("momentum", 0.0)
    amplitude = np.abs(grads).max() / (1 - momentum) if cls is SGD else 32
    bound = 10 * steps * np.finfo(dtype).eps * (np.abs(p).max() + steps * lr * amplitude)
    assert np.abs(parameter.data - expected).max() <= bound
    assert optimizer.steps == steps


def test_updates_by_hand():
    # v1 = 1, p1 = 1 - 0.5; v2 = 0.5 + 1 = 1.5, p2 = 0.5 - 0.75.
    parameter = Parameter(np.ones(1))
    optimizer = SGD([parameter], lr=0.5, momentum=0.5)
    parameter.grad = np.ones(1)
    optimizer.step()
    assert parameter.data[0] == 0.5
    optimizer.step()
    assert parameter.data[0] == -0.25
    # Adam's first step has the size lr whatever the gradient.
    for scale in (1e-3, 1.0, 1e3):
        parameter = Parameter(np.zeros(1))
        parameter.grad = np.full(1, scale)
        Adam([parameter], lr=0.5).step()
        assert parameter.data[0] == pytest.approx(-0.5, rel=1e-4)


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_a_net_is_updated_like_its_parameters_one_by_one(rng, make):
    net = make_net()
    alone = [Parameter(p.data.copy(), decay=p.decay) for p in net.parameters()]
    optimizer, other = make(net.parameters()), make(alone)
    for _ in range(3):
        for a, b in zip(net.parameters(), alone, strict=True):
            a.grad[...] = b.grad[...] = rng.standard_normal(a.data.shape)
        optimizer.step()
        other.step()
        for a, b in zip(net.parameters(), alone, strict=True):
            np.testing.assert_array_equal(a.data, b.data)
    flat, taken = net.parameters()[0].place.data, 0
    for parameter in net.parameters():
        taken += np.count_nonzero(parameter.data)
    assert np.count_nonzero(flat) == taken  # the padding is still zero


def test_kernel_calls_of_a_step(monkeypatch):
    net = make_net()
    sizes = calls(monkeypatch)
    flat = net.parameters()[0].place.data
    SGD(net.parameters(), lr=0.1).step()
    assert len(sizes) == 1
    assert flat.size - 16 <= sum(sizes) <= flat.size
    sizes.clear()
    AdamW(net.parameters()).step()
    assert len(sizes) == 2
    sizes.clear()
    SGD(net.parameters(), lr=0.1, weight_decay=0.1, decay_exempt=False).step()
    assert len(sizes) == 1
    sizes.clear()
    weights = [p for p in net.parameters() if p.decay]
    SGD(weights[::-1], lr=0.1).step()  # any order, and a part of the net
    assert len(sizes) == 1
    sizes.clear()
    SGD([net[0].weight, net[3].bias], lr=0.1).step()
    assert len(sizes) == 2
    sizes.clear()
    SGD([Parameter(np.ones(3)), Parameter(np.ones(4))], lr=0.1).step()
    assert sorted(sizes) == [3, 4]


def test_a_part_of_a_net_leaves_the_rest_alone(rng):
    net = make_net()
    for parameter in net.parameters():
        parameter.grad[...] = 1
    before = net.state_dict()
    chosen = {"0.weight", "1.beta"}
    named = dict(net.named_parameters())
    SGD([named[name] for name in sorted(chosen)], lr=0.1, momentum=0.9).step()
    for name, array in net.state_dict().items():
        assert np.any(array != before[name]) == (name in chosen)


@pytest.mark.parametrize("cls", [SGD, Adam, AdamW])
def test_decay_spares_levels(cls):
    net = make_net()
    net[1].beta.data[:] = net[3].bias.data[:] = 1
    before = net.state_dict()
    cls(net.parameters(), lr=0.1, weight_decay=0.5).step()  # all gradients are zero
    for name, array in net.state_dict().items():
        changed = name in ("0.weight", "3.weight")
        assert np.any(array != before[name]) == changed, name
    cls(net.parameters(), lr=0.1, weight_decay=0.5, decay_exempt=False).step()
    assert np.all(net[1].gamma.data != before["1.gamma"])


def test_decay_may_be_switched_on_later(monkeypatch):
    net = make_net()
    before = net.state_dict()
    optimizer = SGD(net.parameters(), lr=0.1)
    optimizer.step()
    optimizer.weight_decay = 0.5
    optimizer.step()
    np.testing.assert_array_equal(net[1].gamma.data, before["1.gamma"])
    assert np.all(net[0].weight.data != before["0.weight"])


@pytest.mark.parametrize("change", ["decay", "decay_exempt"])
def test_decay_of_a_parameter_may_be_switched_later(change):
    parameter = Parameter(np.ones(3), decay=False)
    optimizer = SGD([parameter], lr=0.1, weight_decay=0.5)
    optimizer.step()
    np.testing.assert_array_equal(parameter.data, 1)
    if change == "decay":
        parameter.decay = True
    else:
        optimizer.decay_exempt = False
    optimizer.step()
    np.testing.assert_allclose(parameter.data, 0.95)


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


def test_lr_is_settable():
    parameter = Parameter(np.zeros(3))
    parameter.grad[:] = 1
    optimizer = SGD([parameter], lr=1.0)
    optimizer.lr = 0.25
    optimizer.step()
    np.testing.assert_array_equal(parameter.data, -0.25)


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_state_follows_a_parameter_that_moves(rng, make):
    def run(moves):
        rng = np.random.default_rng(1)
        layers = Linear(4, 3, rng=0), Linear(3, 2, rng=1)
        optimizer = make([p for layer in layers for p in layer.parameters()])
        for step in range(6):
            if moves and step == 2:
                Sequential(layers[0])
            if moves and step == 4:
                Sequential(*layers)
            for parameter in optimizer.params:
                parameter.grad[...] = rng.standard_normal(parameter.data.shape)
            optimizer.step()
        return optimizer

    still, moved = run(False), run(True)
    for a, b in zip(still.params, moved.params, strict=True):
        np.testing.assert_array_equal(a.data, b.data)
    state = moved.state_dict()
    for name, value in still.state_dict().items():
        np.testing.assert_array_equal(value, state[name])


def through_a_file(state):
    file = io.BytesIO()
    np.savez(file, **state)
    file.seek(0)
    with np.load(file) as arrays:
        return dict(arrays)


@pytest.mark.parametrize("make", OPTIMIZERS)
@pytest.mark.parametrize("way", [copy.deepcopy, through_a_file])
def test_resuming_has_the_same_bits(rng, make, way):
    x, t = rng.standard_normal((8, 5)).astype(np.float32), np.arange(8) % 3
    loss = CrossEntropyLoss()

    def train(net, optimizer, steps):
        for _ in range(steps):
            loss(net(x, training=True), t)
            net.backward(loss.backward())
            optimizer.step()

    net = make_net()
    optimizer = make(net.parameters())
    train(net, optimizer, 3)
    optimizer.lr = 0.05
    saved = way(net.state_dict()), way(optimizer.state_dict())
    train(net, optimizer, 3)
    other = make_net()
    resumed = make(other.parameters())
    other.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    assert resumed.lr == 0.05
    assert resumed.steps == 3
    train(other, resumed, 3)
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(array, other.state_dict()[name])


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))]
)
@pytest.mark.parametrize("in_a_net", [True, False])
def test_a_copy_of_net_and_optimizer_trains_on(duplicate, in_a_net):
    net = make_net() if in_a_net else Linear(5, 3, rng=0)
    optimizer = Adam(net.parameters(), lr=0.1)

    def step(net, optimizer):
        for parameter in net.parameters():
            parameter.grad[...] = 1
        optimizer.step()

    step(net, optimizer)
    other = duplicate((net, optimizer))
    step(net, optimizer)
    step(*other)
    for a, b in zip(net.parameters(), other[0].parameters(), strict=True):
        np.testing.assert_array_equal(a.data, b.data)
        assert not np.shares_memory(a.data, b.data)


def test_names_of_the_state():
    parameters = [Parameter(np.ones((2, 3))), Parameter(np.ones(4), decay=False)]
    assert list(SGD(parameters, 0.1).state_dict()) == [
        "steps",
        "lr",
        "momentum",
        "nesterov",
        "weight_decay",
    ]
    state = SGD(parameters, 0.1, momentum=0.9).state_dict()
    assert state["velocity.0"].shape == (2, 3)
    assert state["velocity.1"].shape == (4,)
    assert {"m.0", "m.1", "v.0", "v.1", "beta1", "beta2", "eps"} <= Adam(
        parameters
    ).state_dict().keys()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"velocity.1": None}, ValueError, "velocity.1"),
        ({"lr": None}, ValueError, "lr"),
        ({"extra": 1.0}, ValueError, "extra"),
        ({"velocity.0": np.ones(3)}, ValueError, r"\(2, 3\).*\(3,\)"),
        ({"velocity.0": np.ones((2, 3), np.float32)}, TypeError, "float64.*float32"),
        ({"lr": -1.0}, ValueError, "lr"),
        ({"lr": np.nan}, ValueError, "lr"),
        ({"lr": "fast"}, TypeError, "lr"),
        ({"lr": np.ones(2)}, TypeError, "lr"),
        ({"steps": 1.5}, TypeError, "steps"),
        ({"steps": -1}, ValueError, "steps"),
        ({"nesterov": 1}, TypeError, "nesterov"),
    ],
)
def test_a_wrong_state_changes_nothing(change, error, message):
    optimizer = SGD([Parameter(np.ones((2, 3))), Parameter(np.ones(4))], 0.1, momentum=0.9)
    optimizer.step()
    before = optimizer.state_dict()
    state = {"steps": 9, "lr": 0.5} | change
    state = {name: value for name, value in (before | state).items() if value is not None}
    with pytest.raises(error, match=message):
        optimizer.load_state_dict(state)
    after = optimizer.state_dict()
    assert after.keys() == before.keys()
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value)


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
