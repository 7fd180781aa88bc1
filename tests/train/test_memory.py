"""What a training step allocates once it is steady, nothing, and the memory that training takes."""

from __future__ import annotations

import itertools
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from steady_steps import SIZES

HERE = Path(__file__).parent
BATCH = 512
COMPILER = shutil.which("cc") or shutil.which("gcc")

pytestmark = pytest.mark.skipif(
    COMPILER is None or platform.libc_ver()[0] != "glibc",
    reason="counting allocations needs a C compiler and glibc",
)


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the library that counts."""
    library = tmp_path_factory.mktemp("counter") / "count_malloc.so"
    source = HERE / "count_malloc.c"
    subprocess.run([str(COMPILER), "-O2", "-shared", "-fPIC", source, "-o", library], check=True)
    return library


def train(counter: Path, *, waste: bool) -> dict[str, int]:
    """Train in a process of its own; return what `steady_steps` prints."""
    command = [sys.executable, HERE / "steady_steps.py", counter, str(BATCH), str(int(waste))]
    environ = {**os.environ, "LD_PRELOAD": str(counter)}
    result = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    counted: dict[str, int] = json.loads(result.stdout)
    return counted


def test_a_steady_step_allocates_no_array(counter: Path) -> None:
    assert train(counter, waste=False)["steady"] == 0


def test_an_allocated_array_is_counted(counter: Path) -> None:
    assert train(counter, waste=True)["steady"] >= 6  # one in each of the batches 2 to 7


def test_peak_memory_is_what_the_documentation_says(counter: Path) -> None:
    """See "What training keeps in memory" in docs/training.md."""
    hidden, classes = SIZES[1:-1], SIZES[-1]
    weights = [n_in * n_out for n_in, n_out in itertools.pairwise(SIZES)]
    # Parameters, gradients, velocities.
    state = 3 * (sum(weights) + 2 * sum(hidden) + classes)
    # Linear and BatchNorm1d: a result and a dx each, as wide as the layer, but for the first dx;
    # the last Linear's dx is as wide as what it is given.  And the batch itself.
    outputs = sum(4 * n for n in hidden) + 2 * classes
    batch = BATCH * (SIZES[0] + outputs)
    # Scratch of one product: no more than both of its operands.  And the first block's dz, where it
    # does one operation after the other.
    workspace = BATCH * SIZES[0] + max(weights) + BATCH * hidden[0]
    peak = train(counter, waste=False)["peak"]
    assert state + batch <= peak / 4 < state + batch + workspace
