"""Processes that run by turns: all but one are stopped.

After a call the idle threads of a library wait spinning for the next one: OpenBLAS's for 2**28
ticks of the clock, which is a tenth of a second, OpenMP's for up to 30 ms.  Whoever comes next
would have to share the CPUs with them; a stopped process takes none.
"""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys

_STOP, _CONTINUE = getattr(signal, "SIGSTOP", None), getattr(signal, "SIGCONT", None)
_PR_SET_PDEATHSIG = 1  # of Linux's prctl


def pause(process: subprocess.Popen[str]) -> None:
    """Stop a process, with all of its threads."""
    if _STOP is not None:
        process.send_signal(_STOP)


def resume(process: subprocess.Popen[str]) -> None:
    """Let it go on."""
    if _CONTINUE is not None:
        process.send_signal(_CONTINUE)


def end_with_parent() -> None:
    """Have this process killed when its parent ends: a stopped one would not notice by itself."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
