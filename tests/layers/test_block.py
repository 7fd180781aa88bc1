"""The fused block gives the bits of its layers one by one, whatever the shape."""

import copy
import pickle

import numpy as np
import pytest

import fastbn
from fastbn import _core
from fastbn.layers import BatchNorm1d, Linear, ReLU, Sequential
from fastbn.layers.block import Block
from fastbn.layers.fuse import units

# Deep cores do one operation after the other, others mostly panel by panel.
pytestmark = pytest.mark.usefixtures("core")

# Rows: one strip and its edges, one piece and its edges, and so many that a panel is one tile wide
# and the operations follow one another.  Columns: within a tile, on its edges, several panels.
ROWS = [2, 3, 8, 31, 33, 48, 49, 63, 65, 100, 256, 257]
COLUMNS = [1, 5, 16, 47, 48, 49, 96, 130]


def make(rng, inner, outer, dtype, *, bias=True, relu=True, **norm):
    layers = [
        Linear(inner, outer, bias, dtype=dtype, rng=1),
        BatchNorm1d(outer, dtype=dtype, **norm),
        *([ReLU()] if relu else []),
    ]
    if layers[1].gamma is not None:
        layers[1].gamma.data[:] = rng.uniform(0.5, 2, outer)
        layers[1].beta.data[:] = rng.uniform(-1, 1, outer)
    return layers


def state(layers):
    values = [p.grad.copy() for layer in layers for p in layer.parameters()]
    return values + [b.copy() for layer in layers for b in layer.buffers()]


def one_by_one(layers, x, dy):
    y = x
    for layer in layers:
        y = layer.forward(y, training=True)
    dx = dy
    for layer in reversed(layers):
        dx = layer.backward(dx)
    return [y.copy(), dx.copy(), *state(layers)]


def fused(layers, x, dy, *, need_dx=True):
    (block,) = units(layers)
    assert isinstance(block, Block)
    y = block.forward(x, training=True)
    dx = block.backward(dy) if need_dx else block.backward_parameters(dy)
    return [y.copy(), None if dx is None else dx.copy(), *state(layers)]


def assert_same_bits(got, expected):
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        if a is not None and b is not None:
            np.testing.assert_array_equal(a, b)


def check(rng, rows, inner, outer, dtype, **options):
    x = rng.standard_normal((rows, inner)).astype(dtype)
    dy = rng.standard_normal((rows, outer)).astype(dtype)
    layers = make(rng, inner, outer, dtype, **options)
    expected = one_by_one(copy.deepcopy(layers), x, dy)
    assert_same_bits(fused(copy.deepcopy(layers), x, dy), expected)
    assert_same_bits(fused(layers, x, dy, need_dx=False), expected)


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bits_by_rows(target, distance, dtype, rng, rows):
    check(rng, rows, 19, 70, dtype)


@pytest.mark.parametrize("columns", COLUMNS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [33, 65])  # backward in turn, and by panels
def test_bits_by_columns(target, dtype, rng, rows, columns):
    check(rng, rows, 20, columns, dtype)


@pytest.mark.parametrize("rows", [1100, 4100])
def test_bits_of_many_rows(target, rng, rows):
    check(rng, rows, 6, 200, np.float32)


@pytest.mark.parametrize(
    ("rows", "inner", "outer"),
    [
        (256, 512, 512),
        (130, 1030, 200),
        (64, 96, 1100),
        (56, 300, 530),
        (300, 40, 700),  # several panels of each thread, with any L2
        (360, 40, 700),  # with an L2 of 512 KiB backward in turn, forward by panels
    ],
)
def test_bits_of_wide_layers(target, rng, rows, inner, outer):
    # products of several blocks in k and in columns, and panels of several widths
    check(rng, rows, inner, outer, np.float32)


@pytest.mark.parametrize(
    "options",
    [
        {"bias": False},
        {"relu": False},
        {"affine": False},
        {"track_running_stats": False},
        {"momentum": None},
        {"eps": 1e-3, "momentum": 0.4},
        {"virtual_batch_size": 8},
    ],
)
def test_bits_with_options(target, rng, options):
    check(rng, 40, 20, 50, np.float32, **options)


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_threads_change_no_bit(target, distance, rng, threads):
    with fastbn.threads(threads):
        for rows in (40, 64):  # backward in turn, if they are near, and by panels
            check(rng, rows, 300, 530, np.float32)


@pytest.mark.parametrize("layout", ["F", "sliced", "reversed"])
def test_strides_change_no_bit(target, rng, layout):
    x, dy = rng.standard_normal((2, 24, 96)).astype(np.float32)[:, :, :60]
    change = {
        "F": np.asfortranarray,
        "sliced": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
        "reversed": lambda a: a[::-1].copy()[::-1],
    }[layout]
    layers = make(rng, 60, 60, np.float32)
    expected = one_by_one(copy.deepcopy(layers), x, dy)
    assert_same_bits(fused(layers, change(x), change(dy)), expected)


@pytest.mark.parametrize(("inner", "outer"), [(30, 50), (70, 3), (200, 10)])
def test_inference_is_that_of_the_layers(target, rng, inner, outer):
    layers = make(rng, inner, outer, np.float32)
    x = rng.standard_normal((40, inner)).astype(np.float32)
    net = Sequential(*layers)
    net.forward(x, training=True)
    expected = x
    for layer in layers:
        expected = layer.forward(expected)
    np.testing.assert_array_equal(net.forward(x), expected)
    for row in (0, 17, 39):
        np.testing.assert_array_equal(net.forward(x[row : row + 1])[0], expected[row])


def test_poison_passes_as_through_the_layers(target, rng):
    x = rng.standard_normal((20, 10)).astype(np.float32)
    x[3, 4] = np.nan
    dy = rng.standard_normal((20, 17)).astype(np.float32)
    layers = make(rng, 10, 17, np.float32)
    expected = one_by_one(copy.deepcopy(layers), x, dy)
    assert_same_bits(fused(layers, x, dy), expected)


def test_each_layer_keeps_what_it_keeps_alone(rng):
    x = rng.standard_normal((12, 7)).astype(np.float32)
    dy = rng.standard_normal((12, 9)).astype(np.float32)
    layers = make(rng, 7, 9, np.float32)
    expected = one_by_one(copy.deepcopy(layers), x, dy)
    net = Sequential(*layers)
    y = net.forward(x, training=True)
    dx = dy
    for layer in reversed(layers):  # by hand, after a fused forward
        dx = layer.backward(dx)
    assert_same_bits([y, dx, *state(layers)], expected)


@pytest.mark.parametrize("alone", [0, 1])
def test_a_layer_called_alone_since_counts(rng, alone):
    """Backward is of the last training forward of each layer, whoever asked for it."""
    x = rng.standard_normal((12, 9)).astype(np.float32)
    other = rng.standard_normal((12, 9)).astype(np.float32)
    dy = rng.standard_normal((12, 9)).astype(np.float32)
    layers = make(rng, 9, 9, np.float32)
    apart = copy.deepcopy(layers)
    (block,) = units(layers)
    block.forward(x, training=True)
    layers[alone].forward(other, training=True)
    got = [block.backward(dy), *state(layers)]
    y = x
    for layer in apart:
        y = layer.forward(y, training=True)
    apart[alone].forward(other, training=True)
    # The ReLU's own mask is that of the first forward; where the block had fused it into batch
    # norm, and batch norm ran alone since, it must be the ReLU's still.
    dx = dy
    for layer in reversed(apart):
        dx = layer.backward(dx)
    assert_same_bits(got, [dx, *state(apart)])


def test_what_is_fused():
    def kinds(*layers):
        return [type(unit).__name__ for unit in units(layers)]

    class MyNorm(BatchNorm1d):
        pass

    assert kinds(Linear(3, 4), BatchNorm1d(4), ReLU()) == ["Block"]
    assert kinds(Linear(3, 4), BatchNorm1d(4)) == ["Block"]
    assert kinds(Linear(3, 4), BatchNorm1d(4), ReLU(), ReLU()) == ["Block", "ReLU"]
    assert kinds(Linear(3, 4), MyNorm(4), ReLU()) == ["Linear", "MyNorm", "ReLU"]
    assert kinds(Linear(3, 4), ReLU(), BatchNorm1d(4)) == ["ReLUPair", "BatchNorm1d"]


def test_a_forgotten_forward_is_not_gone_back_through(rng):
    layers = make(rng, 4, 5, np.float32)
    net = Sequential(*layers)
    net.forward(rng.standard_normal((6, 4)).astype(np.float32), training=True)
    net.forget()
    with pytest.raises(RuntimeError, match="forward"):
        net.backward(np.zeros((6, 5), np.float32))


def test_memory_is_lent_again(rng):
    layers = make(rng, 40, 50, np.float32)
    net = Sequential(*layers)
    x = rng.standard_normal((32, 40)).astype(np.float32)
    addresses = set()
    for _ in range(4):
        y = net.forward(x, training=True)
        addresses.add(y.ctypes.data)
        del y
    assert len(addresses) == 1


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_stand_alone(rng, clone):
    layers = make(rng, 4, 5, np.float32)
    net = Sequential(*layers)
    x = rng.standard_normal((6, 4)).astype(np.float32)
    y = net.forward(x, training=True).copy()
    other = clone(net)
    np.testing.assert_array_equal(other.forward(x, training=True), y)
    with pytest.raises(RuntimeError, match="forward"):
        clone(net).backward(np.zeros((6, 5), np.float32))


@pytest.mark.parametrize(
    ("shape", "error", "words"),
    [
        ((6, 3), ValueError, r"\(6, 3\)"),
        ((1, 4), ValueError, "more than 1 value"),
        ((6, 4), TypeError, "float64"),
    ],
)
def test_wrong_input_is_refused_and_changes_nothing(rng, shape, error, words):
    net = Sequential(*make(rng, 4, 5, np.float32))
    before = {name: value.copy() for name, value in net.state_dict().items()}
    x = rng.standard_normal(shape)
    if error is ValueError:
        x = x.astype(np.float32)
    with pytest.raises(error, match=words):
        net.forward(x, training=True)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_wrong_gradient_is_refused(rng):
    net = Sequential(*make(rng, 4, 5, np.float32))
    net.forward(rng.standard_normal((6, 4)).astype(np.float32), training=True)
    with pytest.raises(ValueError, match=r"\(6, 4\)"):
        net.backward(np.zeros((6, 4), np.float32))
    with pytest.raises(TypeError, match="float64"):
        net.backward(np.zeros((6, 5)))


CACHES = {
    "rows": lambda z, w: _core.batch_norm(z, None, None, training=True, axis=0)[1],
    "weights": lambda z, w: _core.batch_norm(z, None, None, training=True, weights=w)[1],
    "groups": lambda z, w: _core.batch_norm(z, None, None, training=True, groups=2)[1],
    "overwritten": lambda z, w: _core.batch_norm(z, None, None, w, w, training=False, out=z)[1],
}


@pytest.mark.parametrize("make", CACHES.values(), ids=CACHES.keys())
def test_a_cache_of_other_statistics_is_refused(rng, make):
    """Of another count they would be read, and dgamma and dbeta written, past their ends.

    Where y took the place of x, it would pass for x.
    """
    x, weight = (rng.standard_normal(s, dtype=np.float32) for s in ((6, 3), (3, 6)))
    z = x @ weight
    cache = make(z, np.ones(6, np.float32))
    dweight = np.full_like(weight, 7)
    with pytest.raises(ValueError, match=r"cache|over x"):
        _core.linear_batch_norm_backward(z, x, weight, cache, True, True, dweight=dweight)
    assert np.all(dweight == 7)


@pytest.mark.parametrize("shape", [(0, 4, 3), (5, 4, 0)])
def test_gradients_of_nothing_are_zero(dtype, shape):
    rows, inner, outer = shape
    x, weight = np.ones((rows, inner), dtype), np.ones((inner, outer), dtype)
    _, cache = _core.linear_batch_norm(
        x, weight, None, None, None, None, None, 0.1, 1e-5, True, False
    )
    dy = np.ones((rows, outer), dtype)
    gradients = _core.linear_batch_norm_backward(dy, x, weight, cache, True, True)
    assert [g.shape for g in gradients] == [(rows, inner), (inner, outer)] + 3 * [(outer,)]
    assert not any(g.any() for g in gradients)


def test_empty_batches_are_those_of_the_layers(rng):
    layers = make(rng, 4, 5, np.float32)
    net = Sequential(*layers)
    y = net.forward(np.zeros((0, 4), np.float32), training=True)
    assert y.shape == (0, 5)
    assert net.backward(np.zeros((0, 5), np.float32)).shape == (0, 4)
    assert not layers[0].weight.grad.any()


# -- the function ----------------------------------------------------------------------------------


def operands(rng, rows=20, inner=6, outer=9):
    return {
        "x": rng.standard_normal((rows, inner)).astype(np.float32),
        "weight": rng.standard_normal((inner, outer)).astype(np.float32),
        "bias": rng.standard_normal(outer).astype(np.float32),
        "gamma": rng.uniform(0.5, 2, outer).astype(np.float32),
        "beta": rng.standard_normal(outer).astype(np.float32),
        "running_mean": np.zeros(outer, np.float32),
        "running_var": np.ones(outer, np.float32),
    }


@pytest.mark.parametrize("name", ["dweight", "dbias", "dgamma", "dbeta"])
@pytest.mark.parametrize("over", ["x", "weight", "dy"])
def test_gradients_over_operands_are_as_if_copied_first(target, rng, name, over):
    o = operands(rng)
    _, cache = fastbn.linear_bn_relu(*o.values(), training=True)
    dy = rng.standard_normal((20, 9)).astype(np.float32)
    names = ("dx", "dweight", "dbias", "dgamma", "dbeta")
    expected = dict(zip(names, fastbn.linear_bn_relu_backward(dy, cache), strict=True))
    memory = {"x": cache.x, "weight": cache.weight, "dy": dy}[over].reshape(-1)
    out = memory[: expected[name].size].reshape(expected[name].shape)
    got = fastbn.linear_bn_relu_backward(dy, cache, **{name: out})
    assert dict(zip(names, got, strict=True))[name] is out
    for key, value in zip(names, got, strict=True):
        np.testing.assert_array_equal(value, expected[key], err_msg=key)


def test_gradients_over_one_another_are_refused(rng):
    o = operands(rng)
    _, cache = fastbn.linear_bn_relu(*o.values(), training=True)
    dy = rng.standard_normal((20, 9)).astype(np.float32)
    out = np.zeros(9, np.float32)
    with pytest.raises(ValueError, match="overlaps"):
        fastbn.linear_bn_relu_backward(dy, cache, dgamma=out, dbeta=out)
    assert not out.any()


@pytest.mark.parametrize("name", ["running_mean", "running_var"])
def test_running_statistics_over_operands_are_refused(rng, name):
    o = operands(rng)
    o[name] = o["weight"][0]
    before = o["weight"].copy()
    with pytest.raises(ValueError, match=name):
        fastbn.linear_bn_relu(*o.values(), training=True)
    np.testing.assert_array_equal(o["weight"], before)


def test_the_cumulative_average(target, rng):
    o = operands(rng)
    count = np.zeros((), np.int64)
    means = []
    for _ in range(3):
        o["x"] = rng.standard_normal((20, 6)).astype(np.float32)
        fastbn.linear_bn_relu(*o.values(), training=True, momentum=None, num_batches_tracked=count)
        z = o["x"].astype(np.float64) @ o["weight"] + o["bias"]
        means.append(z.mean(axis=0))
    assert count == 3
    # 6 products, 20 rows and three updates, each rounded to float32; values of some 10 at most.
    np.testing.assert_allclose(o["running_mean"], np.mean(means, axis=0), atol=30 * 2**-24 * 10)
