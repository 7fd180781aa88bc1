import math
import sys

import numpy as np
import pytest

from fastbn import _core, functional

DTYPES = [np.float32, np.float64]
erf = np.vectorize(math.erf, otypes=[float])


def gamma(k, dtype):
    """gamma_k = k u / (1 - k u), the bound of k roundings (Higham)."""
    u = np.finfo(dtype).eps / 2
    return k * u / (1 - k * u)


def double(*arrays):
    return [None if a is None else a.astype(np.float64) for a in arrays]


def numeric_gradient(f, array):
    gradient = np.empty_like(array)
    for i in np.ndindex(array.shape):
        old = array[i]
        array[i] = old + 1e-6
        above = f()
        array[i] = old - 1e-6
        gradient[i] = (above - f()) / 2e-6
        array[i] = old
    return gradient


# -- products ------------------------------------------------------------------------------------


def arrays(rng, *shapes, dtype=np.float64):
    return tuple(rng.standard_normal(shape).astype(dtype) for shape in shapes)


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


def outcome(f, *args, **kwargs):
    try:
        return f(*args, **kwargs)
    except (TypeError, ValueError) as error:
        return type(error)


def assert_same_product(actual, expected, a, b):
    assert type(actual) is type(expected)
    if not isinstance(expected, np.ndarray | np.generic):
        assert actual == expected
        return
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    if actual.dtype.kind not in "fc":
        np.testing.assert_array_equal(actual, expected)
        return
    bound = 2 * gamma(np.shape(a)[-1] + 2, actual.dtype) * (np.abs(a) @ np.abs(b))
    assert np.all(np.abs(np.asarray(actual) - np.asarray(expected)) <= np.asarray(bound))


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
@pytest.mark.parametrize("operands", MATMUL_OPERANDS.values(), ids=MATMUL_OPERANDS.keys())
def test_matmul_is_numpys(rng, operands):
    a, b = operands(rng)
    assert_same_product(outcome(functional.matmul, a, b), outcome(np.matmul, a, b), a, b)


def strided(shape, dtype):
    """Memory of which every other element is taken."""
    return np.full((2 * shape[0], 2 * shape[1]), 7, dtype)[::2, ::2]


def read_only(shape, dtype):
    array = np.zeros(shape, dtype)
    array.flags.writeable = False
    return array


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


@pytest.mark.parametrize("dtype", DTYPES)
def test_gemm(rng, dtype):
    a, b, c, bias = arrays(rng, (4, 3), (5, 4), (3, 5), 5, dtype=dtype)
    old = c.copy()
    options = {"alpha": 0.7, "beta": -1.5, "trans_a": True, "trans_b": True}
    result = functional.gemm(a, b, c, bias=bias, activation="relu", **options)
    assert result is c
    a, b, old, bias = double(a, b, old, bias)
    expected = np.maximum(0.7 * (a.T @ b.T) - 1.5 * old + bias, 0)
    size = 0.7 * (np.abs(a.T) @ np.abs(b.T)) + 1.5 * np.abs(old) + np.abs(bias)
    assert np.all(np.abs(c - expected) <= 2 * gamma(a.shape[0] + 4, dtype) * size)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lead", [(), (6,), (2, 3), (0,), (2, 0)])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("activation", [None, "relu"])
def test_linear(rng, dtype, lead, with_bias, activation):
    x, w, bias = arrays(rng, (*lead, 4), (4, 3), 3, dtype=dtype)
    y = functional.linear(x, w, bias if with_bias else None, activation=activation)
    assert y.dtype == dtype
    x, w, bias = double(x, w, bias if with_bias else np.zeros(3, dtype))
    expected = x @ w + bias
    if activation:
        expected = np.maximum(expected, 0)
    assert y.shape == expected.shape
    size = np.abs(x) @ np.abs(w) + np.abs(bias)
    assert np.all(np.abs(y - expected) <= 2 * gamma(w.shape[0] + 2, dtype) * size)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lead", [(), (6,), (2, 3), (0,)])
def test_linear_backward(rng, dtype, lead):
    dy, x, w = arrays(rng, (*lead, 3), (*lead, 4), (4, 3), dtype=dtype)
    dx, dw, db = functional.linear_backward(dy, x, w)
    assert dx.dtype == dw.dtype == db.dtype == dtype
    into = np.full((4, 3), np.nan, dtype), np.full(3, np.nan, dtype)
    none, dw2, db2 = functional.linear_backward(
        dy, x, w, need_dx=False, dweight=into[0], dbias=into[1]
    )
    assert none is None
    assert dw2 is into[0]
    assert db2 is into[1]
    np.testing.assert_array_equal(dw2, dw)
    np.testing.assert_array_equal(db2, db)
    dy, x, w = double(dy, x, w)
    rows, x_rows = dy.reshape(math.prod(lead), 3), x.reshape(math.prod(lead), 4)
    assert dx.shape == x.shape
    for actual, left, right in [
        (dx, dy, w.T),
        (dw, x_rows.T, rows),
        (db, np.ones(len(rows)), rows),
    ]:
        size = np.abs(left) @ np.abs(right)
        assert np.all(np.abs(actual - left @ right) <= 2 * gamma(left.shape[-1] + 2, dtype) * size)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"dy": np.zeros((5, 3))}, ValueError, r"\(5, 3\).*\(6, 4\)"),
        ({"dy": np.zeros((6, 2))}, ValueError, r"\(6, 2\).*\(4, 3\)"),
        ({"x": np.zeros((6, 5))}, ValueError, r"\(6, 5\).*\(4, 3\)"),
        ({"weight": np.zeros(4)}, ValueError, r"\(4,\)"),
        ({"weight": np.zeros((4, 3), np.float32)}, TypeError, "float64.*float32"),
        ({"dweight": np.zeros((3, 4))}, ValueError, r"\(3, 4\).*\(4, 3\)"),
        ({"dweight": np.zeros((4, 3), np.float32)}, TypeError, "float32.*float64"),
        ({"dbias": np.zeros(4)}, ValueError, r"\(4,\).*\(3,\)"),
        ({"dbias": read_only(3, np.float64)}, ValueError, "read-only"),
    ],
)
def test_linear_backward_checks_first(change, error, message):
    arguments = {
        "dy": np.ones((6, 3)),
        "x": np.ones((6, 4)),
        "weight": np.ones((4, 3)),
        "dweight": np.zeros((4, 3)),
        "dbias": np.zeros(3),
    } | change
    with pytest.raises(error, match=message):
        functional.linear_backward(**arguments)
    assert not arguments["dweight"].any()
    assert not arguments["dbias"].any()


@pytest.mark.parametrize("over", ["dy", "x", "weight"])
def test_linear_backward_over_an_operand_is_as_if_copied_first(rng, over):
    operands = dict(zip(("dy", "x", "weight"), arrays(rng, (4, 4), (4, 4), (4, 4)), strict=True))
    expected = functional.linear_backward(**{n: a.copy() for n, a in operands.items()})
    dx, dw, db = functional.linear_backward(**operands, dweight=operands[over])
    assert dw is operands[over]
    for actual, gradient in zip((dx, dw, db), expected, strict=True):
        np.testing.assert_array_equal(actual, gradient)


@pytest.mark.parametrize("over", ["dy", "x", "weight"])
@pytest.mark.parametrize("layout", ["contiguous", "transposed"])
def test_linear_backward_writes_dx_where_asked(rng, over, layout):
    operands = dict(zip(("dy", "x", "weight"), arrays(rng, (4, 4), (4, 4), (4, 4)), strict=True))
    expected = functional.linear_backward(**{n: a.copy() for n, a in operands.items()})
    dx = operands[over] if layout == "contiguous" else operands[over].T
    got = _core.linear_backward(*operands.values(), True, True, dx)
    assert got[0] is dx
    for actual, gradient in zip(got, expected, strict=True):
        np.testing.assert_array_equal(actual, gradient)


def test_linear_backward_refuses_gradients_over_one_another(rng):
    dy, x, w = arrays(rng, (6, 3), (6, 4), (4, 3))
    dweight = np.zeros((4, 3), x.dtype)
    with pytest.raises(ValueError, match="dbias overlaps dweight"):
        functional.linear_backward(dy, x, w, dweight=dweight, dbias=dweight[1])
    assert not dweight.any()


def test_wrong_linear():
    with pytest.raises(ValueError, match="at least 1"):
        functional.linear(np.ones(()), np.ones((1, 1)))
    with pytest.raises(TypeError, match="float32"):
        functional.linear(np.ones((2, 3), np.float32), np.ones((3, 4)))
    with pytest.raises(ValueError, match="3"):
        functional.linear(np.ones((2, 3)), np.ones((4, 4)))


# -- batch normalization -------------------------------------------------------------------------


def bn_oracle(x, gamma, beta, mean, var, eps, axis):
    shape = [1] * x.ndim
    shape[axis] = -1
    gamma, beta, mean, var = (v.reshape(shape) for v in (gamma, beta, mean, var))
    return gamma * (x - mean) / np.sqrt(var + eps) + beta


def bn_arrays(rng, shape, axis, dtype):
    channels = shape[axis]
    x = (1 + 2 * rng.standard_normal(shape)).astype(dtype)
    parameters = rng.uniform(0.5, 2, channels), rng.standard_normal(channels)
    running = rng.standard_normal(channels), rng.uniform(0.5, 2, channels)
    return [x, *(a.astype(dtype) for a in (*parameters, *running))]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "axis"), [((9, 4), 1), ((9, 4), -1), ((3, 4, 2, 5), 1), ((3, 2, 5, 4), -1)]
)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("activation", [None, "relu"])
def test_batch_norm(rng, dtype, shape, axis, training, activation):
    x, scale, beta, mean, var = bn_arrays(rng, shape, axis, dtype)
    given = double(mean, var)
    out = np.empty_like(x)
    y, cache = functional.batch_norm(
        x,
        scale,
        beta,
        mean,
        var,
        training=training,
        momentum=0.3,
        eps=1e-3,
        axis=axis,
        unbiased=False,
        activation=activation,
        out=out,
    )
    assert y is out
    assert cache.training == training
    x, scale, beta = double(x, scale, beta)
    axes = tuple(i for i in range(x.ndim) if i != axis % x.ndim)
    batch = x.mean(axes), x.var(axes)
    used = batch if training else given
    expected = bn_oracle(x, scale, beta, *used, 1e-3, axis)
    size = bn_oracle(np.abs(x), scale, np.abs(beta), -np.abs(used[0]), used[1], 1e-3, axis)
    if activation:
        expected = np.maximum(expected, 0)
    n = x.size // len(beta)
    assert np.all(np.abs(y - expected) <= 3 * gamma(n + 8, dtype) * size)
    for actual, old, new in zip((mean, var), given, batch, strict=True):
        expected = 0.7 * old + 0.3 * new if training else old
        limit = 3 * gamma(n + 8, dtype) * (np.abs(old) + np.square(x).mean(axes) + 1)
        assert np.all(np.abs(actual - expected) <= limit * training)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("axis", [1, -1])
def test_batch_norm_backward(rng, training, activation, axis):
    shape = (4, 3, 2) if axis == 1 else (4, 2, 3)
    x, scale, beta, mean, var = bn_arrays(rng, shape, axis, np.float64)
    weights = rng.standard_normal(shape)

    def forward():
        running = (mean.copy(), var.copy())
        return functional.batch_norm(
            x, scale, beta, *running, training=training, axis=axis, activation=activation
        )

    def scalar():
        return float((forward()[0] * weights).sum())

    out = np.empty_like(x)
    dx, dgamma, dbeta = functional.batch_norm_backward(weights, forward()[1], out=out)
    assert dx is out
    for actual, array in [(dx, x), (dgamma, scale), (dbeta, beta)]:
        expected = numeric_gradient(scalar, array)
        np.testing.assert_allclose(actual, expected, atol=1e-5, rtol=1e-3)


def test_momentum_none_is_the_cumulative_average(rng):
    mean, var, count = np.zeros(3), np.ones(3), np.zeros((), np.int64)
    batches = [rng.standard_normal((n, 3)) for n in (4, 7, 2)]

    def run(x, **options):
        return functional.batch_norm(x, None, None, mean, var, num_batches_tracked=count, **options)

    for number, batch in enumerate(batches, 1):
        run(batch, training=True, momentum=None)
        assert count == number
    run(batch, training=False, momentum=None)
    assert count == 3
    np.testing.assert_allclose(mean, np.mean([b.mean(0) for b in batches], 0), rtol=1e-13)
    np.testing.assert_allclose(var, np.mean([b.var(0, ddof=1) for b in batches], 0), rtol=1e-13)
    with pytest.raises(ValueError, match="1"):
        run(np.ones((1, 3)), training=True, momentum=None)
    assert count == 3
    run(batch, training=True, momentum=0.1)
    assert count == 4


def test_momentum_none_needs_the_count():
    x, mean, var = np.arange(6.0).reshape(3, 2), np.zeros(2), np.ones(2)
    with pytest.raises(ValueError, match="num_batches_tracked"):
        functional.batch_norm(x, None, None, mean, var, training=True, momentum=None)
    assert not mean.any()
    functional.batch_norm(x, None, None, training=True, momentum=None)  # nothing to average
    for count, error in [
        (0, TypeError),
        (np.zeros(()), TypeError),
        (np.zeros(1, np.int64), ValueError),
        (read_only((), np.int64), ValueError),
    ]:
        with pytest.raises(error, match="num_batches_tracked"):
            functional.batch_norm(
                x, None, None, mean, var, training=True, num_batches_tracked=count
            )
    assert not mean.any()


def test_the_count_may_name_its_own_byte_order():
    x = np.arange(6.0).reshape(3, 2)
    native = np.dtype(np.int64)
    named = native.newbyteorder("<" if sys.byteorder == "little" else ">")
    count = np.zeros((), named)
    functional.batch_norm(x, None, None, training=True, num_batches_tracked=count)
    assert count == 1
    with pytest.raises(TypeError, match="num_batches_tracked"):
        functional.batch_norm(
            x, None, None, training=True, num_batches_tracked=count.astype(native.newbyteorder())
        )


# -- the fused block -----------------------------------------------------------------------------


def block_arrays(rng, dtype, n=7):
    x, w, bias, beta, mean, dy = arrays(rng, (n, 4), (4, 3), 3, 3, 3, (n, 3), dtype=dtype)
    scale, var = (rng.uniform(0.5, 2, 3).astype(dtype) for _ in range(2))
    return x, w, bias, scale, beta, mean, var, dy


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
def test_linear_bn_relu_has_the_bits_of_three_calls(rng, dtype, training, with_bias):
    x, w, bias, scale, beta, mean, var, dy = block_arrays(rng, dtype)
    bias = bias if with_bias else None
    mean2, var2 = mean.copy(), var.copy()
    options = {"training": training, "momentum": 0.2, "eps": 1e-3, "unbiased": False}
    y, cache = functional.linear_bn_relu(x, w, bias, scale, beta, mean, var, **options)
    z = functional.linear(x, w, bias)
    v, bn = functional.batch_norm(z, scale, beta, mean2, var2, **options)
    np.testing.assert_array_equal(y, functional.relu(v))
    np.testing.assert_array_equal(mean, mean2)
    np.testing.assert_array_equal(var, var2)
    dx, dw, db, dgamma, dbeta = functional.linear_bn_relu_backward(dy, cache)
    dz, dgamma2, dbeta2 = functional.batch_norm_backward(functional.relu_backward(dy, v), bn)
    dx2, dw2, db2 = functional.linear_backward(dz, x, w)
    for actual, expected in [(dx, dx2), (dw, dw2), (dgamma, dgamma2), (dbeta, dbeta2)]:
        np.testing.assert_array_equal(actual, expected)
    if with_bias:
        np.testing.assert_array_equal(db, db2)
    else:
        assert db is None


def test_linear_bn_relu_backward_into_arrays(rng):
    x, w, bias, scale, beta, mean, var, dy = block_arrays(rng, np.float32)
    _, cache = functional.linear_bn_relu(x, w, bias, scale, beta, mean, var, training=True)
    expected = functional.linear_bn_relu_backward(dy, cache)
    names = {"dweight": w, "dbias": bias, "dgamma": scale, "dbeta": beta}
    into = {name: np.full_like(array, np.nan) for name, array in names.items()}
    actual = functional.linear_bn_relu_backward(dy, cache, need_dx=False, **into)
    assert actual[0] is None
    for got, array, gradient in zip(actual[1:], into.values(), expected[1:], strict=True):
        assert got is array
        np.testing.assert_array_equal(got, gradient)


def test_linear_bn_relu_backward_checks_first(rng):
    x, w, bias, scale, beta, mean, var, dy = block_arrays(rng, np.float32)
    _, cache = functional.linear_bn_relu(x, w, bias, scale, beta, mean, var, training=True)
    into = {"dgamma": np.zeros(3, np.float32), "dbeta": np.zeros(3, np.float32)}
    wrong = [
        ({"dweight": np.zeros((3, 4), np.float32)}, ValueError),
        ({"dbias": np.zeros(3)}, TypeError),
        ({"dbeta": np.zeros(4, np.float32)}, ValueError),
    ]
    for change, error in wrong:
        with pytest.raises(error):
            functional.linear_bn_relu_backward(dy, cache, **(into | change))
        assert not into["dgamma"].any()
        assert not into["dbeta"].any()
    with pytest.raises(ValueError, match=r"\(6, 3\)"):
        functional.linear_bn_relu_backward(dy[:6], cache)


def test_linear_bn_relu_needs_rows(rng):
    x, w, bias, scale, beta, mean, var, _ = block_arrays(rng, np.float32)
    with pytest.raises(ValueError, match=r"2.*3"):
        functional.linear_bn_relu(x[None], w, bias, scale, beta, mean, var, training=True)


# -- activations ---------------------------------------------------------------------------------


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


# forward, formula, backward, what backward takes of the forward pass
ACTIVATIONS = [
    pytest.param(
        functional.relu, lambda x: np.maximum(x, 0), functional.relu_backward, "xy", id="relu"
    ),
    pytest.param(
        functional.leaky_relu,
        lambda x: np.where(x > 0, x, 0.01 * x),
        functional.leaky_relu_backward,
        "xy",
        id="leaky_relu",
    ),
    pytest.param(
        functional.sigmoid,
        lambda x: 1 / (1 + np.exp(-x)),
        functional.sigmoid_backward,
        "y",
        id="sigmoid",
    ),
    pytest.param(functional.tanh, np.tanh, functional.tanh_backward, "y", id="tanh"),
    pytest.param(
        functional.gelu,
        lambda x: x * (1 + erf(x / math.sqrt(2))) / 2,
        functional.gelu_backward,
        "x",
        id="gelu",
    ),
    pytest.param(functional.softmax, softmax, functional.softmax_backward, "y", id="softmax"),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("forward", "formula", "backward", "saves"), ACTIVATIONS)
@pytest.mark.parametrize("shape", [(7,), (4, 5), (2, 3, 4)])
def test_activations(rng, forward, formula, backward, saves, dtype, shape):
    x = (2 * rng.standard_normal(shape)).astype(dtype)
    y = forward(x)
    expected = formula(x.astype(np.float64))
    scale = np.maximum(np.abs(expected), np.abs(x) if forward is functional.gelu else 0)
    assert np.all(np.abs(y - expected) <= 32 * np.finfo(dtype).eps * scale)
    out = np.empty_like(x)
    assert forward(x, out=out) is out
    np.testing.assert_array_equal(out, y)
    inplace = x.copy()
    assert forward(inplace, out=inplace) is inplace
    np.testing.assert_array_equal(inplace, y)
    dy = rng.standard_normal(shape).astype(dtype)
    results = [backward(dy, {"x": x, "y": y}[name]) for name in saves]
    for dx in results:
        np.testing.assert_array_equal(dx, results[0])
    assert backward(dy, {"x": x, "y": y}[saves[0]], out=out) is out
    np.testing.assert_array_equal(out, results[0])
    if dtype is np.float64:
        expected = numeric_gradient(lambda: float((forward(x) * dy).sum()), x)
        np.testing.assert_allclose(results[0], expected, atol=1e-5, rtol=1e-3)


def test_leaky_relu_slope(rng):
    x, dy = arrays(rng, (4, 5), (4, 5))
    np.testing.assert_array_equal(functional.leaky_relu(x, 0.3), np.where(x > 0, x, 0.3 * x))
    expected = np.where(x > 0, dy, 0.3 * dy)
    np.testing.assert_array_equal(functional.leaky_relu_backward(dy, x, 0.3), expected)


def test_softmax_is_over_the_last_axis(rng):
    x = rng.standard_normal((2, 3, 4))
    np.testing.assert_allclose(functional.softmax(x).sum(-1), 1, rtol=4 * np.finfo(float).eps)
    np.testing.assert_array_equal(functional.softmax(x.T).T, functional.softmax(x.T.copy()).T)


# -- cross-entropy -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy(rng, dtype, smoothing):
    z = (3 * rng.standard_normal((6, 4))).astype(dtype)
    labels = np.array([0, 3, 1, 1, 2, 0])
    loss, cache = functional.cross_entropy(z, labels, label_smoothing=smoothing)
    assert type(loss) is float
    target = np.full((6, 4), smoothing / 4)
    target[np.arange(6), labels] += 1 - smoothing
    p = softmax(z.astype(np.float64))
    u = np.finfo(dtype).eps / 2
    assert abs(loss + (target * np.log(p)).sum() / 6) <= 32 * u * (np.abs(z).max() + 2)
    dz = functional.cross_entropy_backward(cache)
    assert dz.dtype == dtype
    assert np.abs(dz - (p - target) / 6).max() <= 32 * u * (np.abs(z).max() + 2) / 6
    out = np.empty_like(z)
    assert functional.cross_entropy_backward(cache, out=out) is out
    np.testing.assert_array_equal(out, dz)
