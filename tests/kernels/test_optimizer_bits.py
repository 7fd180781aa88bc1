"""Optimizer updates: what must not change a bit, or be touched; parts of arrays."""

import itertools
from typing import Any

import numpy as np
import pytest

from fastbn import _core

from .arrays import THREADS, bits
from .memory import LAYOUTS, WRITABLE, GuardedPages, Padded, at_offset
from .optimizer_checks import drawn

MANY = 500_003


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
