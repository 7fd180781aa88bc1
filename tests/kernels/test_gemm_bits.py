"""Matrix products: the order of roundings, which nothing but k decides."""

import itertools

import numpy as np
import pytest

from fastbn import _core

from . import oracles
from .arrays import THREADS, bits, normal

pytestmark = pytest.mark.usefixtures("core")


@pytest.mark.parametrize(
    "shape", [(3, 5, 7), (9, 49, 40), (17, 25, 513), (1, 100, 300), (70, 113, 40), (70, 113, 8)]
)
def test_every_element_is_one_chain_over_k(target, dtype, rng, shape):
    """The order that the bits of all products follow from, repeated in NumPy step by step."""
    fused = target != "scalar"
    if fused and (dtype == np.float64 or np.finfo(np.longdouble).nmant < 63):
        pytest.skip("a fused step of float64 cannot be had in NumPy")
    m, n, k = shape
    a, b = normal(rng, m, k, dtype=dtype), normal(rng, k, n, dtype=dtype)
    assert bits(_core.gemm(a, b)) == bits(oracles.one_chain(a, b, fused=fused))


@pytest.mark.parametrize("m", [1, 3, 8, 9, 24, 43])
def test_columns_of_b_a_page_apart_have_the_same_bits(target, dtype, rng, threads, m):
    """Of such columns tiles of 8 rows, and a first one of more, load whole lines."""
    threads(1)
    page = 4096 // np.dtype(dtype).itemsize
    for n, k in ((16, 16), (50, 61), (48, 130), (33, page)):
        a, rows = normal(rng, m, k, dtype=dtype), normal(rng, n, page, dtype=dtype)
        for first in {0, (page - k) // 2, page - k}:  # where in a line they begin
            b = rows[:, first : first + k].T
            assert bits(_core.gemm(a, b)) == bits(_core.gemm(a, np.ascontiguousarray(b)))


def test_integers_are_exact_on_all_targets_and_threads(dtype, rng, threads):
    before = _core.get_target()
    try:
        for name, n_threads in itertools.product(_core.available_targets(), THREADS):
            _core.set_target(name)
            threads(n_threads)
            for m, n, k in ((1, 1, 1), (9, 49, 300), (61, 97, 257), (193, 33, 513)):
                a, b, c = (
                    rng.integers(-8, 9, shape) for shape in ((m, k), (k, n), (m, n))
                )  # all partial sums are below 2^24: 64 * 513 and what c adds
                got = _core.gemm(
                    a.astype(dtype), b.astype(dtype), c.astype(dtype), alpha=-2.0, beta=3.0
                )
                np.testing.assert_array_equal(got, -2 * (a @ b) + 3 * c)
    finally:
        _core.set_target(before)


def test_threads_change_no_bit(target, dtype, rng, threads):
    """Each product is large enough for 7 threads."""
    shapes = (
        (61, 97, 257), (8, 1100, 170), (1100, 8, 170), (3, 700, 700),
        (193, 300, 40), (100, 1000, 20),  # by up to three threads row by row
    )  # fmt: skip
    for m, n, k in shapes:
        a, b = normal(rng, m, k, dtype=dtype), normal(rng, k, n, dtype=dtype)
        c, bias = normal(rng, m, n, dtype=dtype), normal(rng, n, dtype=dtype)
        for trans_a, trans_b, f_order in itertools.product((False, True), repeat=3):
            operands = (a.T.copy() if trans_a else a, b.T.copy() if trans_b else b)
            for options in (
                {"alpha": 0.7, "beta": -1.0, "bias": bias, "activation": "relu"},
                {},
            ):
                results = []
                for n_threads in THREADS:
                    threads(n_threads)
                    out = c.copy(order="F" if f_order else "C")
                    _core.gemm(*operands, out, trans_a=trans_a, trans_b=trans_b, **options)
                    results.append(bits(out))
                assert results == results[:1] * len(THREADS)


@pytest.mark.parametrize("trans_b", [False, True])
@pytest.mark.parametrize(
    ("n", "k", "plain"),
    [
        (10, 5, False),
        (52, 11, False),
        (52, 30, True),
        (10, 70, False),
        (4, 1024, False),  # rows of A a multiple of a page apart
        (13, 1024, False),
        (28, 1024, False),
        (49, 257, False),
        (130, 600, False),
        (52, 2087, False),  # steps of k, and none a multiple of a square
        (52, 2087, True),
        (130, 40, True),
        (208, 40, True),
    ],
)
def test_a_row_does_not_depend_on_its_batch(target, dtype, rng, threads, n, k, plain, trans_b):
    most = 200
    a = normal(rng, most, k, dtype=dtype)
    b = normal(rng, *((n, k) if trans_b else (k, n)), dtype=dtype)
    c, bias = normal(rng, most, n, dtype=dtype), normal(rng, n, dtype=dtype)
    options = {"alpha": 0.7, "beta": 0.7, "bias": bias, "activation": "relu"}

    def rows(begin: int, end: int) -> np.ndarray:
        out = c[begin:end].copy()
        return _core.gemm(a[begin:end], b, out, trans_b=trans_b, **({} if plain else options))

    alone = np.concatenate([rows(i, i + 1) for i in range(most)])
    for batch in (*range(2, 20), 24, 31, 32, 33, 63, 64, 65, 192, 193, most):
        threads(int(rng.choice(THREADS)))
        begin = int(rng.integers(most - batch + 1))
        assert bits(rows(begin, begin + batch)) == bits(alone[begin : begin + batch]), batch


@pytest.mark.parametrize(("m", "n", "k", "beta"), [(193, 52, 300, 0.7), (5185, 52, 1024, 0.0)])
def test_a_last_block_of_one_row(target, dtype, rng, threads, m, n, k, beta):
    """Too few rows for the tile that turns B and leaves it packed."""
    threads(1)
    a, b = normal(rng, m, k, dtype=dtype), normal(rng, n, k, dtype=dtype)
    c = np.asfortranarray(normal(rng, m, n, dtype=dtype)) if beta else np.empty((m, n), dtype)
    expected = _core.gemm(a[-8:], b, c[-8:].copy(), beta=beta, trans_b=True)
    assert bits(_core.gemm(a, b, c, beta=beta, trans_b=True)[-8:]) == bits(expected)


@pytest.mark.parametrize("k", [64513, 32257])
def test_a_last_step_of_one(target, dtype, rng, threads, k):
    """Steps of k are rounded up to squares: the last of 64 is one multiply-add, no group.

    By its bits: of so many terms the bound on the error is larger than one of them.
    """
    threads(1)  # of fewer rows each k would not be cut
    a, b = normal(rng, 17, k, dtype=dtype), normal(rng, 16, k, dtype=dtype)
    alone = [bits(_core.gemm(a[i : i + 1], b, trans_b=True)) for i in range(17)]
    assert bits(_core.gemm(a, b, trans_b=True)) == b"".join(alone)


def test_epilogue_equals_separate_steps(target, dtype, rng):
    """Bias and ReLU in the product give the bits of adding and cutting afterwards."""
    shapes = ((1, 1, 1), (9, 49, 5), (8, 48, 300), (17, 33, 513), (33, 10, 70), (50, 3, 300))
    for m, n, k in shapes:
        a, b = normal(rng, m, k, dtype=dtype), normal(rng, k, n, dtype=dtype)
        bias = normal(rng, n, dtype=dtype)
        b[0, 0], bias[-1] = np.nan, np.inf
        for alpha, beta, order in itertools.product((1.0, -1.0, 0.7), (0.0, 0.7), "CF"):
            c = normal(rng, m, n, dtype=dtype).copy(order=order)
            plain = _core.gemm(a, b, c.copy(order=order), alpha=alpha, beta=beta)
            for with_bias, with_relu in ((True, False), (False, True), (True, True)):
                expected = plain + bias if with_bias else plain
                expected = oracles.relu(expected) if with_relu else expected
                got = _core.gemm(
                    a, b, c.copy(order=order), alpha=alpha, beta=beta,
                    bias=bias if with_bias else None, activation="relu" if with_relu else None,
                )  # fmt: skip
                np.testing.assert_array_equal(got, expected)
                assert not (np.signbit(got) & (got == 0)).any() or not with_relu
