"""The C and Cython interface: its signatures, and an extension module that uses it."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

import fastbn
from fastbn import _core

HERE = Path(__file__).parent
HEADER = Path(fastbn.get_include()) / "fastbn" / "capi.h"

# -- signatures, frozen: whoever compiled against them must find them again ------------------------

S, I, D = "Py_ssize_t", "int", "double"  # noqa: E741
CONSTANT, POINTER = "{real} const *", "{real} *"


def signature(*types):
    return f"int ({', '.join(types) or 'void'})"


KERNELS = {
    "gemm": signature(I, I, S, S, S, "{real}", CONSTANT, S, CONSTANT, S, "{real}", POINTER, S),
    "batchnorm_forward": signature(
        S, S, S, CONSTANT, CONSTANT, CONSTANT, D, I, D, I, POINTER, POINTER, POINTER, POINTER
    ),
    "batchnorm_backward": signature(
        S, S, S, CONSTANT, CONSTANT, CONSTANT, I, POINTER, POINTER, POINTER
    ),
    "batchnorm_inference": signature(
        S, S, S, CONSTANT, CONSTANT, CONSTANT, D, I, CONSTANT, CONSTANT, POINTER
    ),
    "relu": signature(S, CONSTANT, POINTER),
    "relu_backward": signature(S, CONSTANT, CONSTANT, POINTER),
}
SIGNATURES = {
    prefix + name: text.format(real=real)
    for name, text in KERNELS.items()
    for prefix, real in (("s", "float"), ("d", "double"))
} | {"set_num_threads": signature(I), "get_num_threads": signature()}


def test_signatures_of_the_cython_interface_are_frozen():
    from fastbn import capi

    found = {
        name: re.search(r'"(.*)"', repr(capsule))[1] for name, capsule in capi.__pyx_capi__.items()
    }
    assert found == SIGNATURES


def test_fields_of_the_c_table_are_frozen():
    """The order of the fields is the layout of the table: new ones go to the end."""
    text = HEADER.read_text()
    fields = re.findall(r"int \(\*(\w+)\)\(", text)
    assert fields == [
        prefix + name for name in KERNELS for prefix in "sd"
    ] + ["set_num_threads", "get_num_threads"]  # fmt: skip
    assert re.search(r"typedef struct fastbn_capi \{\s+int version;\s", text)
    assert "#define FASTBN_CAPI_VERSION 1\n" in text
    assert "#define FASTBN_BATCHNORM_SAVED 6\n" in text


def test_numbers_of_the_two_interfaces_agree():
    header, pxd = HEADER.read_text(), (Path(fastbn.__file__).parent / "capi.pxd").read_text()
    numbers = dict(re.findall(r"FASTBN_(OK|INVALID|NO_MEMORY) = (-?\d)", header))
    assert numbers == dict(re.findall(r"^    (OK|INVALID|NO_MEMORY) = (-?\d)", pxd, re.MULTILINE))
    assert len(numbers) == 3


def test_the_capsule_has_the_name_of_the_header():
    assert 'FASTBN_CAPI_CAPSULE "fastbn._core._C_API"' in HEADER.read_text()
    assert '"fastbn._core._C_API"' in repr(_core._C_API)


def test_importing_fastbn_does_not_import_the_cython_interface():
    code = "import sys, fastbn; print('fastbn.capi' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


# -- a module that uses it -------------------------------------------------------------------------


def compiler(variable, *names):
    configured = (sysconfig.get_config_var(variable) or "").split()[:1]
    found = next(filter(None, map(shutil.which, (*configured, *names))), None)
    return found or pytest.skip(f"no compiler of {names}")


@pytest.mark.parametrize(
    ("names", "options"),
    [(("cc", "gcc", "clang"), ["-std=c99", "-xc"]), (("c++", "g++", "clang++"), ["-xc++"])],
    ids=["C", "C++"],
)
def test_the_header_is_plain(tmp_path, names, options):
    source = tmp_path / "source"
    source.write_text(
        '#include "fastbn/capi.h"\nint f(const fastbn_capi* t) { return t->version; }\n'
    )
    command = [compiler("CC", *names), *options, "-Wall", "-Wextra", "-pedantic", "-Werror"]
    command += ["-fsyntax-only", f"-I{fastbn.get_include()}", str(source)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.fixture(scope="module")
def consumer(tmp_path_factory):
    """The module `consumer`, built against the installed package by the documented commands."""
    pytest.importorskip("Cython", reason="Cython is not installed: the extra `test` has it")
    include = sysconfig.get_path("include")
    if not (Path(include) / "Python.h").exists():
        pytest.skip("Python's headers are not installed")
    folder = tmp_path_factory.mktemp("consumer")
    c_file = folder / "consumer.c"
    library = folder / f"consumer{sysconfig.get_config_var('EXT_SUFFIX')}"
    commands = [
        [sys.executable, "-m", "cython", str(HERE / "consumer.pyx"), "-o", str(c_file)],
        [
            compiler("CC", "cc", "gcc", "clang"), "-O1", "-fopenmp", "-shared", "-fPIC",
            f"-I{include}", f"-I{fastbn.get_include()}", str(c_file), "-o", str(library),
        ],
    ]  # fmt: skip
    for command in commands:
        run = subprocess.run(command, capture_output=True, text=True, cwd=folder)
        assert run.returncode == 0, run.stderr
    spec = importlib.util.spec_from_file_location("consumer", library)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_is_of_the_headers_version(consumer):
    assert consumer.table_version() == (1, 1)


@pytest.mark.parametrize("trans_a", [False, True])
@pytest.mark.parametrize("trans_b", [False, True])
def test_products_have_the_packages_bits(consumer, rng, dtype, target, trans_a, trans_b):
    m, n, k = 37, 29, 53
    a, b, c = (
        rng.standard_normal(shape).astype(dtype)
        for shape in ((k, m) if trans_a else (m, k), (n, k) if trans_b else (k, n), (m, n))
    )
    expected = fastbn.gemm(a, b, c.copy(), alpha=0.7, beta=-1, trans_a=trans_a, trans_b=trans_b)
    assert consumer.gemm(trans_a, trans_b, 0.7, a, b, -1, c) == 0
    assert np.array_equal(c, expected)


@pytest.mark.parametrize("shape", [(20, 7, 1), (3, 5, 11)])
@pytest.mark.parametrize("relu", [False, True])
def test_batch_norm_has_the_packages_bits(consumer, rng, dtype, shape, relu):
    def draw(*shape):
        return rng.standard_normal(shape).astype(dtype)

    c = shape[1]
    x, dy, gamma, beta = draw(*shape), draw(*shape), draw(c), draw(c)
    mean, var = draw(c), 1 + draw(c) ** 2
    ours_mean, ours_var = mean.copy(), var.copy()
    activation = "relu" if relu else None
    options = {"momentum": 0.2, "eps": 1e-3, "unbiased": True, "activation": activation}
    y, cache = fastbn.batch_norm(x, gamma, beta, ours_mean, ours_var, training=True, **options)
    dx, dgamma, dbeta = fastbn.batch_norm_backward(dy, cache)
    inference, _ = fastbn.batch_norm(
        x, gamma, beta, mean, var, training=False, eps=1e-3, activation=activation
    )

    to, saved = np.empty_like(x), np.empty(6 * c, dtype)
    assert consumer.batchnorm_inference(x, gamma, beta, mean, var, to, 1e-3, relu) == 0
    assert np.array_equal(to, inference)
    status = consumer.batchnorm_forward(x, gamma, beta, mean, var, to, saved, 1e-3, relu, 0.2, True)
    assert status == 0
    for actual, expected in ((to, y), (mean, ours_mean), (var, ours_var)):
        assert np.array_equal(actual, expected)
    gradients = np.empty_like(x), np.empty_like(gamma), np.empty_like(gamma)
    assert consumer.batchnorm_backward(dy, x, saved, relu, *gradients) == 0
    for actual, expected in zip(gradients, (dx, dgamma, dbeta), strict=True):
        assert np.array_equal(actual, expected)


def test_relu(consumer, rng, dtype):
    x, dy = (rng.standard_normal(1001).astype(dtype) for _ in range(2))
    y, dx = np.empty_like(x), np.empty_like(x)
    assert consumer.relu(x, y) == consumer.relu_backward(dy, y, dx) == 0
    assert np.array_equal(y, np.maximum(x, 0))
    assert np.array_equal(dx, np.where(x > 0, dy, 0))


def test_threads_are_the_packages(consumer, threads):
    threads(2)
    assert consumer.threads(3) == (0, 3)
    assert fastbn.get_num_threads() == 3
    assert consumer.threads(0) == (-1, 3)


@pytest.mark.parametrize("num_threads", [1, 2, 5])
def test_a_prange_of_threads(consumer, rng, threads, num_threads):
    """Each thread of the caller's team computes whole products, large enough for more threads."""
    threads(2)
    a = rng.standard_normal((12, 96, 160)).astype(np.float32)
    b = rng.standard_normal((12, 160, 128)).astype(np.float32)
    c = np.full((12, 96, 128), np.nan, np.float32)
    for _ in range(3):
        assert consumer.products_in_parallel(a, b, c, num_threads) == 0
        for i in range(len(a)):
            assert np.array_equal(c[i], fastbn.matmul(a[i], b[i]))


def test_bad_arguments_are_refused_before_anything_is_written(consumer):
    statuses, value = consumer.refusals()
    assert statuses == [-1] * len(statuses)
    assert value == 1


def test_no_values_at_all(consumer):
    statuses, dgamma = consumer.empty()
    assert statuses == [0] * len(statuses)
    assert dgamma == 0


def test_the_module_holds_no_kernel():
    """It calls the package's table: beside _core it is small."""
    from fastbn import capi

    assert os.path.getsize(capi.__file__) < 0.25 * os.path.getsize(_core.__file__)
