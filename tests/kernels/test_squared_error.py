"""The mean squared error and its gradient, against float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastbn import _core

DTYPES = [np.float32, np.float64]
# Around registers, their chains, runs of 64 registers and chunks of 16,384 elements.
SIZES = [1, 2, 3, 15, 16, 17, 63, 64, 65, 127, 1023, 1024, 1025, 16383, 16384, 16385, 100_003]


def operands(n: int, dtype: Any, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(n).astype(dtype) for _ in range(2))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_against_float64(n: int, dtype: Any, target: str) -> None:
    x, t = operands(n, dtype)
    loss, difference = _core.squared_error(x, t)
    np.testing.assert_array_equal(difference, x - t, strict=True)
    # Each square is rounded once, and a sum of at most 64 + 7 terms; sums of runs are doubles.
    exact = float(np.mean((x - t).astype(np.longdouble) ** 2))
    assert abs(loss - exact) <= 72 * np.finfo(dtype).eps * exact


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_bits_do_not_depend_on_threads_or_memory(
    n: int, dtype: Any, target: str, threads: Callable[[int], None]
) -> None:
    x, t = operands(n, dtype)
    results = []
    for n_threads in (1, 2, 3):
        threads(n_threads)
        for offset in (0, 1, 5):
            memory = [np.empty(n + 8, dtype)[offset : offset + n] for _ in range(3)]
            memory[0][:], memory[1][:] = x, t
            loss, difference = _core.squared_error(*memory)
            results.append((loss, difference.tobytes(), _core.scale(difference, 1 / 3).tobytes()))
    assert all(result == results[0] for result in results)


def test_many_small_terms_are_not_lost(target: str) -> None:
    """Ones, summed as float32 one by one, would end at 2**24."""
    n = 2**24 + 2**20
    loss, _ = _core.squared_error(np.ones(n, np.float32), np.zeros(n, np.float32))
    assert loss == 1.0


@pytest.mark.parametrize("dtype", DTYPES)
def test_scale(dtype: Any, target: str) -> None:
    for n in SIZES:
        x, out = operands(n, dtype)
        assert _core.scale(x, 0.1, out) is out
        np.testing.assert_array_equal(out, x * dtype(0.1), strict=True)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_what_is_not_finite_shows(value: float) -> None:
    x = np.zeros(100, np.float32)
    x[37] = value
    loss, _ = _core.squared_error(x, np.zeros_like(x))
    assert np.isnan(loss) if np.isnan(value) else loss == np.inf


def test_refused() -> None:
    x, t = np.zeros((2, 3), np.float32), np.zeros((3, 2), np.float32)
    with pytest.raises(ValueError, match=r"targets has shape \(3, 2\), expected \(2, 3\)"):
        _core.squared_error(x, t)
    with pytest.raises(TypeError, match="predictions is float32 but targets is float64"):
        _core.squared_error(x, np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"no elements.*\(0, 3\)"):
        _core.squared_error(x[:0], x[:0])
    for out in (x, t.reshape(2, 3)):
        with pytest.raises(ValueError, match="the result overlaps"):
            _core.squared_error(x, t.reshape(2, 3), out)
    with pytest.raises(ValueError, match="the result overlaps x"):
        _core.scale(x, 2.0, x)
    assert not x.any()
