"""The accounting of epochs and iterations."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastbn.data import MiniBatches, Tail

from .batches import TAILS, order, sizes


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
