"""Optimizer updates: the bounds on the error of a step, and what must not change a bit."""

import itertools
from typing import Any

import numpy as np
import pytest

from fastbn import _core

from .bounds import oracle_dtype, smallest, unit_roundoff
from .memory import LAYOUTS, WRITABLE, GuardedPages, Padded, at_offset

THREADS = (1, 2, 3, 7)
SIZES = (*range(71), 127, 128, 129, 1000, 4097)
MANY = 500_003
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


def bits(*arrays: np.ndarray) -> bytes:
    return b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)


def drawn(rng: np.random.Generator, count: int, *shape: int, dtype: Any) -> list[np.ndarray]:
    return [rng.standard_normal(shape).astype(dtype) for _ in range(count)]


# -- oracles: the result and the bound on its error, to first order in u ---------------------------


def sgd_oracle(
    p: np.ndarray, g: np.ndarray, v: np.ndarray | None, **o: Any
) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """(p, its bound), (v, its bound)."""
    dtype = p.dtype.type
    u, wide = unit_roundoff(dtype), oracle_dtype(dtype)
    p, g = p.astype(wide), g.astype(wide)
    decay = o["weight_decay"] * p
    direction = g + decay
    # Each constant is rounded, and its product; each sum once.
    error = 2 * u * abs(decay) + u * abs(direction)
    new_v, v_error = direction, error
    if v is not None:
        old = o["momentum"] * v.astype(wide)
        new_v = old + direction
        v_error = error + 2 * u * abs(old) + u * abs(new_v)
        if o["nesterov"]:
            ahead = o["momentum"] * new_v
            error = error + 2 * u * abs(ahead) + o["momentum"] * v_error
            direction = direction + ahead
            error = error + u * abs(direction)
        else:
            direction, error = new_v, v_error
    step = o["lr"] * direction
    new_p = p - step
    p_error = o["lr"] * error + 2 * u * abs(step) + u * abs(new_p)
    lost = 4 * smallest(dtype)
    return (new_p, p_error * 1.01 + lost), (new_v, v_error * 1.01 + lost)


def adam_oracle(
    p: np.ndarray, g: np.ndarray, m: np.ndarray, v: np.ndarray, step: int, **o: Any
) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """(p, its bound), (m, its bound), (v, its bound)."""
    dtype = p.dtype.type
    u, wide = unit_roundoff(dtype), oracle_dtype(dtype)
    p, g, m, v = (a.astype(wide) for a in (p, g, m, v))
    b1, b2, wd, lr = (wide(o[k]) for k in ("beta1", "beta2", "weight_decay", "lr"))
    g_error = 0 * g
    if o["decoupled"]:
        p = p * (1 - lr * wd)
    else:
        g_error = 2 * u * abs(wd * p)
        g = g + wd * p
        g_error = (g_error + u * abs(g)) if o["weight_decay"] else g_error
    lost = 4 * smallest(dtype)
    new_m = b1 * m + (1 - b1) * g
    m_error = 2 * u * (abs(b1 * m) + abs((1 - b1) * g)) + (1 - b1) * g_error + u * abs(new_m) + lost
    new_v = b2 * v + (1 - b2) * g * g
    v_error = 3 * u * new_v + 2 * (1 - b2) * abs(g) * g_error + u * new_v + lost
    root = np.sqrt(new_v) / np.sqrt(1 - b2**step)
    denominator = root + o["eps"]
    with np.errstate(divide="ignore", invalid="ignore"):
        r_root = np.where(new_v > 0, v_error / (2 * new_v), 0)  # a root halves relative errors
    d_error = root * (r_root + 3 * u) + u * o["eps"] + u * denominator
    update = lr / (1 - b1**step) * new_m / denominator
    scale = lr / (1 - b1**step) / denominator
    u_error = scale * m_error + abs(update) * (d_error / denominator + 3 * u)
    new_p = p - update
    p_error = u_error + 2 * u * abs(p) + u * abs(new_p) + lost
    return tuple((a, e * 1.01) for a, e in ((new_p, p_error), (new_m, m_error), (new_v, v_error)))


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


# -- what must not change a bit --------------------------------------------------------------------


class Case:
    """Both optimizers on copies of the same arrays."""

    def __init__(self, rng: np.random.Generator, dtype: Any, *shape: int) -> None:
        self.p, self.g, self.m = drawn(rng, 3, *shape, dtype=dtype)
        self.v = self.m * self.m

    def copies(self) -> list[np.ndarray]:
        return [a.copy() for a in (self.p, self.g, self.m, self.v)]

    @staticmethod
    def sgd(p: np.ndarray, g: np.ndarray, m: np.ndarray, _: np.ndarray, **ends: Any) -> None:
        _core.sgd_update(p, g, m, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4, **ends)

    @staticmethod
    def adam(p: np.ndarray, g: np.ndarray, m: np.ndarray, v: np.ndarray, **ends: Any) -> None:
        _core.adam_update(p, g, m, v, step=7, lr=0.01, weight_decay=0.01, decoupled=True, **ends)


UPDATES = pytest.mark.parametrize("update", [Case.sgd, Case.adam], ids=["sgd", "adam"])


@UPDATES
@pytest.mark.parametrize(
    "ends", [(MANY,), (0, 1, 1, 300_000, MANY), (255, 256, 400_001, 400_500, MANY)]
)
def test_parts_that_threads_share_out_change_no_bit(target, dtype, rng, threads, update, ends):
    case = Case(rng, dtype, MANY)
    threads(1)
    whole, given = case.copies(), [case.copies() for _ in THREADS]
    update(*whole)
    for n_threads, arrays in zip(THREADS, given, strict=True):
        threads(n_threads)
        update(*arrays, ends=ends)
        assert bits(*arrays) == bits(*whole)


@UPDATES
@pytest.mark.parametrize(
    ("ends", "values"),
    [((3, 2, 5), "2 after 3"), ((6,), "5, got 6"), ((-1, 5), "-1 after 0"), ((4,), "5, got 4")],
)
def test_parts_that_do_not_make_the_whole_are_refused(update, ends, values):
    arrays = [np.ones(5) for _ in range(4)]
    with pytest.raises(ValueError, match=values):
        update(*arrays, ends=ends)
    assert all((a == 1).all() for a in arrays)


@UPDATES
def test_an_element_does_not_depend_on_its_place(target, dtype, rng, update):
    case = Case(rng, dtype, 300)
    whole = case.copies()
    update(*whole)
    for size in range(71):
        begin = int(rng.integers(300 - size + 1))
        part = slice(begin, begin + size)
        arrays = [a[part] for a in case.copies()]
        update(*arrays)
        assert bits(*arrays) == bits(*(a[part] for a in whole))


@UPDATES
def test_threads_change_no_bit(target, dtype, rng, threads, update):
    case = Case(rng, dtype, MANY)
    results = []
    for n_threads in THREADS:
        threads(n_threads)
        arrays = case.copies()
        update(*arrays)
        results.append(bits(*arrays))
    assert all(result == results[0] for result in results)


@UPDATES
@pytest.mark.parametrize("shape", [(33,), (5, 7)])
def test_memory_changes_no_bit(target, dtype, rng, update, shape):
    case = Case(rng, dtype, *shape)
    expected = case.copies()
    update(*expected)
    for layout, other in itertools.product(WRITABLE, LAYOUTS):
        p, g, m, v = case.copies()
        arrays = [LAYOUTS[layout](p), LAYOUTS[other](g), LAYOUTS[layout](m), LAYOUTS[layout](v)]
        update(*arrays)
        assert bits(*arrays) == bits(*expected), (layout, other)
    for offset in range(0, 65, case.p.itemsize):
        arrays = [at_offset(a, offset) for a in case.copies()]
        update(*arrays)
        assert bits(*arrays) == bits(*expected), offset


@UPDATES
def test_surroundings_are_untouched(target, dtype, rng, update):
    pages = [GuardedPages(4096) for _ in range(4)]
    for size, at_end in itertools.product(range(71), (True, False)):
        case = Case(rng, dtype, size)
        expected = case.copies()
        update(*expected)
        arrays = [page.put(a, at_end=at_end) for page, a in zip(pages, case.copies(), strict=True)]
        update(*arrays)
        assert bits(*arrays) == bits(*expected)
    padded = [Padded(a, margin=16) for a in case.copies()]
    update(*(a.view for a in padded))
    assert all(a.is_intact() for a in padded)
    assert bits(*(a.view for a in padded)) == bits(*expected)


def test_a_gradient_that_overlaps_is_as_if_copied_first(target, dtype, rng):
    for _ in range(500):
        memory = rng.standard_normal(300).astype(dtype) ** 2
        size = int(rng.integers(1, 50))
        p, m, v = (memory[60 * i : 60 * i + size] for i in range(3))
        begin = int(rng.integers(300 - size + 1))
        g = memory[begin : begin + size]
        if rng.integers(4) == 0:
            g = (p, m, v)[rng.integers(3)]
        before = memory.copy()
        expected = [p.copy(), g.copy(), m.copy(), v.copy()]
        Case.sgd(*expected)
        Case.sgd(p, g, m, v)
        assert bits(p, m) == bits(expected[0], expected[2])
        memory[:] = before
        expected = [p.copy(), g.copy(), m.copy(), v.copy()]
        Case.adam(*expected)
        Case.adam(p, g, m, v)
        assert bits(p, m, v) == bits(expected[0], *expected[2:])


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
