"""Matrix products of values that are not ordinary numbers."""

import itertools
from typing import Any

import numpy as np
import pytest

from fastbn import _core

from . import oracles
from .arrays import bits, normal
from .bounds import gemm_bound


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("order", ["C", "F"])
def test_beta_0_does_not_read_c(target, dtype, rng, poison, order):
    for m, n, k in itertools.product((1, 4, 5, 8, 9), (1, 3, 16, 48, 49), (0, 3, 300)):
        a, b = normal(rng, m, k, dtype=dtype), normal(rng, k, n, dtype=dtype)
        c = np.full((m, n), poison, dtype, order=order)
        assert bits(_core.gemm(a, b, c)) == bits(_core.gemm(a, b))
        assert np.isfinite(c).all()


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_alpha_0_does_not_read_a_and_b(target, dtype, rng, poison):
    for m, n, k in itertools.product((1, 4, 9), (1, 48, 49), (1, 300)):
        a, b = np.full((m, k), poison, dtype), np.full((k, n), poison, dtype)
        c, bias = normal(rng, m, n, dtype=dtype), normal(rng, n, dtype=dtype)
        got = _core.gemm(a, b, c.copy(), alpha=0.0, beta=-1.0, bias=bias)
        np.testing.assert_array_equal(got, -c + bias)
        np.testing.assert_array_equal(_core.gemm(a, b, alpha=0.0), np.zeros((m, n), dtype))


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("relu", [False, True])
def test_one_poisoned_element_at_each_position(target, dtype, rng, poison, relu):
    m, n, k = 9, 50, 3
    a, b, c = (normal(rng, *s, dtype=dtype) for s in ((m, k), (k, n), (m, n)))
    bias = normal(rng, n, dtype=dtype)
    operands = {"a": a, "b": b, "c": c, "bias": bias}

    def product() -> np.ndarray:
        return _core.gemm(
            a, b, c.copy(), alpha=0.7, beta=-1.0, bias=bias, activation="relu" if relu else None
        )

    clean = product()
    for name, operand in operands.items():
        for position in np.ndindex(operand.shape):
            kept = operand[position]
            operand[position] = poison
            got = product()
            with np.errstate(invalid="ignore"):
                expected = dtype(0.7) * (a @ b) - c + bias
            expected = oracles.relu(expected) if relu else expected
            touched = ~np.isfinite(expected)
            np.testing.assert_array_equal(got[touched], expected[touched], err_msg=name)
            operand[position] = kept
            reach = np.zeros((m, n), bool)
            where: Any = {"a": (position[0],), "b": (..., position[-1])}.get(name, (..., *position))
            reach[where] = True
            assert bits(got[~reach]) == bits(clean[~reach]), (name, position)


def test_poison_at_the_edges_of_blocks_of_k(target, dtype, rng):
    a, b = normal(rng, 9, 600, dtype=dtype), normal(rng, 600, 20, dtype=dtype)
    for p in (0, 149, 150, 175, 176, 255, 256, 299, 300, 511, 512, 599):
        kept = a[4, p]
        a[4, p] = np.nan
        assert np.isnan(_core.gemm(a, b)).sum() == 20
        a[4, p] = kept


def test_subnormal_and_extreme_values(target, dtype, rng):
    """The bound holds where results lose digits to underflow, within the smallest subnormal."""
    tiny, far = np.finfo(dtype).smallest_subnormal, 60
    for m, n, k in ((1, 1, 1), (9, 49, 20), (8, 16, 300)):
        for kind in ("wide", "small", "subnormal"):
            a, b, c = (normal(rng, *s, dtype=dtype) for s in ((m, k), (k, n), (m, n)))
            if kind == "wide":
                a *= np.exp2(rng.integers(-far, far + 1, a.shape)).astype(dtype)
                b *= np.exp2(rng.integers(-far, far + 1, b.shape)).astype(dtype)
            elif kind == "small":  # products around the smallest normal number
                half = np.sqrt(np.finfo(dtype).tiny)
                a, b, c = a * half, b * half, c * np.finfo(dtype).tiny
            else:
                a, c = (a * 50).round() * tiny, (c * 50).round() * tiny
            exact, magnitude = oracles.gemm(a, b, c, alpha=0.7, beta=-1.0)
            got = _core.gemm(a, b, c.copy(), alpha=0.7, beta=-1.0)
            assert (abs(got - exact) <= gemm_bound(k, dtype, magnitude, alpha=0.7)).all()


def test_sums_of_signed_zeros_are_positive(target, dtype):
    """A chain starts at +0, so that no product of zeros is -0."""
    for left, right in itertools.product((0.0, -0.0), repeat=2):
        got = _core.gemm(np.full((9, 3), left, dtype), np.full((3, 50), right, dtype))
        assert bits(got) == bits(np.zeros((9, 50), dtype))
