"""`fastbn.matmul`: every call gives what `numpy.matmul` gives."""

import inspect
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

import fastbn
from fastbn import functional

from .arrays_and_bounds import DTYPES, arrays, gamma, read_only
from .matmul_checks import assert_same_product, outcome


class Reflected:
    """Takes products over: NumPy leaves the result to it."""

    __array_ufunc__ = None

    def __rmatmul__(self, other):
        return "reflected"


MATMUL_OPERANDS = {
    "float32": lambda r: arrays(r, (3, 4), (4, 5), dtype=np.float32),
    "float64": lambda r: arrays(r, (3, 4), (4, 5)),
    "mixed": lambda r: (*arrays(r, (3, 4), dtype=np.float32), *arrays(r, (4, 5))),
    "integers": lambda r: (r.integers(0, 9, (3, 4)), r.integers(0, 9, (4, 5))),
    "booleans": lambda r: (r.random((3, 4)) < 0.5, r.random((4, 5)) < 0.5),
    "complex": lambda r: (1j * arrays(r, (3, 4))[0], *arrays(r, (4, 5))),
    "half": lambda r: arrays(r, (3, 4), (4, 5), dtype=np.float16),
    "longdouble": lambda r: arrays(r, (3, 4), (4, 5), dtype=np.longdouble),
    "objects": lambda r: tuple(a.astype(object) for a in arrays(r, (3, 4), (4, 5))),
    "big-endian": lambda r: tuple(a.astype(">f8") for a in arrays(r, (3, 4), (4, 5))),
    "lists": lambda r: ([[1.0, 2.0]], [[3.0], [4.0]]),
    "vectors": lambda r: arrays(r, 4, 4),
    "vector, matrix": lambda r: arrays(r, 4, (4, 5)),
    "matrix, vector": lambda r: arrays(r, (3, 4), 4),
    "stacked": lambda r: arrays(r, (2, 3, 4), (2, 4, 5)),
    "broadcast": lambda r: arrays(r, (2, 1, 3, 4), (6, 4, 5)),
    "no rows": lambda r: arrays(r, (0, 4), (4, 5)),
    "no terms": lambda r: arrays(r, (3, 0), (0, 5)),
    "nothing": lambda r: arrays(r, (0, 0), (0, 0)),
    "transposed": lambda r: tuple(a.T for a in arrays(r, (4, 3), (5, 4))),
    "reversed": lambda r: tuple(a[::-1, ::-1] for a in arrays(r, (3, 4), (4, 5))),
    "zero strides": lambda r: (np.broadcast_to(1.5, (3, 4)), *arrays(r, (4, 5))),
    "unaligned": lambda r: (
        np.frombuffer(b"\0" + arrays(r, 12)[0].tobytes(), np.float64, 12, 1).reshape(3, 4),
        *arrays(r, (4, 5)),
    ),
    "matrix class": lambda r: (np.asmatrix(arrays(r, (3, 4))[0]), *arrays(r, (4, 5))),
    "masked": lambda r: (np.ma.masked_less(arrays(r, (3, 4))[0], 0), *arrays(r, (4, 5))),
    "reflected": lambda r: (*arrays(r, (3, 4)), Reflected()),
    "sizes differ": lambda r: arrays(r, (3, 4), (5, 4)),
    "scalar": lambda r: (*arrays(r, (3, 4)), 2.0),
    "text": lambda r: (np.array([["a"]]), np.array([["b"]])),
}


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
@pytest.mark.parametrize("operands", MATMUL_OPERANDS.values(), ids=MATMUL_OPERANDS.keys())
def test_matmul_is_numpys(rng, operands):
    a, b = operands(rng)
    assert_same_product(outcome(functional.matmul, a, b), outcome(np.matmul, a, b), a, b)


def strided(shape, dtype):
    """Memory of which every other element is taken."""
    return np.full((2 * shape[0], 2 * shape[1]), 7, dtype)[::2, ::2]


OUTS = {
    "contiguous": lambda s, d: np.full(s, np.nan, d),
    "Fortran": lambda s, d: np.full(s[::-1], np.nan, d).T,
    "strided": strided,
    "reversed": lambda s, d: np.zeros(s, d)[::-1, ::-1],
    "wider": lambda s, d: np.zeros(s, np.complex128),
    "narrower": lambda s, d: np.zeros(s, np.float16),
    "integers": lambda s, d: np.zeros(s, np.int64),
    "broadcast": lambda s, d: np.zeros((2, *s), d),
    "too small": lambda s, d: np.zeros((s[0], s[1] - 1), d),
    "read-only": read_only,
    "tuple": lambda s, d: (np.zeros(s, d),),
    "list": lambda s, d: [],
    "big-endian": lambda s, d: np.zeros(s, np.dtype(d).newbyteorder(">")),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("make", OUTS.values(), ids=OUTS.keys())
def test_matmul_out_is_numpys(rng, make, dtype):
    a, b = arrays(rng, (3, 4), (4, 5), dtype=dtype)
    out, other = make((3, 5), dtype), make((3, 5), dtype)
    actual, expected = outcome(functional.matmul, a, b, out), outcome(np.matmul, a, b, out=other)
    if isinstance(expected, type):
        assert actual is expected
        return
    out, other = (o[0] if isinstance(o, tuple) else o for o in (out, other))
    assert actual is out
    coarse = np.float16 if out.dtype == np.float16 else dtype
    tolerance = 2 * gamma(a.shape[1] + 2, coarse) * (np.abs(a) @ np.abs(b))
    assert np.all(np.abs(out - other) <= tolerance)


@pytest.mark.parametrize("which", ["a", "b", "both", "shifted"])
def test_matmul_out_may_be_an_operand(rng, which):
    memory = rng.standard_normal(40)
    a = memory[:16].reshape(4, 4)
    b = a if which == "both" else memory[16:32].reshape(4, 4)
    out = {"a": a, "b": b, "both": a, "shifted": memory[3:19].reshape(4, 4)}[which]
    expected = functional.matmul(a.copy(), b.copy())
    assert functional.matmul(a, b, out=out) is out
    np.testing.assert_array_equal(out, expected)


def lines_of(memory, m, n):
    """Matrices of m x n within: rows, columns, and what is neither."""
    flat = memory.reshape(-1)
    return {
        "rows": memory[:m, 3 : 3 + n],
        "every other row": memory[1 : 1 + 2 * m : 2, :n],
        "columns": memory[3 : 3 + n, :m].T,
        "every other column": memory[:m, : 2 * n : 2],
        "rows from below": memory[m::-1][:m, :n],
        "one after the other": flat[5 : 5 + m * n].reshape(m, n),
        "rows that overlap": np.lib.stride_tricks.as_strided(
            flat, (m, n), (max(n - 1, 1) * memory.itemsize, memory.itemsize)
        ),
    }


@pytest.mark.parametrize("name", lines_of(np.zeros((90, 90)), 2, 2))
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (3, 5), (17, 40), (40, 17)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_matmul_writes_out_and_nothing_beside_it(rng, name, shape, dtype):
    (m, n), k = shape, 9
    a, b = arrays(rng, (m, k), (k, n), dtype=dtype)
    memory, expected = np.full((2, 90, 90), -7, dtype)
    out = lines_of(memory, m, n)[name]
    assert functional.matmul(a, b, out=out) is out
    lines_of(expected, m, n)[name][...] = functional.matmul(a, b)
    np.testing.assert_array_equal(memory, expected)


@pytest.mark.parametrize("stride", [0, 4, -4, 4096])
def test_matmul_writes_any_stride_of_a_single_line(rng, stride):
    for shape, strides in (((1, 6), (stride, 4)), ((6, 1), (4, stride))):
        a, b = arrays(rng, (shape[0], 4), (4, shape[1]), dtype=np.float32)
        memory = np.zeros(8, np.float32)
        functional.matmul(a, b, out=np.lib.stride_tricks.as_strided(memory, shape, strides))
        np.testing.assert_array_equal(memory[:6], functional.matmul(a, b).reshape(-1))
        np.testing.assert_array_equal(memory[6:], 0)


# -- the call itself -------------------------------------------------------------------------------


CALLS = {
    "by position": lambda f, a, b, c: f(a, b, c),
    "out by name": lambda f, a, b, c: f(a, b, out=c),
    "out of another string": lambda f, a, b, c: f(a, b, **{"".join("out"): c}),
    "all by name": lambda f, a, b, c: f(b=b, out=c, a=a),
    "b by name": lambda f, a, b, c: f(a, b=b),
    "no out": lambda f, a, b, c: f(a, b),
    "None by position": lambda f, a, b, c: f(a, b, None),
    "None by name": lambda f, a, b, c: f(a, b, out=None),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
@pytest.mark.parametrize("dtype", [*DTYPES, np.int64])
def test_matmul_takes_its_arguments_by_position_and_by_name(call, dtype):
    a, b = np.arange(12).reshape(3, 4).astype(dtype), np.arange(20).reshape(4, 5).astype(dtype)
    out = np.zeros((3, 5), dtype)
    result = call(functional.matmul, a, b, out)
    np.testing.assert_array_equal(result, np.matmul(a, b))
    assert (result is out) == out.any()


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((), {}, "missing 2 required positional arguments: 'a' and 'b'"),
        ((1,), {}, "missing 1 required positional argument: 'b'"),
        ((1, 2, 3, 4), {}, "takes from 2 to 3 positional arguments but 4 were given"),
        ((1, 2, 3), {"out": 4}, "multiple values for argument 'out'"),
        ((1, 2), {"order": "C"}, "unexpected keyword argument 'order'"),
        ((1, 2), {"out": 4, "dtype": float}, "unexpected keyword argument 'dtype'"),
    ],
)
def test_matmul_refuses_other_arguments(args, kwargs, message):
    with pytest.raises(TypeError, match=rf"matmul\(\) .*{message}"):
        functional.matmul(*args, **kwargs)


def test_matmul_is_known_by_its_name():
    matmul = functional.matmul
    assert pickle.loads(pickle.dumps(matmul)) is matmul
    assert matmul.__module__ == "fastbn.functional.matmul"
    assert str(inspect.signature(matmul)) == "(a, b, out=None)"
    assert inspect.getdoc(matmul).startswith("Matrix product with the semantics of `numpy.matmul`.")


def test_matmul_keeps_no_reference(rng):
    """Neither of what it multiplies itself nor of what it hands on."""
    for dtype in (np.float32, np.float64, np.int64):
        a, b, out = np.ones((3, 4), dtype), np.ones((4, 5), dtype), np.ones((3, 5), dtype)
        v, row = np.ones(4, dtype), np.ones(5, dtype)
        before = [sys.getrefcount(x) for x in (a, b, out, v, row, NotImplemented)]
        for _ in range(100):
            functional.matmul(a, b, out=out)
            functional.matmul(a, b)
            functional.matmul(v, b, out=row)
            functional.matmul(a, v)
        assert [sys.getrefcount(x) for x in (a, b, out, v, row, NotImplemented)] == before


def test_matmul_without_docstrings():
    code = """
import fastbn, numpy as np
print(fastbn.matmul.__doc__ or "", fastbn.matmul(np.ones((1, 1)), np.ones((1, 1))))
"""
    run = subprocess.run([sys.executable, "-OO", "-c", code], capture_output=True, text=True)
    assert (run.stdout.strip(), run.returncode) == ("[[1.]]", 0), run.stderr


def test_a_long_matmul_lets_other_threads_run():
    a, ran = np.ones((1000, 1000), np.float32), []

    interval, n_threads = sys.getswitchinterval(), fastbn.get_num_threads()
    sys.setswitchinterval(1000)  # nobody who computes gives the GIL away unasked
    fastbn.set_num_threads(1)  # so that it takes some milliseconds anywhere
    try:
        for _ in range(20):  # a thread may be late
            thread = threading.Timer(0.001, ran.append, [True])
            thread.start()
            functional.matmul(a, a)
            during = bool(ran)
            thread.join()
            if during:
                return
            ran.clear()
    finally:
        sys.setswitchinterval(interval)
        fastbn.set_num_threads(n_threads)
    pytest.fail("no other thread ran during any of 20 products")
