"""The share of right answers, against numpy.argmax."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastbn import _core
from fastbn.train import accuracy

DTYPES = [np.float32, np.float64]


def expected(logits: Any, labels: Any) -> float:
    return float(np.mean(logits.argmax(axis=1) == labels))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [1, 2, 3, 10, 100])
@pytest.mark.parametrize("rows", [1, 2, 7, 100])
def test_against_numpy(rows: int, classes: int, dtype: Any) -> None:
    rng = np.random.default_rng(rows * classes)
    logits = rng.standard_normal((rows, classes)).astype(dtype)
    labels = np.where(rng.random(rows) < 0.5, logits.argmax(1), rng.integers(0, classes, rows))
    assert _core.accuracy(logits, labels) == expected(logits, labels)
    if classes > 1:  # of one score the sign counts
        assert accuracy(logits, labels) == expected(logits, labels)


@pytest.mark.parametrize("dtype", DTYPES)
def test_equal_scores_infinities_and_nan(dtype: Any) -> None:
    """All rows of three such values, with each label."""
    values = np.array([0.0, -0.0, 1.0, np.inf, -np.inf, np.nan], dtype)
    logits = np.stack(np.meshgrid(values, values, values), -1).reshape(-1, 3)
    for label in range(3):
        labels = np.full(len(logits), label)
        assert _core.accuracy(logits, labels) == expected(logits, labels)


@pytest.mark.parametrize("kind", ["i1", "u1", "i4", "u8", ">i8"])
def test_labels_of_any_integers(kind: str) -> None:
    logits = np.eye(4, dtype=np.float32)
    labels = np.array([0, 1, 3, 3]).astype(kind)
    for given in (labels, np.repeat(labels, 2)[::2]):
        assert accuracy(logits, given) == 0.75


def test_labels_that_are_no_class() -> None:
    logits = np.eye(4, dtype=np.float32)
    assert accuracy(logits, np.array([0, -1, 9, np.iinfo(np.int64).min])) == 0.25


def test_scores_of_any_strides() -> None:
    logits = np.random.default_rng(0).standard_normal((20, 30)).astype(np.float32)
    labels = np.arange(10) % 7
    for view in (logits[::2, ::3], logits.T[::3, ::2], logits[::-2, ::-1]):
        assert _core.accuracy(view, labels) == expected(view, labels)


def test_no_row() -> None:
    assert np.isnan(_core.accuracy(np.zeros((0, 3), np.float32), np.zeros(0, int)))


@pytest.mark.parametrize(
    ("shape", "labels", "error", "words"),
    [
        ((4,), np.zeros(4, int), ValueError, "logits must have 2 dimensions"),
        ((4, 0), np.zeros(4, int), ValueError, r"of none, got logits of shape \(4, 0\)"),
        ((4, 3), np.zeros(3, int), ValueError, r"labels has shape \(3,\), expected \(4,\)"),
        ((4, 3), np.zeros((4, 1), int), ValueError, r"shape \(4, 1\), expected \(4,\)"),
        ((4, 3), np.zeros(4), TypeError, "labels must be of an integer dtype, got float64"),
    ],
)
def test_refused(shape: Any, labels: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        _core.accuracy(np.zeros(shape, np.float32), labels)
