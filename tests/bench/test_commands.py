"""The commands as users call them, on one or two cases: that they work, not how fast."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import documents

ROOT = Path(__file__).parents[2]
HELD = {"OPENBLAS_CORETYPE": "Haswell"}


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # A worker of pytest-xdist says so in its environment; pytest-benchmark times nothing there.
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_XDIST")}
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=inherited | environment,
        timeout=300,
        check=False,
    )


def bench(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run("fastbn.cli", "bench", *arguments, **environment)


# -- fastbn bench ----------------------------------------------------------------------------------


def test_fastbn_bench_writes_all_it_is_asked_for(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    files = {kind: tmp_path / f"out.{kind}" for kind in ("json", "html", "markdown")}
    options = [word for kind, path in files.items() for word in (f"--{kind}", str(path))]
    done = bench(
        "gemm", "--quick", "--rounds", "1", "--threads", "1", "--only", "NN 128x10 b=8",
        *options, **HELD,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("!!! WARNING: OPENBLAS_CORETYPE=Haswell") == 2
    assert "against NumPy: geometric mean" in done.stdout
    document = json.loads(files["json"].read_text())
    libraries = {b["extra_info"]["library"] for b in document["benchmarks"]}
    assert {"fastbn", "numpy"} <= libraries
    assert document["machine_info"]["fastbn"]["command"] == "fastbn bench gemm --quick --threads 1"
    assert "<svg" in files["html"].read_text()
    assert "NN 128x10 b=8" in files["markdown"].read_text()


def test_a_report_on_results_that_are_there(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "run.json").write_text(json.dumps(documents.make()))
    page = tmp_path / "page.html"
    done = bench("--from", str(tmp_path / "run.json"), "--html", str(page))
    assert done.returncode == 0, done.stderr
    assert "roofline" in page.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["conv"], "invalid choice: 'conv'"),
        (["--threads", "0"], "must be at least 1, not 0"),
        (["--json", "no/such/folder/x.json"], "argument --json: no/such/folder/x.json is no file"),
        (["--html", "."], "argument --html: . is no file"),
        (["--from", "no-such-file.json"], "argument --from"),
        (["--from", "README.md"], "argument --from: README.md is no JSON"),
        (["--from", "pyproject.toml"], "is no JSON"),
    ],
)
def test_a_mistake_costs_one_line(arguments: list[str], message: str) -> None:
    done = bench(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr


def test_a_page_without_matplotlib_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fastbn.cli import main

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit) as stop:
        main(["bench", "--html", "x.html"])
    assert stop.value.code == 2
    assert "pip install 'fastbn[bench]'" in capsys.readouterr().err


# -- pytest benchmarks/ ----------------------------------------------------------------------------


def suite(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(
        "pytest", "--quick", "--rounds", "2", "--threads", "1",
        "-p", "no:cacheprovider", f"--benchmark-storage={tmp_path / 'saved'}", *arguments, **HELD,
    )  # fmt: skip


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run of two cases, saved by pytest-benchmark, a copy for a second one, and its output."""
    pytest.importorskip("pytest_benchmark")
    folder = tmp_path_factory.mktemp("runs")
    cases = ("gemm", "NN 128x10 b=8"), ("batchnorm", "inference 8x256")
    chosen = [
        f"benchmarks/bench_{kind}.py::test_{kind}[{case}-{library}]"
        for kind, case in cases
        for library in ("fastbn", "numpy")
    ]
    done = suite(folder, *chosen, "--benchmark-save=first")
    assert done.returncode == 0, done.stdout + done.stderr
    (first,) = folder.rglob("*first.json")
    shutil.copy(first, first.with_name("0002_second.json"))
    return folder / "saved", done.stdout


def test_the_environment_is_warned_of_first_and_last(saved: tuple[Path, str]) -> None:
    lines = saved[1].splitlines()
    warned = [i for i, line in enumerate(lines) if "WARNING: OPENBLAS_CORETYPE=Haswell" in line]
    assert warned[0] < 15
    assert warned[-1] >= len(lines) - 4


def test_results_are_recorded_with_all_that_is_known(saved: tuple[Path, str]) -> None:
    from fastbn.bench.results import read, results_of

    (path,) = saved[0].rglob("*first.json")
    document = read(path)
    results = results_of(document)
    assert {r.case.suite for r in results.results} == {"gemm", "batchnorm"}
    assert all({"fastbn", "numpy"} <= set(r.figures) for r in results.results)
    machine: dict[str, Any] = document["machine_info"]
    assert "node" not in machine
    known = {"command", "cpu", "target", "compiler", "threads", "libraries", "limits", "warnings"}
    assert known <= set(machine["fastbn"])
    assert str(saved[0].parent) not in machine["fastbn"]["command"]
    for benchmark in document["benchmarks"]:
        info = benchmark["extra_info"]
        assert info["threads"] == 1
        assert benchmark["stats"]["rounds"] == len(info["seconds"]) == 2
        assert benchmark["stats"]["max"] == pytest.approx(max(info["seconds"]))
        assert benchmark["group"] == info["name"]


def test_pytest_benchmark_compares_two_saved_runs(saved: tuple[Path, str]) -> None:
    folder = saved[0]
    files = sorted(map(str, folder.rglob("*.json")))
    assert len(files) == 2
    done = run("pytest_benchmark", "compare", *files, "--group-by=name")
    assert done.returncode == 0, done.stderr
    assert "NN 128x10 b=8-numpy" in done.stdout


def test_two_saved_runs_are_compared_by_their_ratios(saved: tuple[Path, str]) -> None:
    files = sorted(map(str, saved[0].rglob("*.json")))
    done = run("fastbn.bench.compare", *files)
    assert done.returncode == 0, done.stdout + done.stderr  # nothing is lost to a copy
    assert "in the ratio to NumPy" in done.stdout


def test_files_of_fastbn_bench_are_read_by_pytest_benchmark(tmp_path: Path) -> None:
    path = tmp_path / "0001_run.json"
    path.write_text(json.dumps(documents.make(suites=["training"])))
    done = run("pytest_benchmark", "compare", str(path))
    assert done.returncode == 0, done.stderr
    assert "b=96-torch" in done.stdout


def test_plain_pytest_runs_no_benchmark() -> None:
    tomllib = pytest.importorskip("tomllib")
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    assert options["testpaths"] == ["tests"]
    assert "bench_*.py" in options["python_files"]
    assert not [*(ROOT / "tests").rglob("bench_*.py")]


@pytest.mark.parametrize("name", ["gemm", "batchnorm", "training"])
def test_ratio_commands_have_help(name: str) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / f"{name}_ratios.py", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--blas-core" in done.stdout
