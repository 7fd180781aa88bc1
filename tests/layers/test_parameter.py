import copy
import pickle

import numpy as np
import pytest

from fastbn.layers import Linear, Parameter, Sequential


def test_data_and_grad_are_live():
    array = np.ones((2, 3))
    parameter = Parameter(array)
    assert parameter.data is array
    assert parameter.grad.shape == (2, 3)
    assert not parameter.grad.any()
    parameter.data -= 0.5
    parameter.data = np.full((2, 3), 7.0)
    parameter.data[0, 0] = 1
    assert parameter.data is array
    np.testing.assert_array_equal(array, [[1, 7, 7], [7, 7, 7]])
    grad = parameter.grad
    parameter.grad = array
    assert parameter.grad is grad
    np.testing.assert_array_equal(grad, array)


@pytest.mark.parametrize("name", ["data", "grad"])
def test_assignment_is_checked(name):
    parameter = Parameter(np.ones((2, 3), np.float32))
    for value, error, message in [
        (np.ones((3, 2), np.float32), ValueError, r"\(2, 3\).*\(3, 2\)"),
        (np.ones((3,), np.float32), ValueError, r"\(2, 3\).*\(3,\)"),
        (np.ones((2, 3)), TypeError, "float32.*float64"),
        (1.0, ValueError, r"\(2, 3\)"),
        ([[1.0] * 3] * 2, TypeError, "float32.*list"),
    ]:
        with pytest.raises(error, match=message):
            setattr(parameter, name, value)
    np.testing.assert_array_equal(parameter.data, 1)
    np.testing.assert_array_equal(parameter.grad, 0)


def test_wrong_arrays():
    for data, error in [
        (np.ones(3, np.int64), TypeError),
        ([1.0, 2.0], TypeError),
        (np.ones((3, 4)).T, ValueError),
        (np.ones(8)[::2], ValueError),
    ]:
        with pytest.raises(error, match="a parameter must be"):
            Parameter(data)


def test_what_a_parameter_was_becomes_read_only():
    layer = Linear(3, 2)
    before = layer.weight.data
    Sequential(layer)
    assert layer.weight.data is not before
    with pytest.raises(ValueError, match="read-only"):
        before -= 1
    layer.weight.data -= 1


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
def test_a_copy_stands_alone(duplicate):
    net = Sequential(Linear(3, 2, rng=0))
    parameter = net[0].weight
    parameter.grad[:] = 3
    other = duplicate(parameter)
    np.testing.assert_array_equal(other.data, parameter.data)
    np.testing.assert_array_equal(other.grad, parameter.grad)
    assert other.decay == parameter.decay
    other.data[:] = 5
    assert not np.any(parameter.data == 5)
    np.testing.assert_array_equal(other.place.data[other.place.start : other.place.stop], 5)
