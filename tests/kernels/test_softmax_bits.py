"""Softmax and softmax cross-entropy: what must not change a bit, or be touched."""

import itertools

import numpy as np
import pytest

from fastbn import _core

from .arrays import THREADS, bits, normal
from .memory import LAYOUTS, WRITABLE, GuardedPages, Padded, at_offset
from .softmax_checks import drawn


@pytest.mark.parametrize("cols", [1, 3, 10, 16, 17, 33, 257])
def test_a_row_does_not_depend_on_the_others(target, dtype, rng, cols):
    x, dy = drawn(rng, 40, cols, dtype), normal(rng, 40, cols, dtype=dtype)
    labels = rng.integers(cols, size=40)
    y, gradient = _core.softmax(x), _core.softmax_backward(dy, x)
    for i in range(40):
        begin = int(rng.integers(i + 1))
        end = int(rng.integers(i + 1, 41))
        part, row = slice(begin, end), i - begin
        assert bits(_core.softmax(x[part])[row]) == bits(y[i])
        assert bits(_core.softmax_backward(dy[part], x[part])[row]) == bits(gradient[i])
    losses = np.array([_core.cross_entropy(x[i : i + 1], labels[i : i + 1])[0] for i in range(40)])
    total = 0.0
    for loss in losses:
        total += loss
    assert _core.cross_entropy(x, labels)[0] == total / 40


def test_threads_change_no_bit(target, dtype, rng, threads):
    for rows, cols in ((40_000, 10), (3, 100_000), (1000, 301)):
        x, dy = normal(rng, rows, cols, dtype=dtype), normal(rng, rows, cols, dtype=dtype)
        labels = rng.integers(cols, size=rows)
        results = []
        for n_threads in THREADS:
            threads(n_threads)
            loss, cache = _core.cross_entropy(x, labels, label_smoothing=0.1)
            y = _core.softmax(x)
            arrays = (y, _core.softmax_backward(dy, y), _core.cross_entropy_backward(cache))
            results.append((loss, *map(bits, arrays)))
        assert all(result == results[0] for result in results)


def test_memory_changes_no_bit(target, dtype, rng):
    x, dy = normal(rng, 7, 13, dtype=dtype), normal(rng, 7, 13, dtype=dtype)
    labels = rng.integers(13, size=7)
    y = _core.softmax(x)
    dx = _core.softmax_backward(dy, y)
    loss, cache = _core.cross_entropy(x, labels)
    gradient = _core.cross_entropy_backward(cache)
    for layout, other in itertools.product(LAYOUTS, repeat=2):
        assert bits(_core.softmax(LAYOUTS[layout](x))) == bits(y), layout
        got = _core.softmax_backward(LAYOUTS[layout](dy), LAYOUTS[other](y))
        assert bits(got) == bits(dx), (layout, other)
        other_loss, other_cache = _core.cross_entropy(LAYOUTS[layout](x), LAYOUTS[other](labels))
        assert other_loss == loss
        assert bits(_core.cross_entropy_backward(other_cache)) == bits(gradient)
    for layout in WRITABLE:
        out = LAYOUTS[layout](np.full_like(x, np.nan))
        assert _core.softmax(x, out) is out
        assert bits(out) == bits(y), layout
        assert _core.softmax_backward(dy, y, out) is out
        assert bits(out) == bits(dx), layout
        assert _core.cross_entropy_backward(cache, out) is out
        assert bits(out) == bits(gradient), layout
    for offset in range(0, 65, x.itemsize):
        assert bits(_core.softmax(at_offset(x, offset))) == bits(y)
        other_loss, other_cache = _core.cross_entropy(at_offset(x, offset), labels)
        assert other_loss == loss
        assert bits(_core.cross_entropy_backward(other_cache)) == bits(gradient)


def test_overlapping_operands_are_as_if_copied_first(target, dtype, rng):
    for _ in range(500):
        memory = normal(rng, 200, dtype=dtype)
        rows, cols = (int(n) for n in rng.integers(1, 8, 2))
        begins = rng.integers(0, 200 - rows * cols + 1, 3)
        if rng.integers(3) == 0:
            begins[2] = begins[rng.integers(2)]
        dy, y, out = (memory[b : b + rows * cols].reshape(rows, cols) for b in begins)
        whole = slice(begins[2], begins[2] + rows * cols)
        expected = memory.copy()
        if rng.integers(2):
            expected[whole] = _core.softmax_backward(dy.copy(), y.copy()).ravel()
            _core.softmax_backward(dy, y, out)
        else:
            expected[whole] = _core.softmax(dy.copy()).ravel()
            _core.softmax(dy, out)
        assert bits(memory) == bits(expected)


def test_nothing_beyond_the_operands_is_touched(target, dtype, rng):
    pages = [GuardedPages(8192) for _ in range(3)]
    for rows, cols, at_end in itertools.product((1, 2, 3), range(1, 71), (True, False)):
        x = normal(rng, rows, cols, dtype=dtype)
        labels = rng.integers(cols, size=rows)
        px, po, pd = (page.put(x, at_end=at_end) for page in pages)
        assert bits(_core.softmax(px, po)) == bits(_core.softmax(x))
        _core.softmax_backward(px, po, pd)
        _, cache = _core.cross_entropy(px, labels, label_smoothing=0.1)
        _core.cross_entropy_backward(cache, po)
        padded = Padded(np.zeros_like(x), margin=16)
        _core.cross_entropy_backward(cache, padded.view)
        assert padded.is_intact()
