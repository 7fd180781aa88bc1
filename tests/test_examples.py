"""The scripts in examples/ run as they stand and learn; the benchmarks of these styles run."""

import importlib.util
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def run(script, *arguments, folder):
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script), *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def skip_without_cython():
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    if not (importlib.util.find_spec("Cython") and shutil.which("cc") and headers.exists()):
        pytest.skip("needs Cython, a C compiler named cc and Python's headers")


def test_there_is_an_example_of_each_style():
    names = [example.stem for example in EXAMPLES]
    assert names == ["cs231n_net", "cython_net", "dlfs_net", "net"]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.stem)
def test_example_learns(example, tmp_path):
    if example.stem == "cython_net":
        skip_without_cython()
    output = run(example, folder=tmp_path)
    accuracy = re.search(r"^test accuracy: (.+)$", output, re.MULTILINE)
    assert accuracy
    assert float(accuracy[1]) > 0.85  # the nets reach 0.91 to 0.94, chance is 0.1


def test_speed_of_the_styles_is_a_table(tmp_path):
    output = run(ROOT / "benchmarks" / "compat_speed.py", "--quick", folder=tmp_path)
    rows = [line for line in output.splitlines() if line.startswith("| `fastbn.compat.")]
    assert len(rows) == 4


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_speed_of_vectors_is_a_table(tmp_path, dtype):
    script = ROOT / "benchmarks" / "vector_ratios.py"
    output = run(script, "--quick", "--dtype", dtype, folder=tmp_path)
    assert re.findall(r"^\| (\d+ x \d+) \|", output, re.MULTILINE) == ["64 x 64", "128 x 128"]


@pytest.mark.toolchain
def test_cython_peer_runs(tmp_path):
    skip_without_cython()
    script = ROOT / "benchmarks" / "cython_peer" / "speed.py"
    assert "784-256-10, batch 256" in run(script, "--quick", folder=tmp_path)
