import copy
import re
import sys
import sysconfig
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fastbn import _core
from fastbn._core import Workspace
from fastbn.layers import (
    GELU,
    BatchNorm1d,
    Dropout,
    LeakyReLU,
    Linear,
    ReLU,
    Sequential,
    Sigmoid,
    Softmax,
    Tanh,
)
from fastbn.losses import BCEWithLogitsLoss, CrossEntropyLoss, MSELoss
from fastbn.optim import SGD, Adam

F32 = np.dtype(np.float32)


lends_again = pytest.mark.skipif(
    bool(sysconfig.get_config_var("Py_GIL_DISABLED")) and sys.version_info < (3, 14),
    reason="this Python cannot say whether somebody holds an array",
)


def address(array):
    return array.__array_interface__["data"][0]


@lends_again
def test_memory_that_nobody_holds_is_lent_again():
    workspace = Workspace()
    first = address(workspace.lend((100, 3), F32))
    for shape in [(100, 3), (60, 3), (3, 50, 2), (1,), (100, 3)]:
        array = workspace.lend(shape, F32)
        assert array.shape == shape
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert address(array) == first
        del array


HOLDERS = {
    "the array": lambda array: array,
    "a slice": lambda array: array[2:5],
    "a view of a view": lambda array: array[1:].T[1:],
    "another dtype": lambda array: array.view(np.int32),
    "a matrix": lambda array: array.view(np.matrix)[1:],
    "a memoryview": memoryview,
    "a container": lambda array: {"y": [array]},
    "a flat iterator": lambda array: array.flat,
    "strides": lambda array: np.lib.stride_tricks.as_strided(array, (2,), (4,)),
    "the base": lambda array: array.base,
}


@pytest.mark.parametrize("holder", HOLDERS.values(), ids=HOLDERS.keys())
def test_memory_that_somebody_holds_is_not(holder):
    workspace = Workspace()
    for _ in range(5):  # the second time round the interpreter may run other, specialized code
        array = workspace.lend((10, 3), F32)
        where = address(array)
        held = holder(array)
        del array
        others = [workspace.lend((10, 3), F32) for _ in range(3)]
        assert where not in map(address, others)
        del held, others


@lends_again
def test_two_blocks_take_turns():
    # y = lend() while the old y is still bound: the loop that every user writes.
    workspace = Workspace()
    y, seen = None, []
    for _ in range(6):
        y = workspace.lend((1000,), F32)
        seen.append(address(y))
    assert len(set(seen)) == 2


def test_a_changed_header_does_not_come_back():
    workspace = Workspace()
    array = workspace.lend((4, 3), F32)
    array.flags.writeable = False
    del array
    array = workspace.lend((4, 3), F32)
    assert array.flags.writeable


def test_growth_and_dtype_replace_a_block():
    workspace = Workspace()
    for shape, dtype in [((4,), F32), ((400,), F32), ((400,), np.dtype(np.float64)), ((0,), F32)]:
        array = workspace.lend(shape, dtype)
        assert array.shape == shape
        assert array.dtype == dtype
        array[:] = 1


def test_a_copy_has_its_own():
    workspace = Workspace()
    where = address(workspace.lend((50,), F32))
    assert address(copy.deepcopy(workspace).lend((50,), F32)) != where


X, W, V = (np.ones(shape, np.float32) for shape in [(4, 3), (3, 3), (3,)])


def copies(n):
    return [V.copy() for _ in range(n)]


def batch_norm(mean, var):
    return _core.batch_norm(X, V, V, mean, var, True)


def block(mean, var):
    return _core.linear_batch_norm(X, W, V, V, V, mean, var, 0.1, 1e-5, True, True)


def batch_norm_backward(**to):
    return _core.batch_norm_backward(X, batch_norm(*copies(2))[1], None, **to)


def block_backward(**to):
    cache = block(*copies(2))[1]
    return _core.linear_batch_norm_backward(X, X, W, cache, True, True, **to)


# What a kernel reads before it writes it, or leaves with its caller.
NOT_LENT = {
    "c of beta above 0": ("c", lambda lent: _core.gemm(X, W, lent, 1.0, 1.0)),
    "c of beta NaN": ("c", lambda lent: _core.gemm(X, W, lent, 1.0, float("nan"))),
    "column sums": ("out", lambda lent: _core.column_sums(X, lent)),
    "param of sgd": ("param", lambda lent: _core.sgd_update(lent, V, None, 0.1)),
    "velocity": ("velocity", lambda lent: _core.sgd_update(*copies(2), lent, 0.1, 0.9)),
    "param of adam": ("param", lambda lent: _core.adam_update(lent, *copies(3), step=1, lr=0.1)),
    "m": ("m", lambda lent: _core.adam_update(*copies(2), lent, *copies(1), step=1, lr=0.1)),
    "v": ("v", lambda lent: _core.adam_update(*copies(3), lent, step=1, lr=0.1)),
    "running_mean": ("running_mean", lambda lent: batch_norm(lent, V.copy())),
    "running_var": ("running_var", lambda lent: batch_norm(V.copy(), lent)),
    "running_mean of the block": ("running_mean", lambda lent: block(lent, V.copy())),
    "running_var of the block": ("running_var", lambda lent: block(V.copy(), lent)),
    "dweight": ("dweight", lambda lent: block_backward(dweight=lent)),
    "dbias": ("dbias", lambda lent: block_backward(dbias=lent)),
    "dgamma": ("dgamma", lambda lent: block_backward(dgamma=lent)),
    "dbeta": ("dbeta", lambda lent: block_backward(dbeta=lent)),
    "dweight of linear": ("dweight", lambda lent: _core.linear_backward(X, X, W, dweight=lent)),
    "dbias of linear": ("dbias", lambda lent: _core.linear_backward(X, X, W, dbias=lent)),
    "dgamma of batch norm": ("dgamma", lambda lent: batch_norm_backward(dgamma=lent)),
    "dbeta of batch norm": ("dbeta", lambda lent: batch_norm_backward(dbeta=lent)),
}


@pytest.mark.parametrize(("name", "call"), NOT_LENT.values(), ids=NOT_LENT.keys())
def test_what_is_read_or_kept_is_not_lent(name, call):
    with pytest.raises(TypeError, match=f"^{name} must be .*(Workspace|object)"):
        call(Workspace())


NO_NUMBERS = [object, [("a", object)], "V8", "U3"]
if hasattr(np.dtypes, "StringDType"):  # from NumPy 2.0 on
    NO_NUMBERS.append(np.dtypes.StringDType())


@pytest.mark.parametrize("dtype", NO_NUMBERS)
def test_only_numbers_are_lent(dtype):
    with pytest.raises(TypeError, match="must be of numbers"):
        Workspace().lend((3,), np.dtype(dtype))


@pytest.mark.parametrize("shape", [(-1,), (3, -2), (1 << 40, 1 << 40), ((1 << 63) - 1,)])
def test_wrong_shapes_are_not_lent(shape):
    workspace = Workspace()
    with pytest.raises(ValueError, match=re.escape(str(shape))):
        workspace.lend(shape, np.dtype(np.uint8))
    workspace.lend((3,), F32)


def test_only_a_workspace_lends():
    with pytest.raises(TypeError, match="must be a Workspace, got int"):
        Workspace.lend(3, (3,), F32)


def test_threads_that_share_one_get_different_memory():
    """Of Python without the GIL: with it, a thread has lent before another may ask."""
    workspace = Workspace()
    at_once = threading.Barrier(4)

    def borrow(_):
        at_once.wait()
        return [workspace.lend((50,), F32) for _ in range(200)]

    with ThreadPoolExecutor(4) as team:
        lent = [array for arrays in team.map(borrow, range(4)) for array in arrays]
    assert len(set(map(address, lent))) == len(lent)


LAYERS = [
    lambda: Linear(8, 8, rng=0),
    lambda: BatchNorm1d(8),
    ReLU,
    LeakyReLU,
    Sigmoid,
    Tanh,
    GELU,
    Softmax,
    lambda: Dropout(rng=0),
    lambda: Sequential(Linear(8, 8, rng=0), BatchNorm1d(8), ReLU()),
]


@pytest.mark.parametrize("make", LAYERS)
def test_results_are_the_callers_to_keep(rng, make):
    layer = make()
    kept = []
    for n in (6, 6, 3, 6, 9):
        x, dy = (rng.standard_normal((n, 8)).astype(np.float32) for _ in range(2))
        y = layer(x, training=True)
        dx = layer.backward(dy)
        kept += [(y, y.copy()), (dx[1:], dx[1:].copy()), (layer(x), layer(x))]
    for array, values in kept:
        np.testing.assert_array_equal(array, values)


@lends_again
@pytest.mark.parametrize("make", LAYERS)
def test_a_result_that_is_not_kept_costs_no_memory(rng, make):
    layer = make()
    x = rng.standard_normal((6, 8)).astype(np.float32)
    seen = {address(layer(x, training=True)) for _ in range(5)}
    seen_dx = {address(layer.backward(x)) for _ in range(5)}
    assert len(seen) == len(seen_dx) == 1


@lends_again
@pytest.mark.parametrize(
    ("loss", "targets"),
    [
        (CrossEntropyLoss(), lambda n: np.zeros(n, np.int64)),
        (MSELoss(), lambda n: np.zeros((n, 64), np.float32)),
        (BCEWithLogitsLoss(), lambda n: np.zeros((n, 64), np.float32)),
    ],
)
@pytest.mark.parametrize("optimizer", [SGD, Adam])
def test_a_steady_training_step_allocates_nothing_large(rng, loss, targets, optimizer):
    n = 512  # an activation is 128 KiB; labels and statistics of rows and channels are up to 4 KiB
    net = Sequential(
        Linear(64, 64, rng=0),
        BatchNorm1d(64),
        ReLU(),
        Sequential(Linear(64, 64, rng=1), ReLU(), Dropout(0.1, rng=0)),
        Linear(64, 64, rng=2),
        Tanh(),
        GELU(),
    )
    optimizer = optimizer(net.parameters(), lr=0.01)
    x, t = rng.standard_normal((n, 64)).astype(np.float32), targets(n)

    def run(steps, rows):
        for _ in range(steps):
            y = net(x[:rows], training=True)
            loss(y, t[:rows])
            dx = net.backward(loss.backward())
            optimizer.step()
        return y, dx

    run(3, n)
    run(1, n // 2)  # a tail does not throw the large workspaces away
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        run(3, n)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # All that lives at one time, objects of Python and NumPy's conversion buffer (of 8192 booleans,
    # in Dropout) included: a quarter of one activation.
    assert peak - before < 32 * 1024
