"""Batch norm's results in the caller's memory: in place, overlapping, and what lies around them."""

import sys
from typing import Any

import numpy as np
import pytest

from fastbn import _core

from . import guard_pages
from .arrays import bits, normal
from .batchnorm_checks import SMALL, parameters
from .memory import LAYOUTS, ROGUE, WRITABLE, Padded, at_offset


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("shape", "axis"), SMALL)
def test_out_is_written_in_place(target, dtype, rng, shape, axis, training):
    x, dy = normal(rng, *shape, dtype=dtype), normal(rng, *shape, dtype=dtype)
    channels = shape[axis]
    p = parameters(rng, channels, dtype)
    statistics = dict(running_mean=np.zeros(channels, dtype), running_var=np.ones(channels, dtype))
    options = dict(training=training, axis=axis, momentum=0.0, **statistics)
    y, cache = _core.batch_norm(x, **p, **options)
    expected = _core.batch_norm_backward(dy, cache)
    for name in WRITABLE:
        out = LAYOUTS[name](np.full(shape, np.nan, dtype))
        got, cache = _core.batch_norm(x, **p, **options, out=out)
        assert got is out
        assert bits(out) == bits(y), name
        outs = [LAYOUTS[name](np.full(a.shape, np.nan, dtype)) for a in expected]
        got = _core.batch_norm_backward(dy, cache, out=outs[0], dgamma=outs[1], dbeta=outs[2])
        for a, b, c in zip(got, outs, expected, strict=True):
            assert a is b
            assert bits(b) == bits(c), name


@pytest.mark.parametrize(("shape", "axis"), SMALL)
def test_surroundings_of_the_results_are_untouched(target, dtype, rng, shape, axis):
    x, dy = normal(rng, *shape, dtype=dtype), normal(rng, *shape, dtype=dtype)
    channels = shape[axis]
    out, dx = Padded(np.zeros(shape, dtype)), Padded(np.zeros(shape, dtype))
    mean, var, dgamma, dbeta = (Padded(np.zeros(channels, dtype), margin=16) for _ in range(4))
    kept = x.copy()
    _, cache = _core.batch_norm(
        x, None, None, mean.view, var.view, training=True, axis=axis, out=out.view
    )
    _core.batch_norm_backward(dy, cache, out=dx.view, dgamma=dgamma.view, dbeta=dbeta.view)
    assert all(padded.is_intact() for padded in (out, dx, mean, var, dgamma, dbeta))
    assert bits(x) == bits(kept)


@pytest.mark.parametrize("columns", [0, 1, 3, 8])
def test_rows_half_a_page_apart(target, dtype, rng, columns):
    """They begin with columns before a line where those of other distances do not."""
    half_page = 2048 // np.dtype(dtype).itemsize

    shape = 70, half_page - columns

    def among_nan(values, apart, offset):
        whole = at_offset(np.full((len(values), apart), np.nan, dtype), offset)
        whole[:, : shape[1]] = values
        return whole

    x, dy = normal(rng, *shape, dtype=dtype), normal(rng, *shape, dtype=dtype)
    p = parameters(rng, shape[1], dtype)
    results = []
    for apart, offset in ((half_page + 3, 0), *((half_page, past) for past in (0, 8, 16, 48, 56))):
        arrays = [among_nan(values, apart, offset) for values in (x, dy, x, dy)]
        x_here, dy_here, out, dx = (whole[:, : shape[1]] for whole in arrays)
        _, cache = _core.batch_norm(x_here, **p, training=True, activation="relu", out=out)
        _, *sums = _core.batch_norm_backward(dy_here, cache, out=dx)
        results.append([bits(values) for values in (out, dx, *sums)])
        assert all(np.isnan(whole[:, shape[1] :]).all() for whole in arrays)
    assert all(result == results[0] for result in results)


@pytest.mark.parametrize(("shape", "axis"), SMALL)
def test_results_may_begin_anywhere_in_a_line(target, dtype, rng, shape, axis):
    x, dy = normal(rng, *shape, dtype=dtype), normal(rng, *shape, dtype=dtype)
    p = parameters(rng, shape[axis], dtype)
    y, cache = _core.batch_norm(x, **p, training=True, axis=axis)
    dx, *_ = _core.batch_norm_backward(dy, cache)
    for offset in range(0, 65, x.itemsize):
        memory = np.full((2, x.nbytes + 256), ROGUE, np.uint8)
        begins = [-raw.ctypes.data % 128 + offset for raw in memory]
        outs = [
            raw[begin : begin + x.nbytes].view(dtype).reshape(shape)
            for raw, begin in zip(memory, begins, strict=True)
        ]
        _core.batch_norm(x, **p, training=True, axis=axis, out=outs[0])
        _core.batch_norm_backward(dy, cache, out=outs[1])
        assert [bits(out) for out in outs] == [bits(y), bits(dx)], offset
        for raw, begin in zip(memory, begins, strict=True):
            assert (raw[:begin] == ROGUE).all()
            assert (raw[begin + x.nbytes :] == ROGUE).all()


@pytest.mark.parametrize(("shape", "axis"), SMALL)
def test_in_place_inference_and_backward(target, dtype, rng, shape, axis):
    x, dy = normal(rng, *shape, dtype=dtype), normal(rng, *shape, dtype=dtype)
    channels = shape[axis]
    p = parameters(rng, channels, dtype)
    mean, var = normal(rng, channels, dtype=dtype), rng.random(channels).astype(dtype)
    options = dict(running_mean=mean, running_var=var, training=False, axis=axis)
    y, cache = _core.batch_norm(x, **p, **options)
    dx = _core.batch_norm_backward(dy, cache)[0]
    for name in WRITABLE:
        both = LAYOUTS[name](x.copy())
        got, own_cache = _core.batch_norm(both, **p, **options, out=both)
        assert got is both
        assert bits(both) == bits(y), name
        if own_cache.x is both:  # not a copy: what the backward pass needs is gone
            with pytest.raises(ValueError, match="wrote its result over x"):
                _core.batch_norm_backward(dy, own_cache)
        gradient = LAYOUTS[name](dy.copy())
        assert _core.batch_norm_backward(gradient, cache, out=gradient)[0] is gradient
        assert bits(gradient) == bits(dx), name


def test_training_in_place_is_refused(dtype, rng):
    x = normal(rng, 9, 5, dtype=dtype)
    kept = x.copy()
    with pytest.raises(ValueError, match="out overlaps x"):
        _core.batch_norm(x, None, None, training=True, out=x)
    whole = normal(rng, 10, 5, dtype=dtype)
    with pytest.raises(ValueError, match="out overlaps x"):
        _core.batch_norm(whole[1:], None, None, training=True, out=whole[:-1])
    _, cache = _core.batch_norm(x, None, None, training=True)
    with pytest.raises(ValueError, match="out overlaps the x"):
        _core.batch_norm_backward(x.copy(), cache, out=x)
    assert bits(x) == bits(kept)


@pytest.mark.parametrize("result", ["out", "dgamma", "dbeta"])
def test_gradients_over_the_weights_are_refused(dtype, rng, result):
    x, weights = normal(rng, 9, 1, dtype=dtype), rng.random(9).astype(dtype)
    kept = weights.copy()
    _, cache = _core.batch_norm(x, None, None, training=True, weights=weights)
    over = weights[:, None] if result == "out" else weights[:1]
    with pytest.raises(ValueError, match=f"{result} overlaps the weights"):
        _core.batch_norm_backward(x.copy(), cache, **{result: over})
    assert bits(weights) == bits(kept)


def test_neighbours_in_memory_do_not_overlap(target, dtype, rng):
    """Columns of one array: their bounds overlap, their elements do not."""
    whole, pairs = np.zeros((9, 15), dtype), np.ones((5, 4), dtype)
    x, out, dx = whole[:, :5], whole[:, 5:10], whole[:, 10:]
    x[...] = normal(rng, 9, 5, dtype=dtype)
    mean, var, dgamma, dbeta = pairs.T
    y, cache = _core.batch_norm(
        x, None, None, mean, var, training=True, momentum=1.0, activation="relu", out=out
    )
    results = out, *_core.batch_norm_backward(out, cache, out=dx, dgamma=dgamma, dbeta=dbeta)
    own_mean, own_var = np.ones((2, 5), dtype)
    want, cache = _core.batch_norm(
        x.copy(), None, None, own_mean, own_var, training=True, momentum=1.0, activation="relu"
    )
    wanted = want, *_core.batch_norm_backward(want, cache), own_mean, own_var
    assert [bits(a) for a in (*results, mean, var)] == [bits(a) for a in wanted]


class Views:
    """Slices of one piece of memory at random offsets, which may overlap."""

    def __init__(self, rng: np.random.Generator, dtype: Any) -> None:
        self.rng, self.memory = rng, normal(rng, 90, dtype=dtype)

    def __call__(self, *shape: int) -> np.ndarray:
        step = int(self.rng.integers(1, 3)) if len(shape) == 1 else 1
        size = int(np.prod(shape)) * step
        begin = int(self.rng.integers(self.memory.size - size + 1))
        return self.memory[begin : begin + size : step].reshape(shape)

    def expected(self, results: list[tuple[np.ndarray, np.ndarray]]) -> bytes:
        """The memory after each result has been written to its view."""
        memory = self.memory.copy()
        for view, values in results:
            first = (view.ctypes.data - self.memory.ctypes.data) // memory.itemsize
            strides = view.strides
            np.lib.stride_tricks.as_strided(memory[first:], view.shape, strides)[...] = values
        return memory.tobytes()


def test_overlapping_operands_are_as_if_copied_first_or_refused(target, dtype, rng):
    refused = 0
    for _ in range(2000):
        views = Views(rng, dtype)
        training = bool(rng.integers(2))
        shape = (4, 3) if rng.integers(2) else (2, 3, 2)  # one panel of channels, or three
        x, out = views(*shape), views(*shape)
        gamma, beta, mean, var = (views(3) for _ in range(4))
        np.abs(var, out=var)
        options = dict(training=training, activation="relu")
        copies = [a.copy() for a in (x, gamma, beta, mean, var)]
        y, cache = _core.batch_norm(*copies, **options)
        results = [(out, y), *([(mean, copies[3]), (var, copies[4])] if training else [])]
        before, expected = views.memory.tobytes(), views.expected(results)
        dy = normal(rng, *shape, dtype=dtype)
        try:
            _, got_cache = _core.batch_norm(x, gamma, beta, mean, var, **options, out=out)
        except ValueError as error:
            assert "overlap" in str(error)
            assert views.memory.tobytes() == before
            refused += 1
            continue
        assert views.memory.tobytes() == expected
        if not np.shares_memory(x, out):
            want = _core.batch_norm_backward(dy, cache)
            got = _core.batch_norm_backward(dy, got_cache)
            assert [bits(a) for a in got] == [bits(a) for a in want]
    assert 0 < refused < 2000


def test_overlapping_gradients_are_as_if_copied_first_or_refused(target, dtype, rng):
    refused = 0
    for _ in range(2000):
        views = Views(rng, dtype)
        shape = (4, 3) if rng.integers(2) else (2, 3, 2)
        x, dy, dx, dgamma, dbeta = views(*shape), views(*shape), views(*shape), views(3), views(3)
        options = dict(activation="relu", training=True)
        _, own_cache = _core.batch_norm(x.copy(), None, None, **options)
        _, cache = _core.batch_norm(x, None, None, **options)
        results = _core.batch_norm_backward(dy.copy(), own_cache)
        expected = views.expected(list(zip((dx, dgamma, dbeta), results, strict=True)))
        before = views.memory.tobytes()
        try:
            _core.batch_norm_backward(dy, cache, out=dx, dgamma=dgamma, dbeta=dbeta)
        except ValueError as error:
            assert "overlap" in str(error)
            assert views.memory.tobytes() == before
            refused += 1
        else:
            assert views.memory.tobytes() == expected
    assert 0 < refused < 2000


def test_the_cache_holds_references(dtype, rng):
    x = normal(rng, 9, 5, dtype=dtype)
    _, cache = _core.batch_norm(x, None, None, training=True)
    assert np.shares_memory(cache.x, x)
    assert cache.training
    assert cache.mean.shape == cache.invstd.shape == (5,)
    with pytest.raises(ValueError, match="read-only"):
        cache.mean[0] = 0
    _core.batch_norm_backward(x.copy(), cache)  # and may be used again
    first, second = (_core.batch_norm_backward(np.ones_like(x), cache) for _ in range(2))
    assert [bits(a) for a in first] == [bits(a) for a in second]


@pytest.mark.skipif(sys.platform == "win32", reason="needs mprotect")
def test_nothing_beyond_the_operands_is_touched(target):
    """Operands that end, then start, at a page that must not be touched."""
    guard_pages.run("batch_norm", target)
