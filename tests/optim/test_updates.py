"""Updates beside the equations in NumPy, and by hand."""

import numpy as np
import pytest

from fastbn.layers import Parameter
from fastbn.optim import SGD, Adam, AdamW

from .optimizers import make_net

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


def test_lr_is_settable():
    parameter = Parameter(np.zeros(3))
    parameter.grad[:] = 1
    optimizer = SGD([parameter], lr=1.0)
    optimizer.lr = 0.25
    optimizer.step()
    np.testing.assert_array_equal(parameter.data, -0.25)
