"""What both styles are judged by: the records of a training on plain NumPy and on fastbn."""

import numpy as np

# Rounding may add up over this many updates to no more than the tolerance.
UPDATES = 200
TOLERANCE = {np.float64: 1e-10, np.float32: 1e-4}

U = {np.float32: 2.0**-24, np.float64: 2.0**-53}


def assert_close(ours, theirs, dtype, terms=100):
    """Errors of sums of `terms` values of unit size: terms * u, 16 for what multiplies them."""
    assert np.shape(ours) == np.shape(theirs)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=16 * terms * U[dtype])


def assert_same_losses(ours, theirs, dtype):
    """Every loss of a training, relative to the largest: rounding is that of the largest terms."""
    assert len(ours) == len(theirs) == UPDATES
    assert theirs[-1] < 0.5 * theirs[0]  # it learned, so that the comparison means something
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE[dtype] * max(theirs))


def digits(dtype, n=400):
    """Some of the handwritten digits of the package."""
    import fastbn

    x, y, *_ = fastbn.datasets.load_digits()
    return x[:n].astype(dtype), y[:n].astype(np.int64), x[n : n + 97].astype(dtype), y[n : n + 97]
