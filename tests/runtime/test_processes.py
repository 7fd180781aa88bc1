"""Kernels in processes that fork, are spawned, or get fewer threads than they ask for."""

import os
import platform
import subprocess
import sys

import pytest

import fastbn

from .interpreter import output

FORK = """
import os, sys, numpy as np
from fastbn import _core
_core.set_num_threads({threads})
rng = np.random.default_rng(0)
a = rng.standard_normal((300, 300)).astype(np.float32)
x = rng.standard_normal((3000, 100)).astype(np.float32)
def work():
    return _core.gemm(a, a).tobytes() + _core.batch_norm(x, None, None, training=True)[0].tobytes()
def child(body):
    pid = os.fork()
    if pid == 0:
        os._exit(0 if body() else 3)
    return os.waitpid(pid, 0)[1] == 0
"""
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")


SHORTAGE = """
import os, resource, time
import numpy as np
from fastbn import _core
n = 1 << 22
param, grad = np.arange(n, dtype=np.float32), np.ones(n, np.float32)
expected = param - 100 * grad
threads = lambda: len(os.listdir("/proc/self/task"))
before = threads()
_core.set_num_threads(8)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
limit = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (used + ({room} << 20), limit[1]))
for _ in range(99):
    _core.sgd_update(param, grad, None, 1.0)
resource.setrlimit(resource.RLIMIT_AS, limit)
short = threads() - before
time.sleep(0.2)
_core.sgd_update(param, grad, None, 1.0)  # now there is room for all
print(short, threads() - before, np.array_equal(param, expected))
"""


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or fastbn.info()["openmp"],
    reason="knows the stacks of glibc's threads; libgomp ends a process that gets no thread",
)
@pytest.mark.parametrize(("room", "workers"), [(2, 0), (12, 1), (28, 3)])
def test_parts_without_a_thread_are_computed_once(room, workers):
    """Threads' stacks have 8 MiB each, so the system gives fewer than the 7 workers asked for."""
    stack = """
import os, resource, sys
hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
resource.setrlimit(resource.RLIMIT_STACK, (8 << 20, hard))
"""
    code = SHORTAGE.format(room=room)
    short, later, right = output(
        f"{stack}os.execv(sys.executable, [sys.executable, '-c', {code!r}])"
    ).split()
    assert min(workers, 1) <= int(short) <= workers
    assert int(later) == 7
    assert right == "True"


@needs_fork
@pytest.mark.parametrize("n_threads", [1, 2, 7])
def test_kernel_fork_kernel(n_threads):
    """A child finds no thread of its parent's pool, and must not wait for one."""
    code = """
expected = work()
assert child(lambda: work() == expected)
assert work() == expected
# nested, and again
def right():
    return work() == expected
assert child(lambda: right() and child(right) and right())
assert all(child(lambda: work() == expected) for _ in range(20))
assert work() == expected
"""
    output(FORK.format(threads=n_threads) + code, timeout=10)


@needs_fork
def test_fork_from_a_thread(threads):
    """Each thread of Python has a pool of its own."""
    code = """
import threading
expected = work()
results = []
def run():
    results.append(work() == expected and child(lambda: work() == expected) and work() == expected)
for _ in range(3):
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
assert results == [True] * 3
assert child(lambda: work() == expected)
"""
    output(FORK.format(threads=2) + code, timeout=10)


@needs_fork
def test_fork_while_another_thread_computes():
    code = """
import threading
expected = work()
stop = threading.Event()
wrong = []
def run():
    while not stop.is_set():
        if work() != expected:
            wrong.append(1)
pool = [threading.Thread(target=run) for _ in range(2)]
for thread in pool:
    thread.start()
assert all(child(lambda: work() == expected) for _ in range(20))
stop.set()
for thread in pool:
    thread.join()
assert not wrong
"""
    output(FORK.format(threads=2) + code, timeout=30)


@needs_fork
def test_pool_of_forked_processes():
    code = """
import multiprocessing
def job(_):
    return work()
if __name__ == "__main__":
    expected = work()
    with multiprocessing.get_context("fork").Pool(3) as pool:
        assert pool.map(job, range(12)) == [expected] * 12
    assert work() == expected
"""
    output(FORK.format(threads=2) + code, timeout=10)


def test_spawned_processes(tmp_path):
    script = tmp_path / "spawn.py"
    script.write_text(
        FORK.format(threads=2)
        + """
import multiprocessing
def job(_):
    return work()
if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(job, range(4)) == [work()] * 4
"""
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
