"""What all loaders have in common, and the digits that come with the library."""

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastbn import datasets

DIGITS_SHA256 = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"

# -- Dataset ---------------------------------------------------------------------------------------


def test_a_dataset_unpacks_and_describes_itself() -> None:
    digits = datasets.load_digits()
    x_train, y_train, x_test, y_test = digits
    assert x_train is digits.x_train
    assert y_train is digits.y_train
    assert x_test is digits.x_test
    assert y_test is digits.y_test
    assert repr(digits) == (
        "Dataset(1,437 training and 360 test samples of shape (8, 8) in 10 classes, float32)"
    )
    with pytest.raises(AttributeError):
        digits.n_classes = 3  # type: ignore[misc]


# -- digits ----------------------------------------------------------------------------------------


def test_digits_are_the_ones_of_the_repository() -> None:
    digits = datasets.load_digits(dtype=np.uint8, flatten=False)
    x = np.concatenate([digits.x_train, digits.x_test])
    y = np.concatenate([digits.y_train, digits.y_test])
    assert x.shape == (1797, 8, 8)
    assert (x.min(), x.max()) == (0, 16)
    # Class counts as the description of the data set (optdigits.names) gives them.
    assert np.bincount(y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert hashlib.sha256(x.tobytes() + y.astype(np.uint8).tobytes()).hexdigest() == DIGITS_SHA256


def test_digits_split_and_scale() -> None:
    raw = datasets.load_digits(dtype=np.uint8)
    assert (raw.x_train.shape, raw.x_test.shape) == ((1437, 64), (360, 64))
    assert raw.x_train.dtype == raw.x_test.dtype == np.uint8
    for dtype in (np.dtype(np.float32), np.dtype(np.float64)):
        digits = datasets.load_digits(dtype=dtype)
        assert digits.x_train.dtype == dtype
        assert np.array_equal(digits.x_train, np.divide(raw.x_train, 16, dtype=dtype))
        assert np.array_equal(digits.x_test * 16, raw.x_test)
        assert digits.y_train.dtype == np.int64
    assert datasets.load_digits(scale=2).x_train.max() == 8
    assert raw.n_classes == 10
    assert raw.feature_shape == (8, 8)


def test_digits_can_be_learnt() -> None:
    # One least-squares plane per class; labels that do not belong to their images give 10 %.
    x_train, y_train, x_test, y_test = datasets.load_digits(dtype=np.float64)
    bias = np.ones((len(x_train), 1))
    planes = np.linalg.lstsq(np.hstack([x_train, bias]), np.eye(10)[y_train], rcond=None)[0]
    predicted = (np.hstack([x_test, bias[:360]]) @ planes).argmax(axis=1)
    assert np.mean(predicted == y_test) > 0.85


def test_each_call_gives_its_own_arrays() -> None:
    first = datasets.load_digits(dtype=np.uint8)
    first.x_train[:] = 99
    first.y_train[:] = 99
    again = datasets.load_digits(dtype=np.uint8)
    assert again.x_train.max() == 16
    assert again.y_train.max() == 9


def test_digits_carry_their_licence() -> None:
    folder = Path(str(datasets.__file__)).parents[1] / "_data"
    text = (folder / "LICENSE-digits.txt").read_text(encoding="utf-8")
    for part in ("Alpaydin", "Kaynak", "10.24432/C50P49", "licenses/by/4.0", "Changes"):
        assert part in text
    assert sum(file.stat().st_size for file in folder.iterdir()) < 50_000


# -- options ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"dtype": np.int32}, TypeError, "float32, float64 or uint8, not int32"),
        ({"dtype": ">f4"}, TypeError, "not >f4"),
        ({"dtype": object}, TypeError, "not object"),
        ({"dtype": np.uint8, "scale": 255}, ValueError, "scale=255 needs a float dtype"),
        ({"scale": 0}, ValueError, "not 0"),
        ({"scale": -1.0}, ValueError, r"not -1\.0"),
        ({"scale": math.nan}, ValueError, "not nan"),
    ],
)
def test_impossible_options(options: Any, error: type[Exception], message: str) -> None:
    loaders: list[Callable[[], object]] = [
        lambda: datasets.load_digits(**options),
        lambda: datasets.load_idx("nowhere", **options),
        lambda: datasets.load_npz("nowhere", **options),
        lambda: datasets.load_csv("nowhere", **options),
    ]
    for load in loaders:
        with pytest.raises(error, match=message):
            load()


@pytest.mark.parametrize(
    ("classes", "error"), [(0, ValueError), (-1, ValueError), (2.0, TypeError), (True, TypeError)]
)
def test_impossible_numbers_of_classes(classes: Any, error: type[Exception]) -> None:
    for load in (datasets.load_idx, datasets.load_npz, datasets.load_csv):
        with pytest.raises(error, match=f"not {classes}"):
            load("nowhere", classes=classes)
