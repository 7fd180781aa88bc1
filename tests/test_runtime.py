"""Targets, threads, forks: what the environment decides, what concurrent use must not change."""

import os
import platform
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

import fastbn
from fastbn import _core

# Every target's row is in the build or not by architecture; these names are known to all.
KNOWN = ("avx512", "avx2", "neon", "scalar")
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


# -- targets ---------------------------------------------------------------------------------------

REPORT_TARGET = "from fastbn import _core; print(_core.get_target())"


def test_available_targets():
    targets = _core.available_targets()
    assert targets[-1] == "scalar"
    assert set(targets) <= set(_core.build_info()["targets"]) <= set(KNOWN)
    assert output(REPORT_TARGET) == targets[0], "the best one is in force from the start"
    assert output(REPORT_TARGET, {"FASTBN_TARGET": ""}) == targets[0]


@pytest.mark.parametrize("name", KNOWN)
def test_a_target_is_forced_by_the_environment(name):
    done = python(REPORT_TARGET, {"FASTBN_TARGET": name})
    if name in _core.available_targets():
        assert done.stdout.strip() == name
    else:
        assert done.returncode != 0
        assert name in done.stderr
        assert ", ".join(_core.available_targets()) in done.stderr


@pytest.mark.parametrize("name", ["sse9", "AVX2", "scalar ", "avx"])
def test_an_unknown_target_fails_the_import(name):
    done = python(REPORT_TARGET, {"FASTBN_TARGET": name})
    assert done.returncode != 0
    assert "ImportError" in done.stderr
    assert f"'{name}'" in done.stderr
    assert ", ".join(_core.available_targets()) in done.stderr


def test_an_unknown_target_is_refused():
    before = _core.get_target()
    for name in ("sse9", "", "SCALAR"):
        with pytest.raises(ValueError, match=rf"'{name}'.*available: .*scalar"):
            _core.set_target(name)
    for name in set(KNOWN) - set(_core.available_targets()):
        with pytest.raises(ValueError, match=f"'{name}'.*available: .*scalar"):
            _core.set_target(name)
    assert _core.get_target() == before


def test_use_target(target):
    """`target` is in force around; whatever happens within, it is again afterwards."""
    for name in _core.available_targets():
        with fastbn.use_target(name):
            assert _core.get_target() == name
            assert fastbn.info()["target"] == name
        assert _core.get_target() == target
    with pytest.raises(KeyError), fastbn.use_target("scalar"):
        raise KeyError
    assert _core.get_target() == target
    with pytest.raises(ValueError, match="unknown target 'sse9'"), fastbn.use_target("sse9"):
        pass
    assert _core.get_target() == target


def test_targets_agree_within_rounding(rng):
    a, b = rng.standard_normal((2, 50, 50))
    results = []
    for name in _core.available_targets():
        with fastbn.use_target(name):
            results.append(fastbn.matmul(a, b))
    for result in results:
        np.testing.assert_allclose(result, results[0], rtol=1e-10)


def test_cache_sizes_are_those_that_the_kernel_tells():
    """A virtual machine's CPU is often told the size of the host's whole last level."""
    known = {}
    for cache in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        if (cache / "size").exists() and (cache / "type").read_text().strip() != "Instruction":
            size = (cache / "size").read_text().strip()
            known[int((cache / "level").read_text())] = int(size.removesuffix("K")) * 1024
    if not known:
        pytest.skip("the kernel tells none")
    assert fastbn.info()["cache_sizes"] == [known[level] for level in sorted(known)]


def test_info():
    info = fastbn.info()
    assert info["version"] == fastbn.__version__ == _core.__version__
    assert info["target"] == _core.get_target()
    assert info["available_targets"] == _core.available_targets()
    assert info["threads"] == fastbn.get_num_threads()
    assert isinstance(info["openmp"], bool)
    assert isinstance(info["compiler"], str)
    assert all(isinstance(size, int) for size in info["cache_sizes"])
    assert all(isinstance(feature, str) for feature in info["cpu_features"])


# -- number of threads -----------------------------------------------------------------------------

REPORT_THREADS = "from fastbn import _core; print(_core.get_num_threads())"


def cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def test_threads_come_from_the_environment():
    default = int(output(REPORT_THREADS))
    assert 1 <= default <= cpus()
    for environment, expected in (
        ({"FASTBN_NUM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": "5"}, 5),
        ({"FASTBN_NUM_THREADS": "3", "OMP_NUM_THREADS": "5"}, 3),
        ({"OMP_NUM_THREADS": "4,2"}, 4),
    ):
        assert int(output(REPORT_THREADS, environment)) == expected, environment
    for nonsense in ("", "0", "-2", "two", "2x", "1e3", "99999999999999999999"):
        environment = {"FASTBN_NUM_THREADS": nonsense}
        assert int(output(REPORT_THREADS, environment)) == default, nonsense
    assert int(output(REPORT_THREADS, {"FASTBN_NUM_THREADS": "x", "OMP_NUM_THREADS": "5"})) == 5


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinity")
def test_affinity_to_one_cpu_gives_one_thread():
    pin = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
    assert output(pin + REPORT_THREADS) == "1"
    assert output(pin + REPORT_THREADS, {"FASTBN_NUM_THREADS": "2"}) == "2"


def test_set_num_threads(threads):
    for n in (1, 2, 64, 10**6):
        fastbn.set_num_threads(n)
        assert fastbn.get_num_threads() == _core.get_num_threads() == n
    for n in (0, -1):
        with pytest.raises(ValueError, match=f"at least 1, got {n}"):
            fastbn.set_num_threads(n)
    assert fastbn.get_num_threads() == 10**6
    for wrong in (2.5, "2", None, 2**40):
        with pytest.raises(TypeError):
            fastbn.set_num_threads(wrong)
    assert fastbn.get_num_threads() == 10**6


def test_threads_as_a_context_manager(threads):
    threads(2)
    with fastbn.threads(3):
        assert fastbn.get_num_threads() == 3
        with fastbn.threads(1):
            assert fastbn.get_num_threads() == 1
        assert fastbn.get_num_threads() == 3
    assert fastbn.get_num_threads() == 2
    with pytest.raises(KeyError), fastbn.threads(5):
        raise KeyError
    assert fastbn.get_num_threads() == 2
    with pytest.raises(ValueError, match="at least 1, got 0"), fastbn.threads(0):
        pass
    assert fastbn.get_num_threads() == 2


# -- the floating-point environment ----------------------------------------------------------------


def test_import_leaves_the_floating_point_environment_alone():
    """Flush-to-zero or another rounding would change the results of all other libraries."""
    code = """
import numpy as np
tiny = np.float32(1e-45), np.float64(5e-324)
def state():
    halves = [float(t * t.dtype.type(1.0)) for t in tiny]
    quarter = [float(np.finfo(t.dtype).tiny * t.dtype.type(0.25)) for t in tiny]
    third = [float(t.dtype.type(1) / t.dtype.type(3)) for t in tiny]
    return [v.hex() for v in (*halves, *quarter, *third)], np.geterr()
before = state()
import fastbn
assert state() == before
a = np.ones((100, 100), np.float32)
for target in fastbn.info()["available_targets"]:
    with fastbn.use_target(target):
        fastbn.matmul(a, a)
        fastbn.batch_norm(a, None, None, training=True)
        assert state() == before, target
"""
    output(code)


@pytest.mark.skipif(
    sys.platform != "linux" or os.uname().machine != "x86_64", reason="reads a register of x86"
)
def test_import_leaves_mxcsr_alone():
    code = """
import ctypes, mmap
# stmxcsr [rdi]; ret
page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(bytes.fromhex("0fae1fc3"))
address = ctypes.addressof(ctypes.c_char.from_buffer(page))
store = ctypes.CFUNCTYPE(None, ctypes.POINTER(ctypes.c_uint32))(address)
def mxcsr():
    value = ctypes.c_uint32()
    store(ctypes.byref(value))
    return value.value & 0xffc0  # modes and masks; the flags below may be raised
import numpy as np
before = mxcsr()
import fastbn
assert mxcsr() == before
fastbn.matmul(np.ones((300, 300)), np.ones((300, 300)))
assert mxcsr() == before
print(hex(before))
"""
    assert output(code) == "0x1f80"


# -- threads of Python -----------------------------------------------------------------------------


def work(seed: int) -> list[bytes]:
    """The bits of one call of several kernels, large enough for several threads each."""
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((2, 130, 130), np.float32)
    x = rng.standard_normal((600, 130), np.float32)
    mean, var = np.zeros((2, 130), np.float32)
    y, cache = _core.batch_norm(x, None, None, mean, var, training=True, activation="relu")
    return [
        r.tobytes()
        for r in (
            _core.gemm(a, b),
            _core.gemm(a, b, b.copy(), trans_b=True, beta=1.0, bias=b[0], activation="relu"),
            _core.column_sums(x),
            y, mean, var,
            *_core.batch_norm_backward(x, cache),
        )
    ]  # fmt: skip


def in_threads(count: int, body: object) -> None:
    """Run body(i) in `count` threads that start together; an exception in any is raised here."""
    barrier, errors = threading.Barrier(count), []

    def run(i: int) -> None:
        try:
            barrier.wait()
            body(i)  # type: ignore[operator]
        except BaseException as error:
            errors.append(error)

    pool = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join()
    if errors:
        raise errors[0]


@pytest.mark.parametrize("kernel_threads", [1, 3])
def test_twelve_threads_of_python(threads, kernel_threads):
    threads(kernel_threads)
    expected = [work(seed) for seed in range(12)]

    def body(i: int) -> None:
        for _ in range(50):
            assert work(i) == expected[i]

    in_threads(12, body)


def test_targets_may_change_while_kernels_run(threads):
    """Each call takes the target in force as it starts, and keeps to it."""
    before = _core.get_target()
    targets = _core.available_targets()
    expected: dict[int, set[bytes]] = {}
    for seed in range(4):
        expected[seed] = set()
        for name in targets:
            with fastbn.use_target(name):
                expected[seed].add(work(seed)[0])

    def body(i: int) -> None:
        rng = np.random.default_rng(i)
        if i >= 4:
            for _ in range(500):
                _core.set_target(targets[rng.integers(len(targets))])
                _core.set_num_threads(int(rng.integers(1, 4)))
        else:
            for _ in range(50):
                assert work(i)[0] in expected[i]

    try:
        in_threads(6, body)
    finally:
        _core.set_target(before)


# -- fork ------------------------------------------------------------------------------------------

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
