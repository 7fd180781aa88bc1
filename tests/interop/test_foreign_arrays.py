"""Inputs that are no ndarrays: whatever NumPy can see without a copy, by DLPack or as a buffer."""

import array

import numpy as np
import pytest

import fastbn


class DLPackOnly:
    """Offers its memory by DLPack and in no other way, as a tensor of some library may."""

    def __init__(self, values):
        self.values = values

    def __dlpack__(self, **options):
        return self.values.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.values.__dlpack_device__()


class ArrayMethodOnly:
    """Has the method by which `numpy.asarray` asks for an array."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return self.values


def tensor(values):
    return pytest.importorskip("torch").from_numpy(values)


KINDS = {
    "DLPack": DLPackOnly,
    "__array__": ArrayMethodOnly,
    "buffer": memoryview,
    "torch": tensor,
}


@pytest.fixture(params=KINDS)
def foreign(request):
    return KINDS[request.param]


def results(x, w, b, gamma, beta, dy, labels):
    """What every function with array arguments makes of them; arrays only."""
    y, cache = fastbn.batch_norm(dy, gamma, beta, training=True)
    block, block_cache = fastbn.linear_bn_relu(x, w, b, gamma, beta, None, None, training=True)
    loss, loss_cache = fastbn.cross_entropy(dy, labels)
    found = [
        fastbn.gemm(x, w, bias=b),
        fastbn.linear(x, w, b),
        *fastbn.linear_backward(dy, x, w),
        y,
        *fastbn.batch_norm_backward(dy, cache),
        block,
        *fastbn.linear_bn_relu_backward(dy, block_cache),
        np.array(loss),
        fastbn.cross_entropy_backward(loss_cache),
    ]
    for name in ("relu", "leaky_relu", "sigmoid", "tanh", "gelu", "softmax"):
        found.append(getattr(fastbn, name)(dy))
        found.append(getattr(fastbn, name + "_backward")(dy, y))
    return found


def operands(rng, dtype):
    shapes = (12, 5), (5, 7), (7,), (7,), (7,), (12, 7)
    return [rng.standard_normal(s).astype(dtype) for s in shapes] + [rng.integers(0, 7, 12)]


def test_functions(rng, dtype, foreign):
    arrays = operands(rng, dtype)
    expected, actual = results(*arrays), results(*map(foreign, arrays))
    for ours, theirs in zip(actual, expected, strict=True):
        assert type(ours) is np.ndarray
        assert np.array_equal(ours, theirs)


def test_matmul(rng, dtype, foreign):
    a, b, stack = (rng.standard_normal(s).astype(dtype) for s in ((9, 30), (30, 20), (4, 9, 30)))
    for left in (a, stack, a[0]):
        product = fastbn.matmul(foreign(left), foreign(b))
        if foreign in (DLPackOnly, tensor):  # the others are NumPy's own matter
            assert type(product) is np.ndarray
            assert np.array_equal(product, fastbn.matmul(left, b))
        np.testing.assert_allclose(product, left @ b, atol=1e-4)


def test_layers(rng, dtype, foreign):
    x, dy = rng.standard_normal((8, 6)).astype(dtype), rng.standard_normal((8, 3)).astype(dtype)

    def gradients(x, dy):
        net = fastbn.Sequential(
            fastbn.Flatten(),
            fastbn.Linear(6, 5, rng=0, dtype=dtype),
            fastbn.BatchNorm1d(5, dtype=dtype),
            fastbn.Tanh(),
            fastbn.Dropout(0.0, rng=1),
            fastbn.Linear(5, 3, rng=2, dtype=dtype),
        )
        return [net(x, training=True), net.backward(dy), *(p.grad for p in net.parameters())]

    for ours, theirs in zip(gradients(foreign(x), foreign(dy)), gradients(x, dy), strict=True):
        assert np.array_equal(ours, theirs)


def test_no_copy_is_made(rng, foreign):
    x = rng.standard_normal((6, 4))
    _, cache = fastbn.batch_norm(foreign(x), None, None, training=True)
    assert np.shares_memory(cache.x, x)


def test_strides_of_a_tensor(rng):
    torch = pytest.importorskip("torch")
    x = rng.standard_normal((6, 8))
    assert np.array_equal(fastbn.relu(torch.from_numpy(x).T), np.maximum(x.T, 0))


def test_an_array_of_the_standard_library():
    values = array.array("d", [1.0, -2.0, 3.0])
    assert np.array_equal(fastbn.relu(values), [1, 0, 3])


def test_a_tensor_that_records_gradients_is_refused_with_its_reason():
    torch = pytest.importorskip("torch")
    recording = torch.ones(3, 2, requires_grad=True)
    for call in (fastbn.relu, fastbn.Flatten()):
        with pytest.raises(TypeError, match=r"x must be an array, got Tensor: .*detach"):
            call(recording)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "int64"])
def test_tensors_of_other_dtypes_are_refused(dtype):
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="x must be"):
        fastbn.relu(torch.ones(3, dtype=getattr(torch, dtype)))


def test_results_are_written_to_ndarrays_alone():
    with pytest.raises(TypeError, match=r"numpy\.ndarray"):
        fastbn.relu(np.ones(3), out=memoryview(np.ones(3)))


@pytest.mark.parametrize("x", [[[1.0]], 1.0, None])
def test_layers_refuse_what_is_no_array(x):
    with pytest.raises(TypeError, match="ReLU takes a NumPy array"):
        fastbn.ReLU()(x)
