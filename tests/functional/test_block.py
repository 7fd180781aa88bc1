"""The fused block."""

import numpy as np
import pytest

from fastbn import functional

from .arrays_and_bounds import DTYPES, arrays


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
