"""Elementwise activations: their error in last places, and what must not change a bit."""

import itertools
from typing import Any

import numpy as np
import pytest

from fastbn import _core

from .arrays import THREADS, bits
from .bounds import gamma, oracle_dtype, smallest
from .memory import LAYOUTS, WRITABLE, GuardedPages, Padded, at_offset

NAMES = ("relu", "leaky_relu", "sigmoid", "tanh", "gelu")
SAVES_Y = ("sigmoid", "tanh")
SLOPE = 0.125  # of both dtypes
# Around one and several registers of every width, and beyond the elements that a second, third and
# seventh thread need.
SIZES = (*range(71), 127, 128, 129, 1000, 4095, 4097)
MANY = 500_003

# Roundings of the oracle: it is the exponential of up to -38.8^2 / 2, rounded.
ORACLE = 800
# Units in the last place that csrc/nn/math_kernel.h states, rounded up; a gradient has one or two
# multiplications more.  The relus round once at most.
ULPS = {"relu": 0.0, "leaky_relu": 0.5, "sigmoid": 2.6, "tanh": 2.6, "gelu": 4.5}
GRADIENT_ULPS = {"relu": 0.0, "leaky_relu": 0.5, "sigmoid": 2.0, "tanh": 2.5, "gelu": 4.5}


# -- the oracle, in about twice the precision ------------------------------------------------------


def density(x: np.ndarray) -> np.ndarray:
    wide = x.dtype.type
    with np.errstate(over="ignore"):
        return np.exp(-x * x / 2) / np.sqrt(2 * np.arccos(wide(-1)))


def normal_cdf(x: np.ndarray) -> np.ndarray:
    """Phi(x), with relative accuracy in the lower tail.

    Near 0 by the series 1/2 + phi(x) (x + x^3/3 + x^5/15 + ...), further out by the continued
    fraction phi(x) / (a + 1/(a + 2/(a + 3/...))) of the tail at a = |x| (Abramowitz and Stegun
    26.2.11 and 26.2.14).
    """
    wide = x.dtype.type
    near = abs(x) < 1
    term = np.where(near, x, wide(0))
    squared, series = term * term, term
    for k in range(3, 61, 2):
        term = term * squared / k
        series = series + term
    a = np.where(near, wide(1), abs(x))
    fraction = a
    for k in range(400, 0, -1):
        fraction = a + k / fraction
    tail = density(x) / fraction
    return np.where(near, wide(0.5) + density(x) * series, np.where(x < 0, tail, 1 - tail))


def forward(name: str, x: np.ndarray) -> np.ndarray:
    if name == "relu":
        return np.where(x <= 0, x.dtype.type(0), x)
    if name == "leaky_relu":
        return np.where(x <= 0, SLOPE * x, x)
    with np.errstate(over="ignore"):
        if name == "sigmoid":
            return 1 / (1 + np.exp(-x))
    return np.tanh(x) if name == "tanh" else x * normal_cdf(x)


def derivative(name: str, saved: np.ndarray) -> np.ndarray:
    one = saved.dtype.type(1)
    if name == "relu":
        return np.where(saved <= 0, 0 * one, one)
    if name == "leaky_relu":
        return np.where(saved <= 0, SLOPE * one, one)
    if name == "sigmoid":
        return saved * (1 - saved)
    if name == "tanh":
        return (1 - saved) * (1 + saved)
    return normal_cdf(saved) + saved * density(saved)


def arguments(rng: np.random.Generator, dtype: Any) -> np.ndarray:
    """Ordinary values, all magnitudes of either sign, and the ranges where functions saturate."""
    far = 110.0 if dtype == np.float32 else 760.0
    exponents = rng.uniform(-45 if dtype == np.float32 else -320, 4, 4000)
    with np.errstate(under="ignore"):
        magnitudes = 10.0**exponents * rng.choice((-1, 1), 4000)
    parts = (
        rng.standard_normal(8000) * 3, magnitudes, rng.uniform(-far, far, 4000),
        np.linspace(-40, 40, 4001), np.linspace(-1, 1, 2001),
    )  # fmt: skip
    return np.concatenate(parts).astype(dtype)


def check(got: np.ndarray, exact: np.ndarray, ulps: float, scale: np.ndarray | None = None) -> None:
    """|err| <= ulps of the result (or of `scale`), and what the oracle's own roundings add."""
    dtype = got.dtype.type
    scale = abs(exact) if scale is None else np.maximum(abs(exact), scale)
    bound = ulps * np.spacing(scale.astype(dtype)) + gamma(ORACLE, exact.dtype.type) * scale
    bound = bound + (smallest(dtype) if ulps else 0)
    error = abs(got - exact)
    worst = (error - bound).argmax()
    assert (error <= bound).all(), f"{got[worst]!r} for {exact[worst]!r}, allowed {bound[worst]!r}"


# -- the error -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_forward_error(target, dtype, rng, name):
    x = arguments(rng, dtype)
    got = _core.activation_forward(name, x, slope=SLOPE)
    assert got.dtype == dtype
    exact = forward(name, x.astype(oracle_dtype(dtype)))
    check(got, exact, ULPS[name])


@pytest.mark.parametrize("name", NAMES)
def test_backward_error(target, dtype, rng, name):
    x = arguments(rng, dtype)
    saved = _core.activation_forward(name, x, slope=SLOPE) if name in SAVES_Y else x
    wide = saved.astype(oracle_dtype(dtype))
    scale = None
    if name == "gelu":  # the gradient has a zero, where its two terms cancel
        scale = normal_cdf(-abs(wide)) + abs(wide) * density(wide)
    exact = derivative(name, wide)
    got = _core.activation_backward(name, np.ones_like(x), saved, slope=SLOPE)
    check(got, exact, GRADIENT_ULPS[name], scale)
    dy = rng.standard_normal(x.shape).astype(dtype)
    got = _core.activation_backward(name, dy, saved, slope=SLOPE)
    ulps = GRADIENT_ULPS[name] * 2 + 0.5 if name != "relu" else 0  # a product may cross a binade
    check(got, exact * dy, ulps, None if scale is None else scale * abs(dy))


@pytest.mark.parametrize("name", NAMES)
def test_gradient_is_that_of_the_forward_pass(target, rng, name):
    """Central differences in float64."""
    x = rng.standard_normal(500)
    x = x[abs(x) > 1e-3]  # off the kink
    step = 1e-6
    plus, minus = (_core.activation_forward(name, x + h, slope=SLOPE) for h in (step, -step))
    saved = _core.activation_forward(name, x) if name in SAVES_Y else x
    dx = _core.activation_backward(name, np.ones_like(x), saved, slope=SLOPE)
    np.testing.assert_allclose(dx, (plus - minus) / (2 * step), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["relu", "leaky_relu"])
def test_relus_take_x_or_y_as_saved(target, dtype, rng, name):
    x = rng.standard_normal(1000).astype(dtype)
    x[::7] = 0
    for slope in (0.0, 0.3):
        y = _core.activation_forward(name, x, slope=slope)
        of_x, of_y = (_core.activation_backward(name, x, s, slope=slope) for s in (x, y))
        assert bits(of_x) == bits(of_y)


# -- values that are not ordinary numbers ----------------------------------------------------------

INF, NAN = np.inf, np.nan
SPECIAL = (-INF, -1e4, -0.0, 0.0, 1e4, INF, NAN)
RESULTS = {
    "relu": (0.0, 0.0, 0.0, 0.0, 1e4, INF, NAN),
    "leaky_relu": (-INF, -5e3, -0.0, 0.0, 1e4, INF, NAN),
    "sigmoid": (0.0, 0.0, 0.5, 0.5, 1.0, 1.0, NAN),
    "tanh": (-1.0, -1.0, -0.0, 0.0, 1.0, 1.0, NAN),
    "gelu": (-0.0, -0.0, -0.0, 0.0, 1e4, INF, NAN),
}
GRADIENTS = {
    "relu": (0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0),
    "leaky_relu": (0.5, 0.5, 0.5, 0.5, 1.0, 1.0, 1.0),
    "sigmoid": (0.0, 0.0, 0.25, 0.25, 0.0, 0.0, NAN),
    "tanh": (0.0, 0.0, 1.0, 1.0, 0.0, 0.0, NAN),
    "gelu": (-0.0, -0.0, 0.5, 0.5, 1.0, 1.0, NAN),
}


@pytest.mark.parametrize("name", NAMES)
def test_special_values(target, dtype, name):
    """At each place of a register, partial ones too; signs of zeros included."""
    for place, size in itertools.product(range(20), (20, 33)):
        for x, y, dx in zip(SPECIAL, RESULTS[name], GRADIENTS[name], strict=True):
            values = np.ones(size, dtype)
            clean = np.delete(_core.activation_forward(name, values), 0)
            values[place] = x
            got = _core.activation_forward(name, values, slope=0.5)
            np.testing.assert_array_equal(got[place], dtype(y))
            assert np.isnan(y) or np.signbit(got[place]) == np.signbit(y)
            assert bits(np.delete(got, place)) == bits(clean)
            saved = got if name in SAVES_Y else values
            got = _core.activation_backward(name, np.ones_like(values), saved, slope=0.5)
            np.testing.assert_array_equal(got[place], dtype(dx))
            assert np.isfinite(np.delete(got, place)).all()


@pytest.mark.parametrize("name", NAMES)
def test_gradients_that_are_not_finite_pass(target, dtype, name):
    saved = np.full(40, 0.5, dtype)
    for place, poison in itertools.product(range(40), (NAN, INF, -INF)):
        dy = np.ones(40, dtype)
        dy[place] = poison
        dx = _core.activation_backward(name, dy, saved)
        np.testing.assert_array_equal(dx[place], dtype(poison))
        assert np.isfinite(np.delete(dx, place)).all()


def test_relu_cuts_nan_of_dy_where_it_cut(target, dtype):
    dy = np.full(33, np.nan, dtype)
    dx = _core.activation_backward("relu", dy, -np.ones(33, dtype))
    assert bits(dx) == bits(np.zeros(33, dtype))


@pytest.mark.parametrize("name", NAMES)
def test_subnormal_values_are_not_flushed(target, dtype, name):
    x = np.arange(-40, 41).astype(dtype) * np.finfo(dtype).smallest_subnormal
    exact = forward(name, x.astype(oracle_dtype(dtype)))
    got = _core.activation_forward(name, x, slope=SLOPE)
    assert (abs(got - exact) <= np.maximum(smallest(dtype), np.spacing(exact.astype(dtype)))).all()
    if name in ("relu", "tanh"):
        np.testing.assert_array_equal(got, forward(name, x))


def test_results_below_the_normal_numbers(target, dtype):
    """Exponentials that underflow gradually, to half a unit and what precedes the last rounding."""
    low = -104.5 if dtype == np.float32 else -746.5
    x = np.linspace(low, low + 20, 5001).astype(dtype)
    exact = forward("sigmoid", x.astype(oracle_dtype(dtype)))
    check(_core.activation_forward("sigmoid", x), exact, ULPS["sigmoid"])
    assert _core.activation_forward("sigmoid", x)[0] == 0
    low = -14.6 if dtype == np.float32 else -38.8
    x = np.linspace(low, low + 2, 5001).astype(dtype)
    exact = forward("gelu", x.astype(oracle_dtype(dtype)))
    got = _core.activation_forward("gelu", x)
    check(got, exact, ULPS["gelu"])
    assert got[0] == 0
    assert np.signbit(got).all()


# -- what must not change a bit --------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_value_does_not_depend_on_its_place(target, dtype, rng, name):
    x = rng.standard_normal(5000).astype(dtype) * 4
    y = _core.activation_forward(name, x)
    dx = _core.activation_backward(name, x, y)
    for size in SIZES:
        begin = int(rng.integers(x.size - size + 1))
        part = slice(begin, begin + size)
        assert bits(_core.activation_forward(name, x[part])) == bits(y[part])
        assert bits(_core.activation_backward(name, x[part], y[part])) == bits(dx[part])
    every = np.concatenate([_core.activation_forward(name, x[i : i + 1]) for i in range(200)])
    assert bits(every) == bits(y[:200])


@pytest.mark.parametrize("name", NAMES)
def test_threads_change_no_bit(target, dtype, rng, threads, name):
    x, dy = (rng.standard_normal(MANY).astype(dtype) for _ in range(2))
    results = []
    for n_threads in THREADS:
        threads(n_threads)
        y = _core.activation_forward(name, x)
        results.append(bits(y) + bits(_core.activation_backward(name, dy, y)))
    assert results == results[:1] * len(THREADS)


@pytest.mark.parametrize("name", NAMES)
def test_memory_changes_no_bit(target, dtype, rng, name):
    x, dy = (rng.standard_normal((7, 13)).astype(dtype) for _ in range(2))
    y, dx = _core.activation_forward(name, x), _core.activation_backward(name, dy, x)
    for layout, other in itertools.product(LAYOUTS, repeat=2):
        got = _core.activation_forward(name, LAYOUTS[layout](x))
        assert bits(got) == bits(y), layout
        got = _core.activation_backward(name, LAYOUTS[layout](dy), LAYOUTS[other](x))
        assert bits(got) == bits(dx), (layout, other)
    for layout, other in itertools.product(WRITABLE, LAYOUTS):
        out = LAYOUTS[layout](np.full_like(x, np.nan))
        assert _core.activation_forward(name, LAYOUTS[other](x), out) is out
        assert bits(out) == bits(y), (layout, other)
        assert _core.activation_backward(name, dy, LAYOUTS[other](x), out) is out
        assert bits(out) == bits(dx), (layout, other)
    for offset in range(0, 65, x.itemsize):
        assert bits(_core.activation_forward(name, at_offset(x, offset))) == bits(y)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1, 1), (2, 3, 4, 5)])
def test_any_shape(target, dtype, rng, shape):
    x = rng.standard_normal(shape).astype(dtype)
    y = _core.activation_forward("relu", x)
    assert y.shape == x.shape
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    assert _core.activation_backward("relu", x, y).shape == x.shape


@pytest.mark.parametrize("name", NAMES)
def test_surroundings_of_the_result_are_untouched(target, dtype, rng, name):
    for size in range(71):
        x = rng.standard_normal(size).astype(dtype)
        padded = Padded(np.zeros_like(x), margin=16)
        _core.activation_forward(name, x, padded.view)
        assert padded.is_intact()
        _core.activation_backward(name, x, x, padded.view)
        assert padded.is_intact()


def test_nothing_beyond_the_operands_is_touched(target, dtype, rng):
    pages = [GuardedPages(4096) for _ in range(3)]
    for name, size, at_end in itertools.product(NAMES, range(71), (True, False)):
        x = rng.standard_normal(size).astype(dtype)
        px, ps, po = (page.put(x, at_end=at_end) for page in pages)
        assert bits(_core.activation_forward(name, px, po)) == bits(
            _core.activation_forward(name, x)
        )
        _core.activation_backward(name, px, ps, po)


def test_overlapping_operands_are_as_if_copied_first(target, dtype, rng):
    for _ in range(1500):
        memory = rng.standard_normal(200).astype(dtype)
        size = int(rng.integers(1, 60))
        views, begins = [], []
        for _ in range(3):
            step = int(rng.choice((-3, -1, 1, 2, 3)))
            span = (size - 1) * abs(step) + 1
            begin = int(rng.integers(memory.size - span + 1))
            begin += span - 1 if step < 0 else 0
            index = begin + step * np.arange(size)
            begins.append(index)
            stop = begin + step * size
            views.append(memory[begin : stop if stop >= 0 else None : step])
        dy, saved, out = views
        if rng.integers(4) == 0:
            out, begins[2] = dy, begins[0]
        name = str(rng.choice(NAMES))
        backward = bool(rng.integers(2))
        expected = memory.copy()
        if backward:
            expected[begins[2]] = _core.activation_backward(name, dy.copy(), saved.copy())
            _core.activation_backward(name, dy, saved, out)
        else:
            expected[begins[2]] = _core.activation_forward(name, dy.copy())
            _core.activation_forward(name, dy, out)
        assert bits(memory) == bits(expected)


# -- arguments -------------------------------------------------------------------------------------


def test_wrong_arguments_name_both_values_and_write_nothing(dtype):
    x, out = np.ones((3, 4), dtype), np.full((3, 4), 7, dtype)
    other = np.float64 if dtype == np.float32 else np.float32
    with pytest.raises(ValueError, match=r"name must be one of 'relu', .*'gelu', got 'swish'"):
        _core.activation_forward("swish", x, out)
    with pytest.raises(ValueError, match=r"out has shape \(3, 4\), expected \(4, 3\)"):
        _core.activation_forward("relu", x.T, out)
    with pytest.raises(ValueError, match=r"dy has shape \(3, 4\), expected \(4, 3\)"):
        _core.activation_backward("relu", x, x.T, out)
    with pytest.raises(TypeError, match=r"dy is float.. but saved is float"):
        _core.activation_backward("relu", x, x.astype(other), out)
    with pytest.raises(TypeError, match=r"out is float.. but the inputs are float"):
        _core.activation_forward("relu", x.astype(other), out)
    with pytest.raises(TypeError, match="x must be float32 or float64, got int64"):
        _core.activation_forward("relu", np.ones(3, np.int64), out)
    for slope in (-0.1, np.nan, np.inf):
        with pytest.raises(ValueError, match=f"slope must be finite and not negative, got {slope}"):
            _core.activation_forward("leaky_relu", x, out, slope)
        with pytest.raises(ValueError, match="slope must be"):
            _core.activation_backward("leaky_relu", x, x, out, slope)
    frozen = np.ones((3, 4), dtype)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="out is read-only"):
        _core.activation_forward("relu", x, frozen)
    assert (out == 7).all()
