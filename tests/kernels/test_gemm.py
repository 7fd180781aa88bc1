"""Matrix products: the bound on their error.

The sizes are around the edges of what the kernels are cut into: tiles of 4 or 8 rows by 3 registers
of 1, 2, 4, 8 or 16 lanes, taller where one or two registers wide; blocks of 128, 512 or 1024
steps (256 or 512 of float64), of 24 or 192 rows, of some hundred columns.
"""

import itertools

import numpy as np
import pytest

from fastbn import _core

from . import oracles
from .arrays import THREADS, normal
from .bounds import gemm_bound
from .gemm_checks import FACTORS, TILE_N, Product, draw
from .memory import LAYOUTS

TILE_M = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17)
BLOCK_K = (175, 176, 177, 255, 256, 257, 353, 513)
BLOCK_M = (191, 192, 193)
BLOCK_N = (255, 256, 257, 511, 512, 513, 1025)

pytestmark = pytest.mark.usefixtures("core")


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


@pytest.mark.parametrize("k", [3, 4, 5, 10, 15, 19, 31, 32, 33, 48, 63, 200, 1025, 2048])
def test_error_bound_where_columns_of_b_are_contiguous(target, dtype, rng, k):
    # squares of B, of 8 or 16 lanes, are transposed; tiles of 1 to 16 rows turn them themselves.
    # Rows of A of 2048 are a page apart, or two: packed for them.
    rows = range(1, 18) if k < 200 else (1, 4, 5, 8, 9, 16, 17)
    for m, n in itertools.product((*rows, 24, 35, 47, 130), (1, 7, 16, 17, 47, 48, 50)):
        options = {"alpha": -1.0, "bias": bool(n % 2), "relu": bool(m % 2)}
        beta = rng.choice((0.0, 0.7))  # anew for each of 147 shapes or of 77
        Product(rng, (m, n, k), dtype, trans_b=True, beta=beta, **options).check()


@pytest.mark.parametrize("k", [1, 2, 7, 8, 9, 47, 48, 49, 128])
@pytest.mark.parametrize("trans_a", [False, True])
def test_error_bound_where_c_is_computed_row_by_row(target, dtype, rng, threads, k, trans_a):
    # up to 48 steps, wider than a panel, from 64 rows on or 32 a thread; of 16 registers half of it
    for m, n in itertools.product((15, 16, 17, 31, 32, 63, 64, 65, 79), (25, 49, 64, 97, 113)):
        threads(int(rng.choice(THREADS)))
        layouts = ("contiguous", rng.choice(list(LAYOUTS)), "padded")
        Product(rng, (m, n, k), dtype, trans_a=trans_a, layouts=layouts).check()


@pytest.mark.parametrize("layout", ["contiguous", "every other"])
# blocks of 1024 floats or 512 doubles: a last one of a column would be narrower than a panel
@pytest.mark.parametrize("shape", [(200, 1100, 20), (70, 530, 9), (70, 1025, 9), (77, 2049, 14)])
def test_error_bound_row_by_row_in_several_blocks_of_columns(target, dtype, rng, shape, layout):
    m, n, k = shape
    a, b = normal(rng, m, k, dtype=dtype), normal(rng, k, n, dtype=dtype)
    c = LAYOUTS[layout](np.full((m, n), np.nan, dtype))
    exact, magnitude = oracles.gemm(a, b, np.zeros((m, n)))
    assert _core.gemm(a, b, c) is c
    assert (abs(c - exact) <= gemm_bound(k, dtype, magnitude)).all()


@pytest.mark.parametrize("m", [16, 31, 32, 33, 64, 75, 130])
def test_error_bound_of_a_few_outputs(target, dtype, rng, threads, m):
    # from 64 steps on C.T is computed, whose columns are rows of A
    for n, k in itertools.product((1, 2, 3, 4, 6, 10, 12, 13), (63, 64, 70, 300, 1100)):
        threads(int(rng.choice(THREADS)))
        Product(rng, (m, n, k), dtype, **draw(rng)).check()
        Product(rng, (m, n, k), dtype, bias=True, relu=True).check()


@pytest.mark.parametrize("m", [6, 7, 10, 11, 12, 13, 15, 16, 17, 24, 27, 28, 31, 32, 33, 41])
def test_error_bound_of_tall_narrow_tiles(target, dtype, rng, m):
    # 16 rows of one register, 12 of two; of 16 registers 12 and 6
    for n, k in itertools.product((3, 8, 10, 16, 17, 20, 32), (33, 50)):
        Product(rng, (m, n, k), dtype, **draw(rng)).check()
    for n, beta in itertools.product((10, 20), (0.0, 0.7)):  # a k that is cut
        Product(rng, (m, n, 1100), dtype, beta=beta).check()


@pytest.mark.parametrize("beta", [0.0, 0.7])
@pytest.mark.parametrize(
    ("shape", "transposes"),
    [
        ((130, 200, 600), {}),  # each panel of B is packed where the one before was
        ((130, 200, 600), {"trans_b": True}),
        ((421, 50, 520), {}),  # and packed anew for each of two or three blocks of rows
        ((421, 50, 520), {"trans_b": True}),
        ((530, 50, 1100), {}),
        ((130, 300, 2000), {}),  # rows of A stream past two blocks of columns of B
        ((130, 300, 2000), {"trans_b": True}),
        ((40, 1100, 300), {}),  # distant rows of B, read in pieces of 128 steps
        ((200, 150, 600), {"trans_a": True}),  # columns of A, packed, in two or three steps of k
        ((129, 49, 32), {"trans_a": True}),
        ((100, 50, 192), {"trans_a": True}),  # close columns of A, for 4-row tiles
        ((50, 50, 193), {"trans_a": True}),
        ((130, 300, 600), {"trans_a": True, "trans_b": True}),
    ],
)
def test_error_bound_in_blocks_of_every_kind(target, dtype, rng, threads, shape, transposes, beta):
    threads(1)  # a part of C would have other blocks
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
