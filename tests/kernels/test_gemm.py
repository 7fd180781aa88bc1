"""Matrix products and column sums: the bound on their error, and what must not change a bit.

The sizes are around the edges of what the kernels are cut into: tiles of 4 or 8 rows by 3 registers
of 1, 2, 4, 8 or 16 lanes, taller where one or two registers wide; blocks of 128, 512 or 1024
steps (256 or 512 of float64), of 24 or 192 rows, of some hundred columns.
"""

import itertools
import mmap
import sys
from typing import Any

import numpy as np
import pytest

from fastbn import _core

from . import guard_pages, oracles
from .bounds import gemm_bound, sum_bound
from .memory import LAYOUTS, ROGUE, WRITABLE, Padded, at_offset

LANES = (1, 2, 4, 8, 16)
TILE_M = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17)
TILE_N = sorted({n * w + d for w in LANES for n in (1, 2, 3) for d in (-1, 0, 1)} - {0})
BLOCK_K = (175, 176, 177, 255, 256, 257, 353, 513)
BLOCK_M = (191, 192, 193)
BLOCK_N = (255, 256, 257, 511, 512, 513, 1025)
FACTORS = (0.0, 1.0, -1.0, 0.7)
THREADS = (1, 2, 3, 7)


class Product:
    """Random operands, in memory of a drawn kind each, and what the product must be."""

    def __init__(
        self,
        rng: np.random.Generator,
        shape: tuple[int, int, int],
        dtype: Any,
        *,
        alpha: float = 1.0,
        beta: float = 0.0,
        trans_a: bool = False,
        trans_b: bool = False,
        bias: bool = False,
        relu: bool = False,
        layouts: tuple[str, str, str] = ("contiguous", "contiguous", "padded"),
    ) -> None:
        m, n, self.k = shape
        a, b, c = (rng.standard_normal(s).astype(dtype) for s in ((m, self.k), (self.k, n), (m, n)))
        self.bias = rng.standard_normal(n).astype(dtype) if bias else None
        self.alpha, self.relu, self.dtype = alpha, relu, dtype
        self.exact, self.magnitude = oracles.gemm(a, b, c, alpha=alpha, beta=beta, bias=self.bias)
        self.padded = Padded(c.T if layouts[2] == "padded Fortran" else c)
        self.a = LAYOUTS[layouts[0]](a.T if trans_a else a)
        self.b = LAYOUTS[layouts[1]](b.T if trans_b else b)
        self.c = self.padded.view.T if layouts[2] == "padded Fortran" else self.padded.view
        self.options = dict(
            alpha=alpha,
            beta=beta,
            trans_a=trans_a,
            trans_b=trans_b,
            bias=self.bias,
            activation="relu" if relu else None,
        )

    def check(self) -> None:
        result = _core.gemm(self.a, self.b, self.c, **self.options)
        assert result is self.c
        exact = oracles.relu(self.exact) if self.relu else self.exact
        bound = gemm_bound(
            self.k, self.dtype, self.magnitude, alpha=self.alpha, bias=self.bias is not None
        )
        error = abs(result - exact)
        assert (error <= bound).all(), (
            f"error {error.max():.3g} at {np.unravel_index(error.argmax(), error.shape)}, "
            f"bound {bound.max():.3g}: {self.options}"
        )
        assert self.padded.is_intact()


def draw(rng: np.random.Generator) -> dict[str, Any]:
    """Options of a product that are not what a test is about."""
    return {
        "alpha": rng.choice(FACTORS, p=(0.1, 0.4, 0.2, 0.3)),
        "beta": rng.choice(FACTORS, p=(0.4, 0.2, 0.2, 0.2)),
        "trans_a": bool(rng.integers(2)),
        "trans_b": bool(rng.integers(2)),
        "bias": bool(rng.integers(2)),
        "relu": bool(rng.integers(2)),
        "layouts": (
            rng.choice(list(LAYOUTS)),
            rng.choice(list(LAYOUTS)),
            rng.choice(["padded", "padded Fortran"]),
        ),
    }


def bits(a: np.ndarray) -> bytes:
    return np.ascontiguousarray(a).tobytes()


def normal(rng: np.random.Generator, *shape: int, dtype: Any) -> np.ndarray:
    return rng.standard_normal(shape).astype(dtype)


# -- the bound on the error ------------------------------------------------------------------------


def test_error_bound_around_every_tile_edge(target, dtype, rng):
    for m, n in itertools.product(TILE_M, TILE_N):
        for k in (1, 2, 3, int(rng.integers(4, 20))):
            Product(rng, (m, n, k), dtype, **draw(rng)).check()


def test_error_bound_around_every_block_edge(target, dtype, rng):
    shapes = [
        *itertools.product((1, 4, 5, 9), (1, 13, 24, 49), BLOCK_K),
        *itertools.product(BLOCK_M, (3, 49, 145), (1, 5)),
        *itertools.product(BLOCK_M, (2, 13), (257,)),
        *itertools.product((1, 9), BLOCK_N, (2,)),
        (9, 97, 513), (193, 193, 257), (9, 513, 257), (257, 10, 177), (10, 1537, 40),
    ]  # fmt: skip
    for shape in shapes:
        Product(rng, shape, dtype, **draw(rng)).check()


@pytest.mark.parametrize("k", [31, 32, 33, 48, 63, 200, 1025])
@pytest.mark.parametrize("beta", [0.0, 0.7])
def test_error_bound_where_columns_of_b_are_contiguous(target, dtype, rng, k, beta):
    # from 32 steps the first row tile turns squares of B, of 8 or 16 lanes, and leaves them packed
    for m, n in itertools.product((1, 7, 8, 9, 24, 40, 130), (1, 7, 16, 17, 47, 48, 50)):
        options = {"alpha": -1.0, "beta": beta, "bias": bool(n % 2), "relu": bool(m % 2)}
        Product(rng, (m, n, k), dtype, trans_b=True, **options).check()


@pytest.mark.parametrize("k", [1, 2, 7, 8, 9, 127, 128, 129])
@pytest.mark.parametrize("trans_a", [False, True])
def test_error_bound_where_c_is_computed_row_by_row(target, dtype, rng, k, trans_a):
    # up to 128 steps, from 64 rows on (32 with 16 registers), wider than a panel
    for m, n in itertools.product((31, 32, 63, 64, 65, 79), (25, 49, 64, 97, 113)):
        layouts = ("contiguous", rng.choice(list(LAYOUTS)), "padded")
        Product(rng, (m, n, k), dtype, trans_a=trans_a, layouts=layouts).check()


@pytest.mark.parametrize("layout", ["contiguous", "every other"])
@pytest.mark.parametrize("shape", [(200, 1100, 20), (70, 530, 9)])
def test_error_bound_row_by_row_in_several_blocks_of_columns(target, dtype, rng, shape, layout):
    m, n, k = shape
    a, b = normal(rng, m, k, dtype=dtype), normal(rng, k, n, dtype=dtype)
    c = LAYOUTS[layout](np.full((m, n), np.nan, dtype))
    exact, magnitude = oracles.gemm(a, b, np.zeros((m, n)))
    assert _core.gemm(a, b, c) is c
    assert (abs(c - exact) <= gemm_bound(k, dtype, magnitude)).all()


@pytest.mark.parametrize("m", [11, 12, 13, 15, 16, 17, 24, 27, 28, 31, 32, 33, 41])
def test_error_bound_of_tall_narrow_tiles(target, dtype, rng, m):
    # 16 rows of one register, 12 of two
    for n, k in itertools.product((3, 8, 10, 16, 17, 20, 32), (33, 50)):
        Product(rng, (m, n, k), dtype, **draw(rng)).check()
    for n, beta in itertools.product((10, 20), (0.0, 0.7)):  # a k that is cut
        Product(rng, (m, n, 1100), dtype, beta=beta).check()


@pytest.mark.parametrize("beta", [0.0, 0.7])
@pytest.mark.parametrize(
    ("shape", "transposes"),
    [
        ((130, 200, 2000), {}),  # rows of A stream past two blocks of columns of B
        ((130, 200, 2000), {"trans_b": True}),
        ((40, 1100, 300), {}),  # distant rows of B, read in pieces of 128 steps
        ((200, 150, 600), {"trans_a": True}),  # columns of A, packed, in two or three steps of k
        ((129, 49, 32), {"trans_a": True}),
    ],
)
def test_error_bound_in_blocks_of_every_kind(target, dtype, rng, shape, transposes, beta):
    options = {"alpha": 0.7, "beta": beta, "bias": True, "relu": True}
    Product(rng, shape, dtype, **options, **transposes).check()


@pytest.mark.parametrize("shape", [(9, 49, 5), (8, 48, 257), (17, 25, 300)])
def test_error_bound_for_every_factor_and_transpose(target, dtype, rng, shape):
    for alpha, beta, trans_a, trans_b, c_layout in itertools.product(
        FACTORS, FACTORS, (False, True), (False, True), ("padded", "padded Fortran")
    ):
        layouts = ("contiguous", "contiguous", c_layout)
        Product(
            rng, shape, dtype, alpha=alpha, beta=beta, trans_a=trans_a, trans_b=trans_b,
            bias=bool(rng.integers(2)), layouts=layouts,
        ).check()  # fmt: skip


def test_error_bound_on_several_threads(target, dtype, rng, threads):
    for n_threads in THREADS[1:]:
        threads(n_threads)
        for shape in ((61, 97, 257), (8, 1100, 161), (1100, 8, 161), (193, 49, 150)):
            Product(rng, shape, dtype, **draw(rng)).check()


@pytest.mark.parametrize("trans_b", [False, True])
def test_no_steps_for_many_rows(target, dtype, rng, trans_b):
    Product(rng, (200, 50, 0), dtype, beta=0.7, bias=True, trans_b=trans_b).check()
    Product(rng, (200, 50, 300), dtype, alpha=0.0, beta=0.7, trans_b=trans_b).check()


def test_empty_products(target, dtype, rng):
    for m, n, k in itertools.product((0, 1, 2, 9), (0, 1, 2, 50), (0, 1, 2, 300)):
        if 0 in (m, n, k):
            for trans_a, trans_b in itertools.product((False, True), repeat=2):
                Product(
                    rng, (m, n, k), dtype, beta=0.7, bias=True, trans_a=trans_a, trans_b=trans_b
                ).check()
    np.testing.assert_array_equal(
        _core.gemm(np.ones((3, 0), dtype), np.ones((0, 4), dtype)), np.zeros((3, 4), dtype)
    )


# -- the order of roundings ------------------------------------------------------------------------


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
    for m, n, k in ((61, 97, 257), (8, 1100, 170), (1100, 8, 170), (193, 300, 40), (3, 700, 700)):
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
    [(10, 5, False), (10, 70, False), (49, 257, False), (130, 600, False), (130, 70, True)],
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


def test_epilogue_equals_separate_steps(target, dtype, rng):
    """Bias and ReLU in the product give the bits of adding and cutting afterwards."""
    for m, n, k in ((1, 1, 1), (9, 49, 5), (8, 48, 300), (17, 33, 513)):
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


# -- values that are not ordinary numbers ----------------------------------------------------------


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


# -- memory ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("m", "n", "k"), [(2, 3, 4), (9, 49, 5), (33, 100, 270)])
def test_strides_change_no_bit(target, dtype, rng, m, n, k):
    a, b = normal(rng, m, k, dtype=dtype), normal(rng, k, n, dtype=dtype)
    c, bias = normal(rng, m, n, dtype=dtype), normal(rng, n, dtype=dtype)
    expected = bits(_core.gemm(a, b, c.copy(), alpha=0.7, beta=0.7, bias=bias))
    for name_a, name_b in itertools.product(LAYOUTS, repeat=2):
        for trans_a, trans_b in itertools.product((False, True), repeat=2):
            got = _core.gemm(
                LAYOUTS[name_a](a.T if trans_a else a), LAYOUTS[name_b](b.T if trans_b else b),
                c.copy(), alpha=0.7, beta=0.7, trans_a=trans_a, trans_b=trans_b, bias=bias,
            )  # fmt: skip
            assert bits(got) == expected, (name_a, name_b, trans_a, trans_b)
    for name, name_bias in itertools.product(WRITABLE, LAYOUTS):
        out = LAYOUTS[name](c.copy())
        got = _core.gemm(a, b, out, alpha=0.7, beta=0.7, bias=LAYOUTS[name_bias](bias))
        assert got is out
        assert bits(out) == expected, name


def test_broadcast_operands(target, dtype, rng):
    """Strides of zero: one row or column, or one number, seen many times."""
    for m, n, k in ((3, 4, 5), (9, 49, 300)):
        column, row, one = (normal(rng, *s, dtype=dtype) for s in ((m, 1), (1, k), (1, 1)))
        b = np.broadcast_to(normal(rng, 1, n, dtype=dtype), (k, n))
        for narrow in (column, row, one):
            a = np.broadcast_to(narrow, (m, k))
            assert bits(_core.gemm(a, b)) == bits(_core.gemm(a.copy(), b.copy()))


def test_alignment_changes_no_bit(target, dtype, rng):
    for m, n, k in ((9, 49, 5), (33, 100, 270)):
        a, b = normal(rng, m, k, dtype=dtype), normal(rng, k, n, dtype=dtype)
        c, bias = normal(rng, m, n, dtype=dtype), normal(rng, n, dtype=dtype)
        expected = bits(_core.gemm(a, b, c.copy(), beta=0.7, bias=bias))
        for offset in range(0, 65, np.dtype(dtype).itemsize):
            for which in range(5):  # each operand alone, then all of them
                operands = [
                    at_offset(x, offset if which in (i, 4) else 0)
                    for i, x in enumerate((a, b, c, bias))
                ]
                got = _core.gemm(*operands[:3], beta=0.7, bias=operands[3])
                assert bits(got) == expected, (offset, which)


@pytest.mark.parametrize("n", [128, 144, 256, 1040])
@pytest.mark.parametrize(
    ("m", "k", "trans_a"),
    [
        (3, 40, False),
        (8, 40, False),
        (21, 300, False),
        (70, 40, False),
        (70, 9, True),
        (67, 40, True),
    ],
)
def test_alignment_changes_no_bit_where_panels_begin_on_a_line(
    target, dtype, rng, m, n, k, trans_a
):
    """Rows of whole registers: only where the first one starts decides how panels are cut.

    B is read where it lies, and C written row by row, in panels that begin on a cache line but for
    the first; m and k are on both sides of what decides between that and packing.
    """
    a = normal(rng, *((k, m) if trans_a else (m, k)), dtype=dtype)
    b = normal(rng, k, n, dtype=dtype)
    zeros = np.zeros((m, n), dtype)
    expected = bits(_core.gemm(a, at_offset(b, 0), at_offset(zeros, 0), trans_a=trans_a))
    for offset in range(0, 64, np.dtype(dtype).itemsize):
        raw = np.full(zeros.nbytes + 256, ROGUE, np.uint8)
        start = -raw.ctypes.data % 128 + 64 + offset
        c = raw[start : start + zeros.nbytes].view(dtype).reshape(m, n)
        _core.gemm(a, at_offset(b, 64 - offset), c, trans_a=trans_a)
        assert bits(c) == expected, offset
        assert (raw[:start] == ROGUE).all(), offset
        assert (raw[start + zeros.nbytes :] == ROGUE).all(), offset


def test_surroundings_of_the_result_are_untouched(target, dtype, rng):
    """Every shape up to two tiles, where a store of a whole register too many would show."""
    for m, n in itertools.product(range(1, 10), range(1, 50)):
        a, b = normal(rng, m, 2, dtype=dtype), normal(rng, 2, n, dtype=dtype)
        padded = Padded(np.zeros((m, n), dtype), margin=16)
        _core.gemm(a, b, padded.view)
        assert padded.is_intact()
        assert bits(padded.view) == bits(_core.gemm(a, b))


def random_view(rng: np.random.Generator, memory: np.ndarray, *shape: int) -> np.ndarray:
    """A slice of `memory` as a matrix or vector: any offset, order of axes, steps and signs."""
    axes = rng.permutation(len(shape))
    strides = [0] * len(shape)
    span = 1
    for axis in axes:
        strides[axis] = span * int(rng.integers(1, 3))
        span += strides[axis] * (shape[axis] - 1)
    begin = int(rng.integers(memory.size - span + 1))
    view = np.lib.stride_tricks.as_strided(
        memory[begin:], shape, [s * memory.itemsize for s in strides]
    )
    return view[tuple(slice(None, None, int(rng.choice((-1, 1)))) for _ in shape)]


def test_overlapping_operands_are_as_if_copied_first(target, dtype, rng):
    for _ in range(1500):
        m, n, k = rng.integers(1, 7, 3)
        memory = normal(rng, 200, dtype=dtype)
        a, b = random_view(rng, memory, m, k), random_view(rng, memory, k, n)
        c, bias = random_view(rng, memory, m, n), random_view(rng, memory, n)
        beta = float(rng.choice((0.0, 0.7)))
        expected = memory.copy()
        index = random_index(c, memory)
        expected[index] = _core.gemm(a.copy(), b.copy(), c.copy(), beta=beta, bias=bias.copy())
        _core.gemm(a, b, c, beta=beta, bias=bias)
        assert bits(memory) == bits(expected)


def random_index(view: np.ndarray, memory: np.ndarray) -> np.ndarray:
    """Where in `memory` the elements of a view lie."""
    first = (view.__array_interface__["data"][0] - memory.ctypes.data) // memory.itemsize
    index = np.full(view.shape, first)
    for axis, stride in enumerate(view.strides):
        steps = np.arange(view.shape[axis]) * (stride // memory.itemsize)
        index = index + steps.reshape([-1 if i == axis else 1 for i in range(view.ndim)])
    return index


def test_a_result_whose_elements_share_memory_is_refused(target, dtype, rng):
    refused = 0
    for _ in range(1500):
        m, n = rng.integers(1, 5, 2)
        memory = normal(rng, 64, dtype=dtype)
        strides = [int(s) * memory.itemsize for s in rng.integers(-3, 6, 2)]
        c = np.lib.stride_tricks.as_strided(memory[24:], (m, n), strides)
        index = random_index(c, memory)
        before = memory.copy()
        a, b = normal(rng, m, 2, dtype=dtype), normal(rng, 2, n, dtype=dtype)
        expected = before.copy()
        expected[index] = _core.gemm(a, b)
        try:
            _core.gemm(a, b, c)
        except ValueError as error:
            assert "share memory" in str(error)
            assert bits(memory) == bits(before)
            refused += 1
        else:
            assert len(np.unique(index)) == index.size
            assert bits(memory) == bits(expected)
    assert 0 < refused < 1500


@pytest.mark.skipif(sys.platform != "linux", reason="needs lazily mapped memory")
def test_more_than_2_to_the_31_elements_apart(target, dtype):
    """Rows 2^30 elements apart, in memory that is mapped when touched."""
    lead, rows = 1 << 30, 3
    size = (lead * (rows - 1) + 8) * np.dtype(dtype).itemsize
    no_reserve = 0x4000  # MAP_NORESERVE, which Python's mmap does not name everywhere
    try:
        pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | no_reserve)
    except OSError:
        pytest.skip(f"the system will not map {size >> 30} GiB that are not used")
    memory = np.frombuffer(pages, dtype)

    def far(*shape: int) -> np.ndarray:
        itemsize = memory.itemsize
        return np.lib.stride_tricks.as_strided(memory, shape, (lead * itemsize, itemsize))

    values = np.arange(rows * 5).reshape(rows, 5).astype(dtype)
    other = np.arange(5 * 5).reshape(5, 5).astype(dtype)
    far(rows, 5)[...] = values
    np.testing.assert_array_equal(_core.gemm(far(rows, 5), other), values @ other)
    np.testing.assert_array_equal(
        _core.gemm(other[:, :rows], far(rows, 5)), other[:, :rows] @ values
    )
    np.testing.assert_array_equal(
        _core.gemm(far(rows, 5), other[:rows], trans_a=True), values.T @ other[:rows]
    )
    np.testing.assert_array_equal(_core.column_sums(far(rows, 5)), values.sum(0))
    _core.gemm(values, other, far(rows, 5))
    np.testing.assert_array_equal(far(rows, 5), values @ other)


@pytest.mark.skipif(sys.platform == "win32", reason="needs mprotect")
def test_nothing_beyond_the_operands_is_touched(target):
    """Operands that end, then start, at a page that must not be touched."""
    guard_pages.run("gemm", target)


# -- arguments -------------------------------------------------------------------------------------


def test_matrix_and_lists(dtype, rng):
    a, b = normal(rng, 3, 4, dtype=dtype), normal(rng, 4, 5, dtype=dtype)
    with pytest.warns(PendingDeprecationWarning):
        matrix = np.matrix(a)
    assert bits(_core.gemm(matrix, b)) == bits(_core.gemm(a, b))
    wide = _core.gemm(a.astype(np.float64), b.astype(np.float64))
    assert bits(_core.gemm(a.tolist(), b.tolist())) == bits(wide)


@pytest.mark.parametrize(
    "kind", [">f4", ">f8", "object", "int32", "float16", "complex64", "longdouble", "bool", "S4"]
)
@pytest.mark.parametrize("which", ["a", "b", "c", "bias"])
def test_other_dtypes_are_refused(dtype, rng, kind, which):
    if np.dtype(kind) == dtype:
        pytest.skip("longdouble is float64 here")
    operands = {
        "a": normal(rng, 3, 4, dtype=dtype),
        "b": normal(rng, 4, 5, dtype=dtype),
        "c": normal(rng, 3, 5, dtype=dtype),
        "bias": normal(rng, 5, dtype=dtype),
    }
    operands[which] = operands[which].astype(kind)
    before = {name: x.copy() for name, x in operands.items()}
    with pytest.raises(TypeError, match=rf"{which}.*(float32|float64|{np.dtype(kind)})"):
        _core.gemm(**operands)
    assert all(bits(before[name]) == bits(x) for name, x in operands.items() if name != which)


def test_masked_arrays_are_refused(dtype, rng):
    a, b = normal(rng, 3, 4, dtype=dtype), normal(rng, 4, 5, dtype=dtype)
    with pytest.raises(TypeError, match="a is a masked array"):
        _core.gemm(np.ma.masked_array(a), b)
    with pytest.raises(TypeError, match="c is a masked array"):
        _core.gemm(a, b, np.ma.masked_array(np.zeros((3, 5), dtype)))


@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        (((3, 4), (5, 6)), {}, r"4 columns \(shape \(3, 4\)\).*5 rows \(shape \(5, 6\)\)"),
        (((3, 4), (3, 6)), {"trans_b": True}, r"4 columns .*6 rows \(shape \(3, 6\)\)"),
        (((3, 4), (4, 6)), {"trans_a": True}, r"3 columns \(shape \(3, 4\)\).*4 rows"),
        (((4,), (4, 6)), {}, r"a must have 2 dimensions, got 1 in shape \(4,\)"),
        (((2, 3, 4), (4, 6)), {}, r"a must have 2 dimensions, got 3 in shape \(2, 3, 4\)"),
        (((3, 4), (4,)), {}, r"b must have 2 dimensions, got 1"),
        (((3, 4), (4, 6), (3, 5)), {}, r"c has shape \(3, 5\), expected \(3, 6\)"),
        (((3, 4), (4, 6), (18,)), {}, r"c has shape \(18,\), expected \(3, 6\)"),
        (((3, 4), (4, 6), (3, 6), (3,)), {}, r"bias has shape \(3,\), expected \(6,\)"),
        (((3, 4), (4, 6), (3, 6), (1, 6)), {}, r"bias has shape \(1, 6\), expected \(6,\)"),
        (((3, 4), (4, 6), (3, 6)), {"activation": "tanh"}, r"one of 'relu', got 'tanh'"),
        (((3, 4), (4, 6)), {"beta": 0.5}, r"beta is 0.5.* but c is None"),
    ],
)
def test_wrong_arguments_name_both_values_and_write_nothing(dtype, rng, shapes, options, message):
    operands = [normal(rng, *shape, dtype=dtype) for shape in shapes]
    names = dict(zip(("a", "b", "c", "bias"), operands, strict=False))
    before = [x.copy() for x in operands]
    with pytest.raises(ValueError, match=message):
        _core.gemm(**names, **options)
    assert all(bits(x) == bits(y) for x, y in zip(operands, before, strict=True))


def test_mixed_dtypes_are_refused(rng):
    a, b = normal(rng, 3, 4, dtype=np.float32), normal(rng, 4, 5, dtype=np.float64)
    with pytest.raises(TypeError, match="a is float32 but b is float64"):
        _core.gemm(a, b)
    c = np.zeros((3, 5))
    with pytest.raises(TypeError, match="c is float64 but the inputs are float32"):
        _core.gemm(a, b.astype(np.float32), c)
    with pytest.raises(TypeError, match="bias is float64 but a is float32"):
        _core.gemm(a, b.astype(np.float32), bias=np.zeros(5))


def test_other_wrong_types(dtype, rng):
    a, b = normal(rng, 3, 4, dtype=dtype), normal(rng, 4, 5, dtype=dtype)
    with pytest.raises(TypeError, match="a must be an array, got None"):
        _core.gemm(None, b)
    with pytest.raises(TypeError, match=r"c must be a numpy\.ndarray .* got list"):
        _core.gemm(a, b, [[0.0] * 5] * 3)
    with pytest.raises(TypeError, match="activation must be None or 'relu', got bool"):
        _core.gemm(a, b, activation=True)
    c = np.zeros((3, 5), dtype)
    c.flags.writeable = False
    with pytest.raises(ValueError, match="c is read-only"):
        _core.gemm(a, b, c)
    assert not c.any()


# -- column sums -----------------------------------------------------------------------------------


def test_column_sums_error_bound(target, dtype, rng):
    rows_list = (0, 1, 2, 31, 32, 33, 63, 64, 65, 1000)
    for rows, cols in itertools.product(rows_list, [0, *TILE_N, 130]):
        x = normal(rng, rows, cols, dtype=dtype) + dtype(rng.choice((0, 100)))
        wide = x.astype(np.longdouble)
        got = _core.column_sums(x)
        assert got.shape == (cols,)
        assert got.dtype == dtype
        assert (abs(got - wide.sum(0)) <= sum_bound(rows, dtype, abs(wide).sum(0))).all()


def test_column_sums_of_integers_are_exact(target, dtype, rng):
    x = rng.integers(-1000, 1000, (3000, 50))
    np.testing.assert_array_equal(_core.column_sums(x.astype(dtype)), x.sum(0))


def test_column_sums_of_many_rows(target, rng):
    """Added up in float32 alone, 2^25 ones would end at 2^24."""
    ones = np.broadcast_to(np.float32(1), (1 << 25, 1))
    assert _core.column_sums(ones)[0] == 1 << 25


def test_column_sums_bits(target, dtype, rng, threads):
    x = normal(rng, 1001, 500, dtype=dtype)
    expected = bits(_core.column_sums(x))
    for n_threads in THREADS:
        threads(n_threads)
        assert bits(_core.column_sums(x)) == expected
    for name in LAYOUTS:
        assert bits(_core.column_sums(LAYOUTS[name](x))) == expected, name
    for offset in range(0, 65, np.dtype(dtype).itemsize):
        assert bits(_core.column_sums(at_offset(x, offset))) == expected, offset
    for cols in (1, 2, 15, 16, 17, 48, 49):  # nor do a column's bits depend on other columns
        assert bits(_core.column_sums(x[:, :cols])) == expected[: cols * x.itemsize]


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_column_sums_poison_stays_in_its_column(target, dtype, rng, poison):
    x = normal(rng, 40, 37, dtype=dtype)
    clean = _core.column_sums(x)
    for i, j in itertools.product((0, 31, 32, 39), range(37)):
        y = x.copy()
        y[i, j] = poison
        got = _core.column_sums(y)
        np.testing.assert_array_equal(got[j], dtype(poison))
        assert bits(np.delete(got, j)) == bits(np.delete(clean, j))


def test_column_sums_out(target, dtype, rng):
    x = normal(rng, 33, 50, dtype=dtype)
    expected = bits(_core.column_sums(x))
    for name in WRITABLE:
        out = LAYOUTS[name](np.full(50, np.nan, dtype))
        assert _core.column_sums(x, out) is out
        assert bits(out) == expected
    padded = Padded(np.zeros(50, dtype))
    _core.column_sums(x, padded.view)
    assert padded.is_intact()
    for row in (0, 13, 32):  # out may be part of x
        y = x.copy()
        assert bits(_core.column_sums(y, y[row])) == expected
    for _ in range(500):
        memory = normal(rng, 100, dtype=dtype)
        y, out = random_view(rng, memory, 5, 4), random_view(rng, memory, 4)
        want = memory.copy()
        want[random_index(out, memory)] = _core.column_sums(y.copy())
        _core.column_sums(y, out)
        assert bits(memory) == bits(want)


def test_column_sums_wrong_arguments(dtype, rng):
    x = normal(rng, 3, 4, dtype=dtype)
    out = np.full(3, 7, dtype)
    with pytest.raises(ValueError, match=r"out has shape \(3,\), expected \(4,\)"):
        _core.column_sums(x, out)
    with pytest.raises(ValueError, match="x must have 2 dimensions, got 1"):
        _core.column_sums(x[0], out)
    with pytest.raises(ValueError, match="share memory"):
        _core.column_sums(x, np.lib.stride_tricks.as_strided(out, (4,), (0,)))
    other = np.float64 if dtype == np.float32 else np.float32
    with pytest.raises(TypeError, match=r"out is float.. but the inputs are float"):
        _core.column_sums(x, np.zeros(4, other))
    assert (out == 7).all()
