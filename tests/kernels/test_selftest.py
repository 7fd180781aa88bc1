"""The kernel self-test (selftest.cpp), which needs no Python: compiled in other ways and run.

Natively, also under valgrind and on an emulated CPU without vector extensions; with the address and
undefined-behaviour sanitizers; for AArch64, under an emulator.  Each is skipped where its tools are
not installed.  All compile the core anew, which takes minutes: only `-m toolchain` runs them.
"""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fastbn import _core

ROOT = Path(__file__).parents[2]
X86 = platform.machine() in ("x86_64", "AMD64")

pytestmark = [
    pytest.mark.toolchain,
    pytest.mark.skipif(sys.platform != "linux", reason="the tools are Linux's"),
    pytest.mark.skipif(not (ROOT / "CMakeLists.txt").exists(), reason="needs the source tree"),
]


def tool(name: str) -> str:
    """Find a tool on the path or beside the interpreter; skip the test if there is none."""
    beside = str(Path(sys.executable).parent)
    found = shutil.which(name) or shutil.which(name, path=beside)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout[-8000:]
    return done.stdout


def build(folder: Path, compiler: str, *options: str, optimize: str | None = None) -> Path:
    """Build the self-test in `folder`, as a release is or with `optimize` in place of -O3."""
    cmake = tool("cmake")
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    if optimize:  # the last option wins: that of a release comes before
        rule = "<CMAKE_CXX_COMPILER> <DEFINES> <INCLUDES> <FLAGS>"
        options += (f"-DCMAKE_CXX_COMPILE_OBJECT={rule} {optimize} -o <OBJECT> -c <SOURCE>",)
    run(
        cmake, "-S", ROOT, "-B", folder, *generator, f"-DCMAKE_CXX_COMPILER={tool(compiler)}",
        "-DFASTBN_BINDINGS=OFF", "-DFASTBN_SELFTEST=ON", *options,
    )  # fmt: skip
    jobs = str(len(os.sched_getaffinity(0)))
    run(cmake, "--build", folder, "--parallel", jobs, "--target", "fastbn_selftest")
    return folder / "fastbn_selftest"


def check(output: str, *targets: str) -> None:
    """The summary line names the targets and no failure."""
    summary = output.splitlines()[-1]
    assert summary.startswith(f"fastbn self-test: {' '.join(targets)}:"), summary
    assert summary.endswith(" checks, 0 failures"), summary


def check_symbols(folder: Path, nm: str) -> set[str]:
    """Check that kernels share no function with the rest of the library; return their targets.

    An inline function that a target's object defines as a weak symbol may be the copy that the
    linker keeps for all, with instructions that the CPU lacks.
    """
    names = set()
    for path in folder.glob("CMakeFiles/fastbn_kernels_*.dir/csrc/dispatch/kernels.cpp.*"):
        table = path.parents[2].name.removeprefix("fastbn_").removesuffix(".dir")
        names.add(table.removeprefix("kernels_").rpartition("_")[0])
        symbols = [line.split()[-2:] for line in run(nm, path).splitlines()]
        shared = {symbol for kind, symbol in symbols if kind in "WVuUTDBRC"}
        shared -= {"memcpy", "memset", "memmove"}
        assert shared == {f"_ZN6fastbn{len(table)}{table}E"}
    return names


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The self-test for this machine, of the objects of its wheel, which ccache may have."""
    return build(tmp_path_factory.mktemp("native"), "g++")


def test_native(native):
    check(run(native), *_core.available_targets())


def test_kernels_share_no_symbols(native):
    assert check_symbols(native.parent, tool("nm")) == set(_core.build_info()["targets"])


@pytest.mark.skipif(not X86, reason="emulates an x86 CPU")
def test_without_vector_extensions(native):
    """Only the scalar target remains, and nothing outside the targets' files needs more."""
    check(run(tool("qemu-x86_64"), "-cpu", "qemu64", native), "scalar")


@pytest.mark.skipif(not X86, reason="valgrind's targets are those of x86 here")
def test_under_valgrind(native):
    """No access out of bounds, no use of what was never written; valgrind knows no AVX-512."""
    output = run(tool("valgrind"), "-q", "--error-exitcode=9", native)
    assert "==" not in output
    check(output, "avx2", "scalar")


def test_with_sanitizers(tmp_path):
    # What is left out doubles the time, and nearly all that it finds address sanitizer traps too.
    left_out = "null,pointer-overflow,object-size"
    sanitizers = f"-fsanitize=address,undefined -fno-sanitize={left_out} -fno-sanitize-recover=all"
    # Each access checked by a call, and -O0: on two CPUs all compiles in 160 s.  Written out, and
    # at -O1, the kernels of AVX-512 alone took 650.
    sanitizers += " --param asan-instrumentation-with-call-threshold=0"
    probe = subprocess.run(
        [tool("g++"), *sanitizers.split(), "-x", "c++", "-", "-o", tmp_path / "probe"],
        input="int main() { return 0; }", text=True, capture_output=True,
    )  # fmt: skip
    if probe.returncode != 0:
        pytest.skip("the compiler has no sanitizers")
    # Kernels that this CPU cannot run would take half of the time.
    targets = _core.available_targets()
    program = build(
        tmp_path, "g++", f"-DCMAKE_CXX_FLAGS={sanitizers}",
        f"-DFASTBN_TARGETS={';'.join(targets)}", optimize="-O0",
    )  # fmt: skip
    check(run(program), *targets)


def test_aarch64(tmp_path):
    """NEON, under an emulator."""
    compiler, emulator = tool("aarch64-linux-gnu-g++"), tool("qemu-aarch64")
    program = build(
        tmp_path, "aarch64-linux-gnu-g++", "-DCMAKE_SYSTEM_NAME=Linux",
        "-DCMAKE_SYSTEM_PROCESSOR=aarch64", optimize="-O2",
    )  # fmt: skip
    assert check_symbols(tmp_path, tool("aarch64-linux-gnu-nm")) == {"neon", "scalar"}
    libc = Path(run(compiler, "-print-file-name=libc.so.6").strip()).resolve()
    check(run(emulator, "-L", libc.parents[1], program), "neon", "scalar")
