"""New interpreters, in whose environment nothing decides for fastbn."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping

import pytest

DECIDING = ("FASTBN_TARGET", "FASTBN_NUM_THREADS", "OMP_NUM_THREADS")


def python(
    code: str, environment: Mapping[str, str] | None = None, timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run code in a new interpreter, with nothing in its environment that decides for fastbn.

    When time is up, what it has forked is ended too.
    """
    clean = {k: v for k, v in os.environ.items() if k not in DECIDING}
    process = subprocess.Popen(
        [sys.executable, "-c", code], env={**clean, **(environment or {})}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.communicate()
        pytest.fail(f"not done after {timeout} s", pytrace=False)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def output(code: str, environment: Mapping[str, str] | None = None, timeout: float = 60) -> str:
    done = python(code, environment, timeout)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
