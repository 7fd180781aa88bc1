"""What the tests of all loaders share: small data, damage to files, and what a refusal may cost."""

import math
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from fastbn.datasets import Dataset

Array = np.ndarray[Any, Any]

MEMORY_LIMIT = 64 << 20
SECONDS = 10.0  # what runs away takes minutes; a deep header 0.6 to 1.1 in NumPy itself


@contextmanager
def refused(*words: object) -> Iterator[None]:
    """Expect a ValueError with all the words, within 64 MiB and 10 s of this thread's time."""
    tracemalloc.start()
    start = time.thread_time()
    try:
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - the words are checked below
            yield
        seconds = time.thread_time() - start
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    for word in words:
        assert str(word) in str(caught.value)
    assert seconds < SECONDS
    assert peak < MEMORY_LIMIT


def small_arrays(seed: int = 0) -> tuple[Array, Array, Array, Array]:
    rng = np.random.default_rng(seed)
    return (
        rng.integers(0, 256, (30, 5, 4), np.uint8),
        rng.integers(0, 10, 30).astype(np.uint8),
        rng.integers(0, 256, (12, 5, 4), np.uint8),
        rng.integers(0, 10, 12).astype(np.uint8),
    )


mutations = st.lists(
    st.tuples(
        st.integers(0, 2000), st.sampled_from(["set", "cut", "insert"]), st.binary(max_size=4)
    ),
    min_size=1,
    max_size=4,
)


def mutate(data: bytes, changes: list[tuple[int, str, bytes]]) -> bytes:
    for position, kind, new in changes:
        at = position % (len(data) + 1)
        if kind == "cut":
            data = data[:at]
        else:
            data = data[:at] + new + data[at + (len(new) if kind == "set" else 0) :]
    return data


def attempt(load: Callable[[], Dataset]) -> Dataset | str:
    """Return what is loaded, or the message of the ValueError; anything else is a failure."""
    try:
        return load()
    except ValueError as error:
        return str(error)


def check_outcome(load: Callable[[], Dataset], name: str) -> None:
    """A damaged file is refused by name, or what is loaded is in order all the same."""
    found = attempt(load)
    if isinstance(found, str):
        assert name in found
        return
    features = math.prod(found.feature_shape)
    assert found.x_train.shape == (len(found.y_train), features)
    assert found.x_test.shape == (len(found.y_test), features)
    assert np.isfinite(found.x_train).all()
    assert 0 <= found.y_train.min() <= found.y_train.max() < found.n_classes
