"""Bounds, arrays and formulas that the tests here share."""

import numpy as np

DTYPES = [np.float32, np.float64]


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


def arrays(rng, *shapes, dtype=np.float64):
    return tuple(rng.standard_normal(shape).astype(dtype) for shape in shapes)


def read_only(shape, dtype):
    array = np.zeros(shape, dtype)
    array.flags.writeable = False
    return array


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)
