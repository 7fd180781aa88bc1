"""The accounting of epochs and iterations, the orders of samples, and the gathering of batches."""

import itertools
import json
import math
import sys
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastbn
from fastbn import _core
from fastbn.data import MiniBatches, Tail, as_generator, take_batch, train_validation_split

TAILS: tuple[Tail, ...] = ("keep", "drop", "merge")


def sizes(batches: MiniBatches, epoch: int = 0) -> list[int]:
    rows = np.arange(batches.n_samples)
    return [len(rows[indices]) for indices in batches.epoch_indices(epoch)]


def order(batches: MiniBatches, epoch: int = 0, start: int = 0) -> np.ndarray[Any, Any]:
    rows = np.arange(batches.n_samples)
    parts = [rows[indices] for indices in batches.epoch_indices(epoch, start)]
    return np.concatenate([rows[:0], *parts])


# -- accounting ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "batch_size", "tail", "expected"),
    [
        (60_000, 100, "keep", [100] * 600),
        (10, 10, "keep", [10]),
        (10, 1, "keep", [1] * 10),
        (10, 4, "keep", [4, 4, 2]),
        (9, 4, "keep", [4, 5]),
        (10, 4, "merge", [4, 6]),
        (10, 4, "drop", [4, 4]),
        (8, 4, "merge", [4, 4]),
        (7, 4, "merge", [7]),
        (3, 4, "keep", [3]),
        (3, 4, "merge", [3]),
        (1, 4, "keep", [1]),
        (5, 4, "keep", [5]),
    ],
)
@pytest.mark.parametrize("shuffle", [True, False])
def test_sizes(n: int, batch_size: int, tail: Tail, expected: list[int], shuffle: bool) -> None:
    batches = MiniBatches(n, batch_size, tail=tail, shuffle=shuffle, rng=0)
    assert sizes(batches) == expected
    assert batches.iterations_per_epoch == len(expected)
    assert batches.samples_per_epoch == sum(expected)
    assert batches.largest_batch == max(expected)


@settings(max_examples=300, deadline=None)
@given(
    n=st.integers(1, 200),
    batch_size=st.integers(1, 250),
    tail=st.sampled_from(TAILS),
    min_tail=st.integers(1, 50),
    shuffle=st.booleans(),
    seed=st.integers(0, 2**63),
)
def test_any_accounting_adds_up(
    n: int, batch_size: int, tail: Tail, min_tail: int, shuffle: bool, seed: int
) -> None:
    if tail == "drop" and n < batch_size:
        with pytest.raises(ValueError, match=rf"n_samples={n} .* batch_size={batch_size}"):
            MiniBatches(n, batch_size, tail=tail)
        return
    batches = MiniBatches(n, batch_size, tail=tail, min_tail=min_tail, shuffle=shuffle, rng=seed)
    found, seen = sizes(batches), order(batches)
    left = n % batch_size
    assert len(found) == batches.iterations_per_epoch >= 1
    assert max(found) == batches.largest_batch
    assert sum(found) == batches.samples_per_epoch == n - (left if tail == "drop" else 0)
    assert len(np.unique(seen)) == len(seen)
    assert set(found[:-1]) <= {batch_size}
    if n >= batch_size:
        assert found[-1] >= (min(min_tail, batch_size) if tail == "keep" else batch_size)
        assert found[-1] < 2 * batch_size
    assert (batches.tail_description is None) == (left == 0)
    if not shuffle:
        assert np.array_equal(seen, np.arange(len(seen)))


@pytest.mark.parametrize(
    ("n", "batch_size", "tail", "expected"),
    [
        (60_000, 100, "keep", None),
        (60_040, 100, "keep", "The last batch of an epoch has 40 samples, not 100."),
        (
            60_001,
            100,
            "keep",
            "The last batch of an epoch has 101 samples: the 1 left over is joined to it, "
            "too few for a batch (min_tail=2).",
        ),
        (
            60_040,
            100,
            "merge",
            "The last batch of an epoch has 140 samples: the 40 left over are joined to it.",
        ),
        (60_040, 100, "drop", "Each epoch leaves out 40 of 60,040 samples (tail='drop')."),
        (
            60,
            100,
            "keep",
            "An epoch is one batch of all 60 samples, fewer than the batch_size of 100.",
        ),
    ],
)
def test_tail_description(n: int, batch_size: int, tail: Tail, expected: str | None) -> None:
    assert MiniBatches(n, batch_size, tail=tail).tail_description == expected


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_samples": 0}, ValueError, "n_samples must be at least 1, not 0"),
        ({"n_samples": -3}, ValueError, "not -3"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, not 0"),
        ({"batch_size": 100.0}, TypeError, r"batch_size must be an integer, not 100\.0"),
        ({"batch_size": True}, TypeError, "not True"),
        ({"batch_size": "8"}, TypeError, "not '8'"),
        ({"batch_size": None}, TypeError, "not None"),
        ({"min_tail": 0}, ValueError, "min_tail must be at least 1, not 0"),
        ({"tail": "pad"}, ValueError, "keep, drop, merge, not 'pad'"),
        ({"tail": "drop", "batch_size": 11}, ValueError, "n_samples=10 is less than batch_size=11"),
        ({"rng": 1.5}, TypeError, r"not 1\.5"),
        ({"rng": True}, TypeError, "not True"),
        ({"rng": -1}, ValueError, "rng=-1"),
    ],
)
def test_invalid_arguments(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        MiniBatches(**{"n_samples": 10, "batch_size": 4, **arguments})


def test_numpy_integers_are_integers() -> None:
    assert sizes(MiniBatches(np.int64(10), np.uint8(4), rng=np.int32(1))) == [4, 4, 2]  # type: ignore[arg-type]


# -- orders ----------------------------------------------------------------------------------------


def test_each_epoch_has_another_order() -> None:
    batches = MiniBatches(1000, 10, rng=0)
    orders = [order(batches, epoch) for epoch in range(4)]
    for a, b in itertools.combinations(orders, 2):
        assert np.mean(a == b) < 0.02
    for one in orders:
        assert np.array_equal(np.sort(one), np.arange(1000))


def test_seeds_and_epochs_do_not_share_orders() -> None:
    first, second = MiniBatches(100, 10, rng=0), MiniBatches(100, 10, rng=0)
    second.seed = first.seed + 1
    assert not np.array_equal(order(first, 1), order(second, 0))


def test_every_sample_comes_first_equally_often() -> None:
    n, epochs = 10, 5000
    batches = MiniBatches(n, n, rng=1)
    counts = np.bincount([order(batches, e)[0] for e in range(epochs)], minlength=n)
    expected = epochs / n
    chi_squared = float(((counts - expected) ** 2 / expected).sum())
    assert chi_squared < 33.7  # the 0.9999 quantile for 9 degrees of freedom


def test_the_same_seed_gives_the_same_order() -> None:
    assert np.array_equal(order(MiniBatches(99, 7, rng=5), 3), order(MiniBatches(99, 7, rng=5), 3))
    generator = np.random.default_rng(5)
    assert np.array_equal(
        order(MiniBatches(99, 7, rng=5)), order(MiniBatches(99, 7, rng=generator))
    )


def test_different_seeds_give_different_orders() -> None:
    seen = {tuple(order(MiniBatches(99, 7, rng=rng))) for rng in (None, None, 0, 1)}
    assert len(seen) == 4


def test_a_shared_generator_is_drawn_from_once() -> None:
    generator = np.random.default_rng(0)
    first = MiniBatches(20, 4, rng=generator)
    state = generator.bit_generator.state
    order(first, 0)
    order(first, 9)
    assert generator.bit_generator.state == state
    assert MiniBatches(20, 4, rng=generator).seed != first.seed


def test_global_state_is_left_alone() -> None:
    before = np.random.get_state(legacy=False)  # noqa: NPY002
    order(MiniBatches(20, 4))
    after = np.random.get_state(legacy=False)  # noqa: NPY002
    assert np.array_equal(before["state"]["key"], after["state"]["key"])
    assert before["state"]["pos"] == after["state"]["pos"]


def test_indices_are_ready_for_take() -> None:
    for indices in MiniBatches(10, 4, rng=0).epoch_indices(0):
        assert isinstance(indices, np.ndarray)
        assert indices.dtype == np.intp
        assert indices.flags.c_contiguous


def test_without_shuffle_batches_are_slices() -> None:
    found = list(MiniBatches(10, 4, shuffle=False).epoch_indices(7))
    assert found == [slice(0, 4), slice(4, 8), slice(8, 10)]


def test_invalid_epoch_and_start() -> None:
    batches = MiniBatches(10, 4)
    with pytest.raises(ValueError, match="-1"):
        batches.epoch_indices(-1)
    for start in (-1, 4):
        with pytest.raises(ValueError, match=rf"start={start} .* 3 iterations"):
            batches.epoch_indices(0, start)


# -- resuming --------------------------------------------------------------------------------------


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("shuffle", [True, False])
def test_resume_at_every_iteration(tail: Tail, shuffle: bool) -> None:
    batches = MiniBatches(23, 4, tail=tail, shuffle=shuffle, rng=3)
    state = json.loads(json.dumps(batches.state()))
    whole = order(batches, 2)
    for start in range(batches.iterations_per_epoch + 1):
        resumed = MiniBatches(23, 4, tail=tail, shuffle=shuffle)
        resumed.restore(state)
        done = sum(sizes(batches)[:start])
        assert np.array_equal(order(resumed, 2, start), whole[done:])
        assert np.array_equal(order(resumed, 3), order(batches, 3))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("n_samples", 24, "n_samples is 23 now and was 24"),
        ("batch_size", 5, "batch_size is 4 now and was 5"),
        ("shuffle", False, "shuffle is True now and was False"),
        ("tail", "drop", "tail is 'keep' now and was 'drop'"),
        ("min_tail", 3, "min_tail is 2 now and was 3"),
        ("seed", 12, "other permutations"),
        ("seed", -1, "not -1"),
        ("seed", "abc", "not 'abc'"),
        ("order_checksum", 0, "0 in the state"),
    ],
)
def test_a_state_of_other_batches_is_refused(key: str, value: object, message: str) -> None:
    batches = MiniBatches(23, 4, rng=3)
    before = order(batches)
    with pytest.raises(ValueError, match=message):
        batches.restore({**batches.state(), key: value})
    assert np.array_equal(order(batches), before)


def test_an_incomplete_state_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks seed, n_samples"):
        MiniBatches(23, 4).restore({})


def test_the_stream_is_the_one_that_states_were_written_with() -> None:
    # If this fails after an update of NumPy, checkpoints of older versions cannot be resumed.
    assert MiniBatches(60_000, 100, rng=0).state()["seed"] == 5874934615388537135
    assert MiniBatches(60_000, 100, rng=0).state()["order_checksum"] == 3874176635


# -- gathering -------------------------------------------------------------------------------------


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


# -- validation ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "fraction", "n_validation"),
    [
        (10, 0.0, 0),
        (10, 0.3, 3),
        (10, 0.25, 3),
        (100, 0.07, 7),
        (100, 0.29, 29),
        (60_000, 1 / 6, 10_000),
        (10, 0.9, 9),
        (3, 0.1, 1),
    ],
)
def test_the_last_samples_validate(n: int, fraction: float, n_validation: int) -> None:
    x, y = np.arange(2 * n).reshape(n, 2), np.arange(n)
    x_train, y_train, x_validation, y_validation = train_validation_split(x, y, fraction)
    assert np.array_equal(y_train, np.arange(n - n_validation))
    assert np.array_equal(y_validation, np.arange(n - n_validation, n))
    assert np.array_equal(x_train[:, 0], 2 * y_train)
    assert np.array_equal(x_validation[:, 0], 2 * y_validation)
    assert np.shares_memory(x_train, x)


def test_drawn_samples_validate() -> None:
    x, y = np.arange(200).reshape(100, 2), np.arange(100)
    x_train, y_train, x_validation, y_validation = train_validation_split(x, y, 0.2, rng=0)
    assert sorted([*y_train, *y_validation]) == list(range(100))
    assert len(y_validation) == 20
    assert y_validation.min() < 80
    assert np.array_equal(x_train[:, 0], 2 * y_train)
    assert np.array_equal(x_validation[:, 0], 2 * y_validation)
    assert np.array_equal(y_validation, train_validation_split(x, y, 0.2, rng=0)[3])


@pytest.mark.parametrize(
    ("n_labels", "fraction", "message"),
    [
        (9, 0.5, "10 samples, y has 9"),
        (10, 1.0, r"not 1\.0"),
        (10, -0.1, r"not -0\.1"),
        (10, math.nan, "not nan"),
        (10, 0.95, "0.95 of 10 samples"),
    ],
)
def test_impossible_splits(n_labels: int, fraction: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train_validation_split(np.ones((10, 2)), np.ones(n_labels), fraction)


def test_as_generator() -> None:
    generator = np.random.default_rng(0)
    assert as_generator(generator) is generator
    assert as_generator(3).integers(100) == np.random.default_rng(3).integers(100)
    with pytest.raises(TypeError, match="RandomState"):
        as_generator(np.random.RandomState(0))  # type: ignore[arg-type]
