"""A wrong answer is noticed, a right one accepted, for every library and operation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastbn.bench import answers, operands
from fastbn.bench.libraries import known, load
from fastbn.bench.shapes import Normalization, Product, TrainingStep

PRODUCTS = [
    Product(layout, 9, 7, 33, "", None, dtype)  # type: ignore[arg-type]
    for layout in ("NN", "NT", "TN")
    for dtype in ("float32", "float64")
]
NORMALIZATIONS = [
    Normalization(operation, shape, axis, dtype)  # type: ignore[arg-type]
    for operation in ("forward", "backward", "inference")
    for shape, axis in [((8, 10), 1), ((3, 4, 5, 6), 1), ((3, 4, 5, 6), -1)]
    for dtype in ("float32", "float64")
]
OURS = ("fastbn", "numpy")

# Loading fastbn as one of the libraries sets its threads: the fixture sets them back.
pytestmark = pytest.mark.usefixtures("threads")


@pytest.mark.parametrize("library", OURS)
@pytest.mark.parametrize("case", PRODUCTS, ids=lambda c: f"{c.layout}-{c.dtype}")
def test_products(case: Product, library: str) -> None:
    given = operands.of_product(case)
    job = load(library, 1).product(case, given)
    assert job is not None
    job.run()
    (c,) = job.results()
    answers.check_product(given, c)
    for wrong in (c + 1e-2, np.full_like(c, np.nan), c[:, :-1]):
        with pytest.raises(answers.WrongAnswerError, match="the product"):
            answers.check_product(given, wrong)


@pytest.mark.parametrize("library", OURS)
@pytest.mark.parametrize("case", NORMALIZATIONS, ids=lambda c: f"{c.name}-{c.dtype}")
def test_normalizations(case: Normalization, library: str) -> None:
    given = operands.of_normalization(case)
    job = load(library, 1).normalization(case, given)
    assert job is not None
    for _ in range(2):  # repeating it must not change it
        job.run()
        results = [np.array(array) for array in job.results()]
        answers.check_normalization(case, given, results)
    for place in range(len(results)):
        wrong: list[Any] = [*results]
        wrong[place] = wrong[place] + 0.05 * np.abs(wrong[place]).max()
        with pytest.raises(answers.WrongAnswerError):
            answers.check_normalization(case, given, wrong)


def test_losses() -> None:
    answers.check_losses([2.5, 2.4], [2.5, 2.4005])
    with pytest.raises(answers.WrongAnswerError, match="the loss"):
        answers.check_losses([2.5, 2.5], [2.5, 2.4])
    with pytest.raises(answers.WrongAnswerError, match="shape"):
        answers.check_losses([2.5], [2.5, 2.4])


def test_both_nets_train_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    from fastbn.bench import worker

    monkeypatch.setenv("FASHION_MNIST_FOLDER", "")
    monkeypatch.setattr("fastbn.bench.images.DEBIAN_PACKAGE", "no-such-package")
    worker._images.cache_clear()
    case = TrainingStep(9, sizes=(20, 12, 8, 5))
    for library in OURS:
        job, note = worker._prepared(load(library, 1), case)
        assert job is not None
        assert note == {"data": "noise"}
    worker._images.cache_clear()


def test_every_suite_begins_with_fastbn_and_numpy() -> None:
    for suite in ("gemm", "batchnorm", "training"):
        assert known(suite)[:2] == OURS
