"""The data that `fastbn train` trains on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from fastbn.cli.parser import UsageError
from fastbn.data import train_validation_split
from fastbn.datasets import Dataset, load_csv, load_digits, load_idx, load_npz

# The part of the samples to test with where the data does not say which.
_TEST_FRACTION = 0.2


def load(path: str | None, dtype: DTypeLike) -> tuple[str, Dataset]:
    """Load what `--data` names, by default the digits.

    Parameters
    ----------
    path : str or None
        A folder with the four files of MNIST's format, or a file that ends in .npz or .csv.
    dtype : float32 or float64

    Returns
    -------
    name : str
    dataset : Dataset
        Its test samples are not empty.

    Raises
    ------
    UsageError
        If there is nothing at `path`, or it cannot be read.
    """
    if path is None:
        return "handwritten digits", _mixed_digits(dtype)
    place = Path(path)
    try:
        dataset = _load(place, dtype)
    except (OSError, ValueError, MemoryError) as error:
        raise UsageError(f"argument --data: {error or type(error).__name__}") from error
    if not len(dataset.x_train) or not len(dataset.x_test):
        raise UsageError(
            f"argument --data: {path} has no samples to train on, or none to test with"
        )
    return place.resolve().name, dataset


def _load(place: Path, dtype: DTypeLike) -> Dataset:
    if place.is_dir():
        return load_idx(place, classes=None, dtype=dtype)
    if not place.exists():
        raise FileNotFoundError(f"there is no folder or file {place}")
    suffix = place.suffix.lower()
    if suffix == ".npz":
        return load_npz(place, dtype=dtype)
    if suffix == ".csv":
        return load_csv(place, test_fraction=_TEST_FRACTION, dtype=dtype)
    raise ValueError(f"{place} is neither a folder nor a .npz or .csv file")


def _mixed_digits(dtype: DTypeLike) -> Dataset:
    """Return the digits with a random fifth of them to test with, always the same.

    The data set's own division keeps the writers apart, and so measures something harder: what
    these 1,437 digits teach about the hands of other people.
    """
    digits = load_digits(dtype=dtype)
    x = np.concatenate([digits.x_train, digits.x_test])
    y = np.concatenate([digits.y_train, digits.y_test])
    x_train, y_train, x_test, y_test = train_validation_split(x, y, _TEST_FRACTION, rng=0)
    return dataclasses.replace(
        digits, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test
    )
