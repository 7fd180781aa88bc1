"""The command: what it prints, and that a mistake costs one line and exit code 2."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbn
from fastbn.bench.environment import held_back

QUICK = ("train", "--epochs", "2", "--hidden", "16", "--no-compare")


def fastbn_command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, its output piped."""
    return subprocess.run(
        [sys.executable, "-m", "fastbn.cli", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def trained() -> subprocess.CompletedProcess[str]:
    """A training with all defaults, but for the comparison of speeds."""
    return fastbn_command("train", "--no-compare")


def rows(text: str) -> dict[str, str]:
    """Return the lines of the form "name   value"."""
    matches = (re.fullmatch(r"(\S+(?: \S+)*?) {2,}(\S.*)", line) for line in text.splitlines())
    return {match[1]: match[2] for match in matches if match}


# -- what a training prints ----------------------------------------------------------------------


def test_the_digits_are_learned_by_default(trained: subprocess.CompletedProcess[str]) -> None:
    assert trained.returncode == 0, trained.stderr
    found = re.search(r"([\d.]+)% after the last epoch; best ([\d.]+)%", trained.stdout)
    assert found is not None
    last, best = map(float, found.groups())
    assert 97 <= last <= best <= 100


def test_the_accounting_is_a_table(trained: subprocess.CompletedProcess[str]) -> None:
    table = rows(trained.stdout)
    assert table["samples"] == "1,437"
    assert table["batch size"] == "32  (mini-batch gradient descent)"
    assert table["iterations an epoch"] == "45"
    assert table["epochs"] == "20"
    assert table["updates"] == "900  (45 x 20)"
    assert table["tail"] == "The last batch of an epoch has 29 samples, not 32."


def test_every_epoch_has_its_line(trained: subprocess.CompletedProcess[str]) -> None:
    header = ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "images/s"]
    lines = [line.split() for line in trained.stdout.splitlines()]
    start = lines.index(header)
    epochs = lines[start + 1 : start + 21]
    assert [line[0] for line in epochs] == [f"{i}/20" for i in range(1, 21)]
    values = np.array([[float(v.replace(",", "")) for v in line[1:]] for line in epochs])
    assert values[-1, 0] < 0.1 * values[0, 0]
    assert (values[:, [1, 3]] <= 1).all()
    assert (values[:, 4] > 0).all()


def test_piped_output_is_plain_text_of_80_columns(
    trained: subprocess.CompletedProcess[str],
) -> None:
    assert trained.stdout.isascii()
    assert all(c.isprintable() or c == "\n" for c in trained.stdout)
    assert max(map(len, trained.stdout.splitlines())) <= 80
    assert trained.stderr == ""


def test_one_seed_gives_one_result() -> None:
    def losses(seed: str) -> list[list[str]]:
        out = fastbn_command(*QUICK, "--seed", seed).stdout
        return [line.split()[:5] for line in out.splitlines() if re.match(r" *\d/2", line)]

    assert losses("3") == losses("3") != losses("4")


@pytest.mark.parametrize(
    ("tail", "iterations", "says"),
    [("keep", "15", "37 samples"), ("drop", "14", "37 of 1,437"), ("merge", "14", "137 samples")],
)
def test_tails(tail: str, iterations: str, says: str) -> None:
    out = fastbn_command(*QUICK, "--batch-size", "100", "--tail", tail).stdout
    assert rows(out)["iterations an epoch"] == iterations
    assert says in " ".join(out.split())


@pytest.mark.parametrize(
    "options",
    [
        ("--optimizer", "adam"),
        ("--optimizer", "adamw", "--lr", "0.002", "--weight-decay", "0.1"),
        ("--no-batch-norm", "--batch-size", "1", "--momentum", "0", "--lr", "0.01"),
        ("--dtype", "float64", "--hidden", "16,8,4"),
        ("--threads", "1", "--batch-size", "5000"),
    ],
)
def test_options(options: tuple[str, ...]) -> None:
    done = fastbn_command(*QUICK, "--epochs", "1", *options)
    assert done.returncode == 0, done.stderr
    assert "% after the last epoch" in done.stdout


def test_quiet_leaves_the_accounting_and_the_results() -> None:
    out = fastbn_command(*QUICK, "--quiet").stdout
    assert "val_loss" not in out
    assert rows(out)["updates"] == "90  (45 x 2)"
    assert "% after the last epoch" in out


def test_no_progress_keeps_the_lines() -> None:
    assert "val_loss" in fastbn_command(*QUICK, "--no-progress").stdout


def test_a_loss_that_is_no_number_is_one_line_of_warning() -> None:
    done = fastbn_command(*QUICK, "--no-batch-norm", "--lr", "1e30")
    assert done.returncode == 0
    (warning,) = done.stderr.splitlines()
    assert warning.startswith("fastbn: warning: the loss is ")


# -- other data ----------------------------------------------------------------------------------


@pytest.fixture
def arrays() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = (rng.standard_normal((60, 4)) + 3 * y[:, None]).astype(np.float32)
    return {"x_train": x[:45], "y_train": y[:45], "x_test": x[45:], "y_test": y[45:]}


def test_an_npz_file(arrays: dict[str, Any], tmp_path: Path) -> None:
    np.savez(tmp_path / "points.npz", **arrays)
    done = fastbn_command(*QUICK, "--data", str(tmp_path / "points.npz"))
    assert done.returncode == 0, done.stderr
    assert "points.npz: 45 training and 15 test samples of 4, 3 classes" in done.stdout
    assert "samples/s" in done.stdout


def test_a_csv_file(arrays: dict[str, Any], tmp_path: Path) -> None:
    table = np.column_stack([arrays["x_train"], arrays["y_train"]])
    np.savetxt(tmp_path / "points.csv", table, delimiter=",")
    done = fastbn_command(*QUICK, "--data", str(tmp_path / "points.csv"))
    assert done.returncode == 0, done.stderr
    assert "36 training and 9 test samples" in done.stdout


# -- the comparison with NumPy -------------------------------------------------------------------


def test_the_speed_stands_beside_that_of_numpy() -> None:
    done = fastbn_command("train", "--epochs", "1", "--hidden", "32", "--threads", "1", "--quiet")
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    found = re.search(
        r"fastbn ([\d,]+) images/s, NumPy ([\d,]+): ([\d.]+) times as fast "
        r"\(the same net in plain NumPy; batch size 32, 1 thread each, "
        r"medians of 9 interleaved rounds\)",
        text,
    )
    assert found is not None, text
    ours, theirs = (float(n.replace(",", "")) for n in found.groups()[:2])
    assert float(found[3]) == pytest.approx(ours / theirs, abs=0.01)


def test_what_would_slow_numpy_down_is_named_in_one_line() -> None:
    done = fastbn_command(
        "train", "--epochs", "1", "--hidden", "8", "--threads", "1", "--quiet",
        OPENBLAS_CORETYPE="Haswell", OPENBLAS_NUM_THREADS="3",
    )  # fmt: skip
    (warning,) = done.stderr.splitlines()
    for setting in ("OPENBLAS_CORETYPE=Haswell", "OPENBLAS_NUM_THREADS=3"):
        assert setting in warning
    assert "would slow NumPy down" in warning


def test_settings_that_do_not_slow_numpy_down_are_no_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OPENBLAS_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"):
        monkeypatch.setenv(name, "2")
    monkeypatch.delenv("VECLIB_MAXIMUM_THREADS", raising=False)
    assert held_back(2) == []
    assert len(held_back(1)) == 3


# -- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "command"),
        (("fly",), "fly"),
        (("train", "--batch-size", "0"), r"--batch-size.*at least 1, not 0"),
        (("train", "--batch-size", "-3"), r"--batch-size"),
        (("train", "--batch-size", "ten"), r"--batch-size.*'ten' is not an integer"),
        (("train", "--batch-size", "1"), r"--batch-size.*variance"),
        (("train", "--batch-size"), r"--batch-size"),
        (("train", "--epochs", "0"), r"--epochs.*not 0"),
        (("train", "--epochs", "1.5"), r"--epochs.*1\.5"),
        (("train", "--hidden", "abc"), r"--hidden.*'abc'"),
        (("train", "--hidden", ""), r"--hidden.*''"),
        (("train", "--hidden", "512,"), r"--hidden.*'512,'"),
        (("train", "--hidden", "512,0"), r"--hidden.*not 0"),
        (("train", "--hidden", "9999999999"), r"--hidden.*9999999999"),
        (("train", "--lr", "0"), r"--lr.*above 0"),
        (("train", "--lr", "nan"), r"--lr.*nan"),
        (("train", "--lr", "fast"), r"--lr.*'fast' is not a number"),
        (("train", "--momentum", "-1"), r"--momentum.*-1"),
        (("train", "--weight-decay", "inf"), r"--weight-decay.*inf"),
        (("train", "--optimizer", "lion"), r"--optimizer.*lion"),
        (("train", "--dtype", "float16"), r"--dtype.*float16"),
        (("train", "--seed", "-1"), r"--seed.*-1"),
        (("train", "--threads", "0"), r"--threads.*not 0"),
        (("train", "--tail", "cut"), r"--tail.*cut"),
        (("train", "--tail", "drop", "--batch-size", "2000"), r"--tail.*1,437.*2,000"),
        (("train", "--epoch", "3"), r"--epoch"),
        (("train", "digits"), "digits"),
        (("train", "--data", "no/such/folder"), "--data.*no/such/folder"),
    ],
)
def test_a_mistake_costs_one_line_and_exit_code_2(arguments: tuple[str, ...], says: str) -> None:
    done = fastbn_command(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert re.match(r"fastbn( train)?: error: ", line)
    assert re.search(says, line), line


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "points.npz", "points.csv", "a.txt"])
def test_data_that_cannot_be_read_cost_one_line(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(b"\x00\x00\x08\x03garbage")
    done = fastbn_command("train", "--data", str(tmp_path if "idx" in name else file))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("fastbn train: error: argument --data: ")
    assert name in line


def test_an_empty_folder_is_said(tmp_path: Path) -> None:
    done = fastbn_command("train", "--data", str(tmp_path))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "train-images" in done.stderr


# -- the rest ------------------------------------------------------------------------------------


def test_version() -> None:
    done = fastbn_command("--version")
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        f"fastbn {fastbn.__version__}\n",
        "",
    )


def test_info_says_what_the_library_found() -> None:
    done = fastbn_command("info")
    assert done.returncode == 0, done.stderr
    table, info = rows(done.stdout), fastbn.info()
    assert table["version"] == fastbn.__version__
    assert table["target"].split()[0] == info["target"]
    assert table["threads"] == str(info["threads"])
    assert {"CPU features", "caches", "compiler", "OpenMP"} <= set(table)
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize("arguments", [("--help",), ("train", "--help"), ("info", "--help")])
def test_help(arguments: tuple[str, ...]) -> None:
    done = fastbn_command(*arguments, COLUMNS="80")
    assert done.returncode == 0
    assert done.stdout.startswith("usage: fastbn")
    assert "default: None" not in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
def test_a_reader_that_leaves_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -m fastbn.cli {' '.join(QUICK)} | head -1",
        shell=True,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout == f"fastbn {fastbn.__version__}\n"
    assert done.stderr == ""


@pytest.mark.skipif(sys.platform == "win32", reason="needs pseudo-terminals")
def test_a_terminal_of_80_columns_gets_a_table_and_a_bar() -> None:
    pytest.importorskip("rich")
    shown = run_in_terminal(*QUICK)
    assert "\x1b[" in shown
    assert "╭" in shown
    visible = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert "% after the last epoch" in visible
    assert max(len(line) for part in visible.splitlines() for line in part.split("\r")) <= 80


def run_in_terminal(*arguments: str) -> str:
    """Return what the command writes to a pseudo-terminal of 80 columns."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "fastbn.cli", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.STDOUT,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(theirs)
    pieces = []
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # how Linux says that the other end is closed
            break
        if not piece:
            break
        pieces.append(piece)
    os.close(ours)
    assert process.wait(timeout=120) == 0
    return b"".join(pieces).decode()
