"""What is made of measured times: ratios, losses, comparisons of two runs, the README's section."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import documents
from fastbn.bench import compare
from fastbn.bench.ratios import geometric_mean
from fastbn.bench.record import quartiles
from fastbn.bench.results import ResultsError, read, results_of, summarize
from fastbn.bench.shapes import Case, Product, TrainingStep


def slower_at_8(case: Case, library: str) -> float:
    """Torch is faster than fastbn at batch 8, and slower elsewhere."""
    if library == "torch":
        return 0.8 if case.batch == 8 else 4.0
    return 1.0 if library == "fastbn" else 2.0


def test_ratios_are_to_the_fastest_peer_of_each_case() -> None:
    results = results_of(documents.make(slower_at_8))
    for result in results.results:
        ratios = result.ratios
        assert ratios["ratio_to_numpy"] == pytest.approx(2)
        at_8 = result.case.batch == 8
        assert ratios["best_peer"] == ("torch" if at_8 else "numpy")
        assert ratios["ratio_to_best"] == pytest.approx(0.8 if at_8 else 2)
    assert {r.case.batch for r in results.lost()} == {8}
    assert all(r.clearly_lost for r in results.lost())


def test_a_case_within_the_scatter_is_lost_but_not_clearly() -> None:
    def factor(case: Case, library: str) -> float:
        return 0.99 if library == "torch" else 1.0

    document = documents.make(factor, suites=["gemm"])
    for benchmark in document["benchmarks"]:
        if benchmark["extra_info"]["library"] == "fastbn":  # slow in one round, fast in another
            seconds = benchmark["extra_info"]["seconds"]
            seconds[0] *= 0.5
            seconds[1] *= 0.6
    lost = results_of(document).lost()
    assert lost
    assert not any(r.clearly_lost for r in lost)


def test_summaries() -> None:
    assert geometric_mean([1.0, 4.0]) == pytest.approx(2)
    assert quartiles([3.0]) == (3.0, 3.0, 3.0)
    results = results_of(documents.make(slower_at_8))
    summary = summarize(results.of("gemm", "NN"), "ratio_to_best")
    assert summary is not None
    assert summary.worst == pytest.approx(0.8)
    assert summary.lost == 3  # one a layer
    assert summarize([], "ratio_to_best") is None


def test_shares_are_of_the_measured_limits() -> None:
    results = results_of(documents.make())
    product = next(r for r in results.of("gemm") if isinstance(r.case, Product))
    expected = product.case.flop / product.figures["fastbn"].median
    assert results.rates(product)["share"] == pytest.approx(expected / 400e9)
    step = next(r for r in results.of("training") if r.case.batch == 1024)
    assert isinstance(step.case, TrainingStep)
    rates = results.rates(step)
    limits = rates["compute_images_per_s"], rates["traffic_images_per_s"]
    assert rates["roofline_images_per_s"] == min(limits)
    assert limits[0] == pytest.approx(400e9 / (step.case.flop / 1024))
    # Weights and momentum, 4.3 MB, are larger than the second level here: memory.
    assert limits[1] == pytest.approx(1024 * 40e9 / step.case.bytes)


def test_a_file_is_read_back(tmp_path: Path) -> None:
    document = documents.make()
    path = tmp_path / "run.json"
    path.write_text(json.dumps(document, allow_nan=False))
    assert results_of(read(path)) == results_of(document)


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"machine_info": {"fastbn": {}}, "benchmarks": []}']
)
def test_other_files_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ResultsError):
        results_of(read(path))
    assert compare.main([str(path), str(path)]) == 2


# -- two runs --------------------------------------------------------------------------------------


def numpy_factor(value: float, only: str = "") -> documents.Factor:
    def factor(case: Case, library: str) -> float:
        if library == "numpy" and only in case.name:
            return value
        return 1.0 if library == "fastbn" else 2.0

    return factor


def compared(folder: Path, *runs: dict[str, Any]) -> int:
    paths = [folder / f"{i}.json" for i in range(len(runs))]
    for path, document in zip(paths, runs, strict=True):
        path.write_text(json.dumps(document))
    return compare.main([*map(str, paths)])


def test_a_loss_of_more_than_a_tenth_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = documents.make(numpy_factor(2.0))
    assert compared(tmp_path, before, before) == 0
    assert compared(tmp_path, before, documents.make(numpy_factor(1.85))) == 0
    assert compared(tmp_path, before, documents.make(numpy_factor(2.5))) == 0
    capsys.readouterr()
    assert compared(tmp_path, before, documents.make(numpy_factor(1.7, "NT 512x512 b=8"))) == 1
    out = capsys.readouterr().out
    assert "LOST NT 512x512 b=8: 2.00 -> 1.70" in out
    assert "1 losses" in out
    assert compared(tmp_path, before, documents.make(numpy_factor(1.7))) == 1


def test_it_is_ratios_that_are_compared_not_times(tmp_path: Path) -> None:
    """On a machine half as fast, everything takes twice as long: no loss."""

    def half_as_fast(case: Case, library: str) -> float:
        return 2 * documents.twice_as_fast(case, library)

    assert compared(tmp_path, documents.make(), documents.make(half_as_fast)) == 0


def test_a_case_that_only_scatters_has_not_lost(tmp_path: Path) -> None:
    before = documents.make(numpy_factor(2.0), suites=["gemm"])
    after = documents.make(numpy_factor(1.75, "NN 128x10 b=8"), suites=["gemm"])
    for benchmark in after["benchmarks"]:
        info = benchmark["extra_info"]
        if info["library"] == "numpy" and "NN 128x10 b=8" in info["name"]:
            info["seconds"][3:] = [1.4 * s for s in info["seconds"][3:]]
    assert compared(tmp_path, before, after) == 0


def test_a_loss_is_one_that_every_later_run_shows(tmp_path: Path) -> None:
    before, lost = documents.make(numpy_factor(2.0)), documents.make(numpy_factor(1.7))
    assert compared(tmp_path, before, lost, before) == 0
    assert compared(tmp_path, before, before, lost) == 0
    assert compared(tmp_path, before, lost, lost) == 1


def test_a_mean_that_only_scatters_has_not_lost(tmp_path: Path) -> None:
    before = documents.make(numpy_factor(2.0), suites=["gemm"])
    after = documents.make(numpy_factor(1.7), suites=["gemm"])
    for benchmark in after["benchmarks"]:
        info = benchmark["extra_info"]
        if info["library"] == "numpy":
            info["seconds"][3:] = [1.4 * s for s in info["seconds"][3:]]
    assert compared(tmp_path, before, after) == 0


def test_runs_that_cannot_be_compared_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compared(tmp_path, documents.make(), documents.make(threads=1)) == 2
    assert "differ in threads: 2 and 1" in capsys.readouterr().err
    gemm, training = (documents.make(suites=[suite]) for suite in ("gemm", "training"))
    assert compared(tmp_path, gemm, training) == 2
    assert compare.main(["one.json"]) == 2
