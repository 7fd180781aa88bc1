"""The time a cache line takes from thread to thread: that it is measured, and never waited for."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import fastbn
from fastbn import _core
from fastbn.bench.environment import cpus_at_hand


def test_one_thread_hands_nothing_over(threads) -> None:
    threads(1)
    assert _core.handover_seconds() == 0


@pytest.mark.skipif(len(cpus_at_hand()) < 2, reason="threads that share a CPU never meet")
def test_two_threads_take_nanoseconds(threads) -> None:
    threads(2)
    deadline = time.monotonic() + 10
    while not (seconds := _core.handover_seconds()):  # the second was late, as one that wakes up is
        assert time.monotonic() < deadline
    assert 1e-9 < seconds < 2e-6  # some 60 to 300 ns


def test_threads_that_do_not_come_are_not_waited_for(threads) -> None:
    """Far more threads than CPUs: some are late each time, and all the same it ends."""
    threads(64)
    for _ in range(20):
        assert 0 <= _core.handover_seconds() < 1


def test_callers_who_find_the_threads_busy_do_not_wait(threads) -> None:
    threads(2)
    a = np.ones((600, 600), np.float32)
    done = threading.Event()

    def multiply() -> None:
        while not done.is_set():
            fastbn.matmul(a, a)

    other = threading.Thread(target=multiply)
    other.start()
    try:
        for _ in range(200):
            assert 0 <= _core.handover_seconds() < 1
    finally:
        done.set()
        other.join()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the system has no /proc")
def test_a_call_for_one_thread_starts_no_other() -> None:
    code = """
import os
import numpy as np
import fastbn
fastbn.set_num_threads(16)
net = fastbn.Sequential(fastbn.Linear(16, 16, rng=0), fastbn.BatchNorm1d(16), fastbn.ReLU())
optimizer = fastbn.SGD(net.parameters(), lr=0.1)
before = len(os.listdir("/proc/self/task"))
x = np.ones((8, 16), np.float32)
net.backward(net.forward(x, training=True))
optimizer.step()
print(len(os.listdir("/proc/self/task")) - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"
