"""What is measured: sizes, counts of work, names."""

from __future__ import annotations

import json

import pytest

from fastbn.bench.shapes import (
    SUITES,
    Normalization,
    Product,
    TrainingStep,
    cases,
    from_dict,
    is_neighbour,
    to_dict,
)


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cases_have_names_of_their_own_and_survive_json(
    suite: str, quick: bool, dtype: str
) -> None:
    found = cases(suite, quick=quick, dtype=dtype)
    assert len({case.name for case in found}) == len(found) > 3
    for case in found:
        assert case.dtype == dtype
        assert case.suite == suite
        assert from_dict(json.loads(json.dumps(to_dict(case)))) == case
        assert case.bytes > 0


@pytest.mark.parametrize("suite", SUITES)
def test_the_full_set_has_the_promised_batches(suite: str) -> None:
    batches = {case.batch for case in cases(suite)}
    expected = {8, 16, 32, 64, 96, 128, 256, 512, 1024, 7, 9, 31, 33, 100}
    if suite != "gemm":
        expected |= {24, 48, 2048}
    assert expected <= batches


def test_an_unknown_suite_is_refused() -> None:
    with pytest.raises(ValueError, match="not 'conv'"):
        cases("conv")


def test_work_is_counted() -> None:
    assert Product("NN", 2, 3, 4, "x").flop == 48
    assert Product("NN", 2, 3, 4, "x").bytes == 4 * (8 + 12 + 6)
    assert Normalization("forward", (8, 10)).bytes == 2 * 80 * 4
    assert Normalization("backward", (8, 10), dtype="float64").bytes == 3 * 80 * 8
    assert Normalization("forward", (2, 5, 5, 3), -1).channels == 3
    # 784-512-256-10: 2.41 MFLOP an image, as worked out by hand
    step = TrainingStep(1)
    assert step.flop == 2 * (2 * 784 * 512 + 3 * 512 * 256 + 3 * 256 * 10)
    assert step.resident == 2 * 4 * (784 * 512 + 512 * 256 + 256 * 10)


def test_neighbours_are_no_multiples_of_8() -> None:
    assert [is_neighbour(b) for b in (7, 8, 9, 100, 104, None)] == [1, 0, 1, 1, 0, 0]
