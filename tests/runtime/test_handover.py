"""The time a cache line takes from thread to thread: that it is measured, and never waited for."""

from __future__ import annotations

import threading
import time

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
    assert 1e-9 < seconds < 1e-4


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


def test_what_is_assumed_can_be_taken_back() -> None:
    for far in (True, False, None):
        _core.assume_far_apart(far)
