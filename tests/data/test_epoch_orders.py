"""The orders of samples, and epochs that are taken up again."""

import itertools
import json

import numpy as np
import pytest

from fastbn.data import MiniBatches, Tail

from .batches import TAILS, order, sizes


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
