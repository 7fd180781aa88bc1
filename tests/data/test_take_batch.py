"""The gathering of batches."""

import math
import sys
import tracemalloc
from typing import Any

import numpy as np
import pytest

import fastbn
from fastbn import _core
from fastbn.data import take_batch


@pytest.mark.parametrize("dtype", ["f4", "f8", "u1", "i8"])
@pytest.mark.parametrize("shape", [(10,), (10, 3), (10, 2, 2)])
def test_take_batch(dtype: str, shape: tuple[int, ...]) -> None:
    x = np.arange(math.prod(shape), dtype=dtype).reshape(shape)
    out = np.zeros((6, *shape[1:]), dtype)
    indices = np.array([9, 0, 4, 4])
    batch = take_batch(x, indices, out)
    assert np.array_equal(batch, x[[9, 0, 4, 4]])
    assert np.shares_memory(batch, out)
    assert not out[4:].any()


@pytest.mark.parametrize("features", [1, 15, 16, 17, 784])
@pytest.mark.parametrize("rows", [1, 2, 63, 500])
def test_take_batch_by_several_threads(features: int, rows: int) -> None:
    x = np.arange(200 * features, dtype=np.float32).reshape(200, features)
    indices = np.random.default_rng(0).integers(200, size=rows)
    for threads in (1, 2, 3):
        out = np.full((rows + 1, features), -1, np.float32)
        with fastbn.threads(threads):
            batch = take_batch(x, indices, out)
        assert np.array_equal(batch, x[indices])
        assert (out[rows:] == -1).all()


def test_rows_that_are_still_to_be_copied_are_nobody_elses() -> None:
    """Else another thread could change them after their check."""
    x, out, indices = np.ones((6, 4))[:, ::2], np.zeros((2, 2)), np.array([5, 1])
    rest = _core.gather_rows(x, indices, out)
    assert rest is not None
    assert np.array_equal(rest, indices)
    assert not np.shares_memory(rest, indices)
    assert not out.any()
    assert _core.gather_rows(np.ones((6, 2)), indices, out) is None


def test_take_batch_of_objects_counts_their_references() -> None:
    samples = np.array([["a", "b"], ["c", "d"]], dtype=object)
    thing = object()
    samples[1, 0] = thing
    before = sys.getrefcount(thing)
    out = np.empty((3, 2), dtype=object)
    take_batch(samples, np.array([1, 1, 0]), out)
    assert sys.getrefcount(thing) == before + 2


def test_take_batch_into_the_samples_themselves() -> None:
    x = np.arange(20.0).reshape(10, 2)
    expected = x[[3, 2, 1]]
    assert np.array_equal(take_batch(x, np.array([3, 2, 1]), x), expected)


def test_take_batch_with_row_numbers_of_any_stride() -> None:
    x, out = np.arange(20.0).reshape(10, 2), np.empty((5, 2))
    assert np.array_equal(take_batch(x, np.arange(10)[::-2], out), x[::-2])


def test_take_batch_of_strided_samples() -> None:
    x = np.arange(60.0).reshape(6, 10)
    for strided in (np.asfortranarray(x), x[:, ::2], x[::-1], np.broadcast_to(x[0], (6, 10))):
        out = np.empty((3, strided.shape[1]))
        assert np.array_equal(take_batch(strided, np.array([5, 0, 3]), out), strided[[5, 0, 3]])


def test_take_batch_of_strided_samples_copies_no_more_than_the_batch() -> None:
    x, out = np.ones((1000, 2000))[:, ::2], np.empty((10, 1000))  # 8 MB
    tracemalloc.start()
    take_batch(x, np.arange(10), out)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * out.nbytes


def test_take_batch_of_a_slice_copies_nothing() -> None:
    x = np.arange(20.0).reshape(10, 2)
    out = np.zeros((4, 2))
    batch = take_batch(x, slice(4, 8), out)
    assert np.shares_memory(batch, x)
    assert np.array_equal(batch, x[4:8])
    assert not out.any()


def test_take_batch_of_nothing() -> None:
    assert take_batch(np.ones((3, 2)), np.array([], dtype=np.intp), np.ones((1, 2))).shape == (0, 2)


@pytest.mark.parametrize("bad", [-1, 10, 2**62, -(2**62)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_take_batch_refuses_rows_outside(bad: int, order: Any) -> None:
    x, out = np.ones((10, 2), order=order), np.zeros((2, 2))
    with pytest.raises(IndexError, match=f"row {bad} of 10 rows"):
        take_batch(x, np.array([0, bad]), out)
    assert not out.any()


@pytest.mark.parametrize(
    ("indices", "out", "error", "message"),
    [
        (np.array([0.0]), np.ones((4, 3)), TypeError, "float64"),
        (np.array([True] * 5), np.ones((5, 3)), TypeError, "bool"),
        (np.array([[0]]), np.ones((4, 3)), TypeError, "2-D"),
        (np.array([0]), np.ones((4, 3), "f4"), TypeError, "float32, x has float64"),
        (np.array([0] * 5), np.ones((4, 3)), ValueError, r"\(5, 3\), not \(4, 3\)"),
        (np.array([0]), np.ones((4, 2)), ValueError, r"\(1, 3\), not \(4, 2\)"),
        (np.array([0]), np.ones((4, 6))[:, ::2], ValueError, "contiguous"),
    ],
)
def test_take_batch_refuses(indices: Any, out: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        take_batch(np.ones((10, 3)), indices, out)
