"""Central differences: the oracle of every backward here."""

import numpy as np

EPS, ATOL, RTOL = 1e-6, 1e-5, 1e-3


def numeric_gradient(f, array):
    """Gradient of the scalar f() by the elements of a float64 array that f reads."""
    gradient = np.empty_like(array)
    for i in np.ndindex(array.shape):
        old = array[i]
        array[i] = old + EPS
        above = f()
        array[i] = old - EPS
        below = f()
        array[i] = old
        gradient[i] = (above - below) / (2 * EPS)
    return gradient


def assert_close(actual, expected, name=""):
    np.testing.assert_allclose(actual, expected, atol=ATOL, rtol=RTOL, err_msg=name)


def check_layer(layer, x, prepare=lambda: None, seed=0):
    """Compare every gradient of a float64 layer, by x and by the parameters, with differences.

    The scalar is a random weighting of the result; `prepare` runs before each forward and fixes
    what is random in it.
    """

    def forward():
        prepare()
        return layer.forward(x, training=True)

    weights = np.random.default_rng(seed).standard_normal(forward().shape)

    def scalar():
        return float(np.sum(forward() * weights))

    expected = {"x": numeric_gradient(scalar, x)}
    for name, parameter in layer.named_parameters():
        expected[name] = numeric_gradient(scalar, parameter.data)
    forward()
    actual = {"x": layer.backward(weights)}
    actual |= {name: parameter.grad for name, parameter in layer.named_parameters()}
    for name in expected:
        assert actual[name].shape == expected[name].shape
        assert_close(actual[name], expected[name], name)
