"""`fastbn.matmul` of vectors and of stacks of matrices gives what `numpy.matmul` gives."""

import numpy as np
import pytest

from fastbn import functional

from .arrays_and_bounds import DTYPES, arrays, read_only
from .matmul_checks import assert_same_product, outcome

# -- a matrix and a vector -------------------------------------------------------------------------


VECTORS = {
    "contiguous": lambda v: v.copy(),
    "every other": lambda v: np.repeat(v, 2)[::2],
    "reversed": lambda v: v[::-1].copy()[::-1],
    "repeated": lambda v: np.broadcast_to(v[:1], v.shape),
    "unaligned": lambda v: np.frombuffer(b"\0" + v.tobytes(), v.dtype, v.size, 1),
    "big-endian": lambda v: v.astype(v.dtype.newbyteorder(">")),
    "of another type": lambda v: v.astype(np.float16),
    "too long": lambda v: np.append(v, v[:1]),
    "a subclass": lambda v: np.ma.masked_less(v, 0),
}
OUTS_OF_VECTORS = {
    "contiguous": lambda n, d: np.full(n, np.nan, d),
    "every other": lambda n, d: np.full(2 * n, 7, d)[::2],
    "reversed": lambda n, d: np.full(n, 7, d)[::-1],
    "one place": lambda n, d: np.lib.stride_tricks.as_strided(np.zeros(1, d), (n,), (0,)),
    "a row": lambda n, d: np.zeros((1, n), d),
    "a column": lambda n, d: np.zeros((n, 1), d),
    "wider": lambda n, d: np.zeros(n, np.complex128),
    "too short": lambda n, d: np.zeros(n - 1, d),
    "read-only": lambda n, d: read_only((n,), d),
    "big-endian": lambda n, d: np.zeros(n, np.dtype(d).newbyteorder(">")),
    "none": lambda n, d: None,
}


def with_vector(rng, dtype, vector_first, vector=VECTORS["contiguous"], k=6, n=5):
    """Return the operands of a product of a vector of k values and a matrix, and its length n."""
    v, matrix = arrays(rng, k, (k, n), dtype=dtype)
    return (vector(v), matrix, n) if vector_first else (matrix.T.copy(), vector(v), n)


@pytest.mark.parametrize("vector_first", [True, False])
@pytest.mark.parametrize("vector", VECTORS.values(), ids=VECTORS.keys())
@pytest.mark.parametrize("dtype", DTYPES)
def test_matmul_of_a_vector_is_numpys(rng, dtype, vector, vector_first):
    a, b, _ = with_vector(rng, dtype, vector_first, vector)
    assert_same_product(outcome(functional.matmul, a, b), outcome(np.matmul, a, b), a, b)


@pytest.mark.parametrize("vector_first", [True, False])
@pytest.mark.parametrize("make", OUTS_OF_VECTORS.values(), ids=OUTS_OF_VECTORS.keys())
@pytest.mark.parametrize("dtype", DTYPES)
def test_matmul_of_a_vector_into_out_is_numpys(rng, dtype, make, vector_first):
    a, b, n = with_vector(rng, dtype, vector_first)
    out, other = make(n, dtype), make(n, dtype)
    actual, expected = outcome(functional.matmul, a, b, out), outcome(np.matmul, a, b, out=other)
    if isinstance(expected, type):
        assert actual is expected
        return
    assert out is None or actual is out
    assert type(actual) is type(expected)
    assert actual.shape == expected.shape
    if make is not OUTS_OF_VECTORS["one place"]:  # which holds the last product written
        assert_same_product(np.asarray(actual), np.asarray(expected), a, b)


@pytest.mark.parametrize("vector_first", [True, False])
@pytest.mark.parametrize("which", ["vector", "shifted", "matrix"])
def test_matmul_of_a_vector_out_may_be_an_operand(rng, which, vector_first):
    memory = rng.standard_normal(60)
    v, matrix = memory[:6], memory[12:48].reshape(6, 6)
    out = {"vector": v, "shifted": memory[2:8], "matrix": matrix[3]}[which]
    operands = (v, matrix) if vector_first else (matrix, v)
    expected = functional.matmul(*(x.copy() for x in operands))
    assert functional.matmul(*operands, out=out) is out
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("k", "n"), [(1, 1), (1, 5), (5, 1), (3, 4), (40, 100), (130, 70)])
def test_matmul_of_a_vector_has_the_bits_of_one_row(rng, dtype, k, n):
    v, matrix = arrays(rng, k, (k, n), dtype=dtype)
    row = functional.matmul(v[np.newaxis], matrix)
    np.testing.assert_array_equal(functional.matmul(v, matrix), row[0])
    np.testing.assert_array_equal(functional.matmul(matrix.T, v), row[0])
    np.testing.assert_array_equal(functional.matmul(matrix.T.copy(), v), row[0])
    rows = functional.matmul(np.stack([v, v, v]), matrix)
    np.testing.assert_array_equal(rows, np.broadcast_to(row, rows.shape))


# -- stacks of matrices ----------------------------------------------------------------------------

# Of 4,096 multiply-adds a matrix and more, which are not left to NumPy.
STACKS = {
    "as many of both": ((3, 16, 20), (3, 20, 16)),
    "one matrix on the right": ((2, 3, 16, 20), (20, 16)),
    "one matrix on the left": ((16, 20), (4, 20, 16)),
    "broadcast": ((2, 1, 16, 20), (5, 20, 16)),
    "broadcast both ways": ((4, 1, 1, 20, 16), (3, 2, 16, 20)),
    "one of each": ((1, 16, 20), (1, 20, 16)),
    "rows": ((5, 1, 70), (5, 70, 90)),
    "columns": ((5, 90, 70), (5, 70, 1)),
    "many": ((70, 16, 17), (70, 17, 18)),
    "none": ((0, 16, 20), (0, 20, 16)),
    "no match": ((2, 16, 20), (3, 20, 16)),
    "sizes differ": ((2, 16, 20), (2, 21, 16)),
    "vector on the left": ((90,), (3, 90, 50)),
    "vector on the right": ((3, 50, 90), (90,)),
}
STRIDES = {
    "contiguous": lambda a: a,
    "Fortran": np.asfortranarray,
    "reversed": lambda a: a[..., ::-1].copy()[..., ::-1],
    "stack reversed": lambda a: a[::-1].copy()[::-1],
    "amid others": lambda a: np.repeat(np.repeat(a, 2, axis=-1)[..., ::2], 3, axis=0)[::3],
    "turned": lambda a: np.moveaxis(np.moveaxis(a, 0, -1).copy(), -1, 0),
    "repeated": lambda a: np.broadcast_to(a[:1], a.shape),
}


@pytest.mark.parametrize("strides", STRIDES.values(), ids=STRIDES.keys())
@pytest.mark.parametrize("shapes", STACKS.values(), ids=STACKS.keys())
@pytest.mark.parametrize("dtype", DTYPES)
def test_matmul_of_stacks_is_numpys(rng, dtype, shapes, strides):
    a, b = (strides(x) for x in arrays(rng, *shapes, dtype=dtype))
    actual, expected = outcome(functional.matmul, a, b), outcome(np.matmul, a, b)
    assert_same_product(actual, expected, a, b)
    if isinstance(expected, type) or 1 in (a.ndim, b.ndim):
        return
    out = np.full_like(expected, np.nan)
    assert functional.matmul(a, b, out=out) is out
    np.testing.assert_array_equal(out, actual)
    places = expected.shape[:-2]
    a, b = (np.broadcast_to(x, (*places, *x.shape[-2:])) for x in (a, b))
    for place in np.ndindex(places):  # the bits of matrices by themselves
        np.testing.assert_array_equal(actual[place], functional.matmul(a[place], b[place]))


OUTS_OF_STACKS = {
    "Fortran": lambda s, d: np.full(s[::-1], np.nan, d).T,
    "amid others": lambda s, d: np.full((2 * s[0], s[1], 3 * s[2]), 7, d)[::2, :, ::3],
    "reversed": lambda s, d: np.zeros(s, d)[::-1],
    "wider": lambda s, d: np.zeros(s, np.complex128),
    "narrower": lambda s, d: np.zeros(s, np.float16),
    "a dimension more": lambda s, d: np.zeros((1, *s), d),
    "a dimension less": lambda s, d: np.zeros(s[1:], d),
    "another number of places": lambda s, d: np.zeros((s[0] + 1, *s[1:]), d),
    "too few rows": lambda s, d: np.zeros((s[0], s[1] - 1, s[2]), d),
    "too many columns": lambda s, d: np.zeros((*s[:2], s[2] + 1), d),
    "read-only": read_only,
    "one place": lambda s, d: np.lib.stride_tricks.as_strided(np.zeros(1, d), s, (0, 0, 0)),
}


@pytest.mark.parametrize("make", OUTS_OF_STACKS.values(), ids=OUTS_OF_STACKS.keys())
@pytest.mark.parametrize("right", [(3, 20, 16), (20, 16)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_matmul_of_stacks_into_out_is_numpys(rng, dtype, right, make):
    a, b = arrays(rng, (3, 16, 20), right, dtype=dtype)
    out, other = make((3, 16, 16), dtype), make((3, 16, 16), dtype)
    actual, expected = outcome(functional.matmul, a, b, out), outcome(np.matmul, a, b, out=other)
    if isinstance(expected, type):
        assert actual is expected
        return
    assert actual is out
    if out.dtype == dtype and make is not OUTS_OF_STACKS["one place"]:
        assert_same_product(actual, expected, a, b)


@pytest.mark.parametrize("which", ["left", "shifted", "right", "behind"])
def test_matmul_of_stacks_out_may_be_an_operand(rng, which):
    memory = rng.standard_normal(4000)
    left, right = memory[:768].reshape(3, 16, 16), memory[768:1536].reshape(3, 16, 16)
    starts = {"left": 0, "shifted": 5, "right": 768, "behind": 1536}
    start = starts[which]
    out = memory[start : start + 768].reshape(3, 16, 16)
    expected = functional.matmul(left.copy(), right.copy())
    assert functional.matmul(left, right, out=out) is out
    np.testing.assert_array_equal(out, expected)


def test_matmul_of_stacks_that_memory_cannot_hold():
    value, many = np.ones(1, np.float32), 2**40
    left, right = (
        np.lib.stride_tricks.as_strided(value, (*places, 64, 64), (0, 0, 0, 0))
        for places in ((many, 1), (1, many))
    )
    # 2**40 matrices, and 2**80.
    for operands in ((left, left), (left, left[0, 0]), (left[0, 0], left), (left, right)):
        with pytest.raises((MemoryError, ValueError)):
            functional.matmul(*operands)
