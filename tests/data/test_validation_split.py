"""Samples that are set aside for validation, and generators from seeds."""

import math

import numpy as np
import pytest

from fastbn.data import as_generator, train_validation_split


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
