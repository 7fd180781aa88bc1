"""Which threads of the pool a call keeps busy: those that have a part in it."""

import os
import sys

import pytest

import fastbn

from .interpreter import output

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or fastbn.info()["openmp"],
    reason="reads /proc, and is about this library's own pool",
)

# Seven workers that have had a part, and all are asleep.
SEVEN_ASLEEP = """
import os, time
import numpy as np
from fastbn import _core

def tasks():
    return set(os.listdir("/proc/self/task"))

def read(task, name):
    with open(f"/proc/self/task/{task}/{name}") as file:
        return file.read()

def asleep(task):
    return read(task, "stat").rsplit(")", 1)[1].split()[0] == "S"

def seconds(task):
    return int(read(task, "schedstat").split()[0]) / 1e9

def wakes(task):
    lines = read(task, "status").splitlines()
    return next(int(x.split()[1]) for x in lines if x.startswith("voluntary_ctxt_switches"))

before = tasks()
param, grad = np.zeros(1 << 22, np.float32), np.zeros(1 << 22, np.float32)
_core.set_num_threads(8)
_core.sgd_update(param, grad, None, 1.0)
workers = sorted(tasks() - before, key=int)  # as they were started
assert len(workers) == 7
end = time.monotonic() + 30
while not all(map(asleep, workers)):
    assert time.monotonic() < end
    time.sleep(0.01)
_core.set_num_threads(2)
"""


def test_a_call_wakes_the_workers_that_have_a_part():
    counted = """
first = [wakes(w) for w in workers]
for _ in range(20):
    _core.sgd_update(param, grad, None, 1.0)
    time.sleep(0.01)  # they fall asleep in between
print(*(int(wakes(w) > n) for w, n in zip(workers, first)))
"""
    assert output(SEVEN_ASLEEP + counted) == "1 0 0 0 0 0 0"


@pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 3 if hasattr(os, "sched_getaffinity") else True,
    reason="on two CPUs workers that wait share one, and yield until they sleep in any case",
)
def test_calls_of_others_keep_no_worker_awake():
    timed = """
few = param[: 1 << 18], grad[: 1 << 18]  # the next call comes before a worker would sleep
first = [seconds(w) for w in workers]
_core.set_num_threads(8)
_core.sgd_update(*few, None, 1.0)  # all are awake
_core.set_num_threads(2)
end = time.monotonic() + 0.5
while time.monotonic() < end:
    _core.sgd_update(*few, None, 1.0)
print(sum(seconds(w) - t > 0.025 for w, t in zip(workers, first)))
"""
    assert int(output(SEVEN_ASLEEP + timed)) <= 1
