"""Optimizer updates: the bounds on the error of a step, special values, wrong arguments."""

import itertools
from typing import Any

import numpy as np
import pytest

from fastbn import _core

from .arrays import bits
from .bounds import oracle_dtype
from .optimizer_checks import adam_oracle, drawn, sgd_oracle

SIZES = (*range(71), 127, 128, 129, 1000, 4097)
SGD_OPTIONS = [
    {"lr": lr, "momentum": momentum, "nesterov": nesterov, "weight_decay": decay}
    for lr, (momentum, nesterov), decay in itertools.product(
        (0.1, 0.0), ((0.0, False), (0.9, False), (0.9, True)), (0.0, 1e-4)
    )
]
ADAM_OPTIONS = [
    {"lr": 1e-3, "beta1": b1, "beta2": b2, "eps": eps, "weight_decay": wd, "decoupled": decoupled}
    for (b1, b2), eps, (wd, decoupled) in itertools.product(
        ((0.9, 0.999), (0.0, 0.0)), (1e-8, 1e-3), ((0.0, False), (0.01, False), (0.01, True))
    )
]


# -- the error -------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", SGD_OPTIONS)
def test_sgd_error_bound(target, dtype, rng, options):
    for size in SIZES:
        p, g, v = drawn(rng, 3, size, dtype=dtype)
        velocity = v if options["momentum"] else None
        (new_p, p_bound), (new_v, v_bound) = sgd_oracle(p, g, velocity, **options)
        assert _core.sgd_update(p, g, velocity, **options) is None
        assert (abs(p - new_p) <= p_bound).all()
        if velocity is not None:
            assert (abs(v - new_v) <= v_bound).all()


@pytest.mark.parametrize("options", ADAM_OPTIONS)
def test_adam_error_bound(target, dtype, rng, options):
    for size, step in itertools.product(SIZES, (1, 2, 1000)):
        p, g, m, v = drawn(rng, 4, size, dtype=dtype)
        g *= dtype(10.0) ** rng.integers(-6, 3, size)
        v *= v
        g[::5] = 0
        expected = adam_oracle(p, g, m, v, step, **options)
        assert _core.adam_update(p, g, m, v, step=step, **options) is None
        for got, (exact, bound) in zip((p, m, v), expected, strict=True):
            assert (abs(got - exact) <= bound).all()


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_of_the_first_step(target, dtype, nesterov):
    """A velocity of zero becomes the gradient, to the bit."""
    p, g, v = np.ones(20, dtype), np.full(20, 0.5, dtype), np.zeros(20, dtype)
    _core.sgd_update(p, g, v, lr=0.25, momentum=0.5, nesterov=nesterov)
    np.testing.assert_array_equal(v, g)
    np.testing.assert_array_equal(p, 1 - 0.25 * (0.75 if nesterov else 0.5))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_adam_of_the_first_step_moves_by_lr(target, dtype, rng, scale):
    """m / (1 - beta1) is g, v / (1 - beta2) its square: p moves by lr against the sign of g."""
    g = (rng.standard_normal(1000) * scale).astype(dtype)
    g = g[abs(g) > scale / 100]
    p, m, v = (np.zeros_like(g) for _ in range(3))
    _core.adam_update(p, g, m, v, step=1, lr=0.125, eps=1e-12)
    np.testing.assert_allclose(p, -0.125 * np.sign(g), rtol=1e-6)


@pytest.mark.parametrize("decoupled", [False, True])
def test_many_steps_stay_near_the_oracle(target, dtype, rng, decoupled):
    """A quadratic, 200 steps of each optimizer: roundings do not pile up."""
    start = rng.standard_normal(50)
    curvature = rng.uniform(0.5, 2, 50)
    both = {"lr": 0.05, "weight_decay": 0.01}
    options = {**both, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "decoupled": decoupled}
    sgd = {**both, "momentum": 0.9, "nesterov": decoupled}
    p, m, v = start.astype(dtype), np.zeros(50, dtype), np.zeros(50, dtype)
    q, w = p.copy(), m.copy()
    wide = [a.astype(oracle_dtype(dtype)) for a in (p, m, v, q, w)]
    for step in range(1, 201):
        _core.adam_update(p, (curvature * p).astype(dtype), m, v, step=step, **options)
        results = adam_oracle(wide[0], curvature * wide[0], wide[1], wide[2], step, **options)
        wide[:3] = [a for a, _ in results]
        _core.sgd_update(q, (curvature * q).astype(dtype), w, **sgd)
        wide[3:] = [a for a, _ in sgd_oracle(wide[3], curvature * wide[3], wide[4], **sgd)]
    assert abs(p - wide[0]).max() <= 1000 * np.finfo(dtype).eps
    assert abs(q - wide[3]).max() <= 1000 * np.finfo(dtype).eps
    assert abs(q).max() < abs(start).max()


def test_zeros_stay_zeros(target, dtype):
    """The padding between parameters, and units that are never active."""
    p, g, m, v = (np.zeros(40, dtype) for _ in range(4))
    for step in (1, 2, 3):
        _core.adam_update(p, g, m, v, step=step, lr=0.1, weight_decay=0.1)
        _core.sgd_update(p, g, m, lr=0.1, momentum=0.9, weight_decay=0.1)
    assert not any(a.any() for a in (p, m, v))


def test_poison_stays_in_its_place(target, dtype, rng):
    for place, poison in itertools.product(range(40), (np.nan, np.inf)):
        p, g, m = drawn(rng, 3, 40, dtype=dtype)
        v = m * m
        g[place] = poison
        kept = [a.copy() for a in (p, m, v)]
        _core.sgd_update(p, g, m, lr=0.1, momentum=0.9)
        assert not np.isfinite(p[place])
        assert np.isfinite(np.delete(p, place)).all()
        p, m, v = kept
        _core.adam_update(p, g, m, v, step=3, lr=0.1)
        assert np.isnan(p[place])
        for a in (p, m, v):
            assert np.isfinite(np.delete(a, place)).all()


# -- arguments -------------------------------------------------------------------------------------


def refuse(error: type[Exception], message: str, update: Any, *arrays: Any, **options: Any) -> None:
    """The call raises and leaves every array as it was."""
    before = [a.copy() for a in arrays if isinstance(a, np.ndarray)]
    with pytest.raises(error, match=message):
        update(*arrays, **options)
    after = [a for a in arrays if isinstance(a, np.ndarray)]
    assert bits(*after) == bits(*before)


def test_wrong_arrays(dtype, rng):
    p, g, m, v = drawn(rng, 4, 9, dtype=dtype)
    other = np.float64 if dtype == np.float32 else np.float32
    sgd, adam = _core.sgd_update, _core.adam_update
    step = {"step": 1, "lr": 0.1}
    shape = r"shape \(8,\), expected \(9,\): the shape of param"
    refuse(ValueError, "grad has " + shape, sgd, p, g[:8], m, lr=0.1)
    refuse(ValueError, "velocity has " + shape, sgd, p, g, m[:8], lr=0.1)
    refuse(ValueError, "m has " + shape, adam, p, g, m[:8], v, **step)
    refuse(ValueError, "v has " + shape, adam, p, g, m, v[:8], **step)
    wrong = "is float.. but param is float"
    refuse(TypeError, "grad " + wrong, sgd, p, g.astype(other), m, lr=0.1)
    refuse(TypeError, "velocity " + wrong, sgd, p, g, m.astype(other), lr=0.1)
    refuse(TypeError, "v " + wrong, adam, p, g, m, v.astype(other), **step)
    refuse(
        TypeError, "param must be a numpy.ndarray", sgd, [1.0] * 9, g.astype(float), None, lr=0.1
    )
    refuse(TypeError, "param must be an array, got None", sgd, None, g, None, lr=0.1)
    refuse(TypeError, "m must be a numpy.ndarray, got None", adam, p, g, None, v, **step)
    frozen = m.copy()
    frozen.flags.writeable = False
    refuse(ValueError, "velocity is read-only", sgd, p, g, frozen, lr=0.1)
    refuse(ValueError, "param is read-only", adam, frozen, g, m, v, **step)
    both = np.arange(12).astype(dtype)
    refuse(ValueError, "param and velocity overlap", sgd, both[:9], g, both[3:], lr=0.1)
    refuse(ValueError, "param and m overlap", adam, p, g, p, v, **step)
    refuse(ValueError, "m and v overlap", adam, p, g, both[:9], both[3:], **step)


@pytest.mark.parametrize("bad", [-0.1, np.nan, np.inf])
@pytest.mark.parametrize("name", ["lr", "momentum", "weight_decay"])
def test_wrong_numbers_of_sgd(dtype, rng, name, bad):
    options = {"lr": 0.1, name: bad}
    message = f"{name} must be finite and not negative, got {bad}"
    refuse(ValueError, message, _core.sgd_update, *drawn(rng, 3, 9, dtype=dtype), **options)


def test_momentum_needs_a_velocity(dtype, rng):
    p, g = drawn(rng, 2, 9, dtype=dtype)
    for options in ({"momentum": 0.9}, {"nesterov": True}):
        message = "momentum is 0.[09] and nesterov (True|False), but velocity is None"
        refuse(ValueError, message, _core.sgd_update, p, g, None, lr=0.1, **options)


@pytest.mark.parametrize(
    ("name", "bad", "message"),
    [
        ("step", 0, "step counts from 1, got 0"),
        ("step", -3, "step counts from 1, got -3"),
        ("lr", -1.0, "lr must be finite and not negative, got -1.0"),
        ("beta1", 1.0, "beta1 must be at least 0 and less than 1, got 1.0"),
        ("beta2", -0.5, "beta2 must be at least 0 and less than 1, got -0.5"),
        ("beta2", np.nan, "beta2 must be .* got nan"),
        ("eps", -1e-8, "eps must be finite and not negative, got -1e-08"),
        ("weight_decay", np.inf, "weight_decay must be .* got inf"),
    ],
)
def test_wrong_numbers_of_adam(dtype, rng, name, bad, message):
    options = {"step": 1, "lr": 0.1, name: bad}
    refuse(ValueError, message, _core.adam_update, *drawn(rng, 4, 9, dtype=dtype), **options)
