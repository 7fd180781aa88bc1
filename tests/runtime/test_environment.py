"""Targets and threads as the environment and the user decide; what an import leaves alone."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

import fastbn
from fastbn import _core

from .interpreter import output, python

# Every target's row is in the build or not by architecture; these names are known to all.
KNOWN = ("avx512", "avx2", "neon", "scalar")

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
