"""Cross-entropy."""

import numpy as np
import pytest

from fastbn import functional

from .arrays_and_bounds import DTYPES, softmax


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
