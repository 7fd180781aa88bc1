import itertools

import numpy as np
import pytest

from fastbn.layers import BatchNorm1d, Linear, ReLU, Sequential
from fastbn.layers.flat import ALIGNMENT, adjoin, aligned_zeros


def address(array):
    return array.__array_interface__["data"][0]


def make(dtype=np.float32):
    return Sequential(
        Linear(5, 3, rng=0, dtype=dtype),
        BatchNorm1d(3, dtype=dtype),
        ReLU(),
        Sequential(Linear(3, 17, rng=1, dtype=dtype), ReLU()),
        Linear(17, 2, rng=2, dtype=dtype),
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parameters_lie_side_by_side(dtype):
    parameters = make(dtype).parameters()
    ordered = [p for p in parameters if p.decay] + [p for p in parameters if not p.decay]
    assert len(ordered) == 8
    for kind in ("data", "grad"):
        arrays = [getattr(p, kind) for p in ordered]
        flat = getattr(ordered[0].place, kind)
        for array in arrays:
            assert address(array) % ALIGNMENT == 0
            assert np.shares_memory(array, flat)
        for before, after in itertools.pairwise(arrays):
            assert 0 <= address(after) - (address(before) + before.nbytes) < ALIGNMENT
    assert all(adjoin(a.place, b.place) for a, b in itertools.pairwise(ordered))


def test_padding_is_zero_and_stays_zero():
    net = make()
    place = net.parameters()[0].place
    taken = np.zeros(place.data.size, bool)
    for parameter in net.parameters():
        assert not taken[parameter.place.start : parameter.place.stop].any()
        taken[parameter.place.start : parameter.place.stop] = True
    assert not taken.all()
    x = np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32)
    net.backward(np.ones_like(net(x, training=True)))
    assert not place.data[~taken].any()
    assert not place.grad[~taken].any()


def test_values_and_gradients_move_along():
    layer = Linear(4, 3, rng=0)
    layer.weight.grad[:] = 2
    weight = layer.weight.data.copy()
    Sequential(layer, Linear(3, 2))
    np.testing.assert_array_equal(layer.weight.data, weight)
    np.testing.assert_array_equal(layer.weight.grad, 2)


def test_a_layer_may_join_another_net():
    layer = Linear(4, 3, rng=0)
    first, second = Sequential(layer), Sequential(layer, Linear(3, 2, rng=1))
    assert layer.weight.place.data is second[1].weight.place.data
    x = np.ones((2, 4), np.float32)
    layer.weight.data[:] = 1
    np.testing.assert_array_equal(first(x), layer(x))


def test_one_dtype():
    with pytest.raises(TypeError, match="float32 and float64"):
        Sequential(Linear(2, 2), Linear(2, 2, dtype=np.float64))


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 1000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_aligned_zeros(size, dtype):
    array = aligned_zeros(size, np.dtype(dtype))
    assert array.shape == (size,)
    assert array.dtype == dtype
    assert size == 0 or address(array) % ALIGNMENT == 0
    assert not array.any()
