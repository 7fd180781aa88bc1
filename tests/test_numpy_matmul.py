"""NumPy's own tests of matmul, which its wheel ships, with fastbn's function in its place."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

SHIPPED = importlib.util.find_spec("numpy._core.tests") is not None

TESTS = """
import fastbn
from numpy._core.tests.test_multiarray import MatmulCommon


class TestMatmul(MatmulCommon):
    matmul = staticmethod(fastbn.matmul)
"""


@pytest.mark.skipif(not SHIPPED, reason="this NumPy ships no tests")
def test_matmul_passes_the_tests_of_numpy(tmp_path: Path) -> None:
    path = tmp_path / "test_matmul.py"
    path.write_text(TESTS)
    # A configuration of its own: this project's is stricter than NumPy's tests are written for.
    command = [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "--rootdir", str(tmp_path)]
    command += ["-p", "no:cacheprovider", "-W", "ignore", str(path)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    assert " passed" in run.stdout
