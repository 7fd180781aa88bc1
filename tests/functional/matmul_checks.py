"""What a product of `fastbn.matmul` is compared with: `numpy.matmul`, its errors too."""

import numpy as np

from .arrays_and_bounds import gamma


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
