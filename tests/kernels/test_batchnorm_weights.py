"""Batch norm with weights and masks: an oracle, plain calls, and what is refused."""

import itertools
from typing import Any

import numpy as np
import pytest

import fastbn

from . import oracles
from .arrays import bits, normal
from .batchnorm_checks import EPS, parameters, positions, some_weights, within
from .bounds import batch_norm_bounds, oracle_dtype, relative_sum_error, unit_roundoff
from .differences import assert_gradients

CHANNELS = (1, 15, 16, 17, 65)
ROWS = (2, 3, 31, 32, 33, 127, 128, 129, 255, 256, 257, 1025)
IMAGES = [((3, 5, 7, 9), 1), ((2, 3, 7, 9), -1), ((5, 2, 33), 1), ((2, 1, 130, 129), 1)]


def spoiled(a: np.ndarray, axis: int, w: np.ndarray) -> np.ndarray:
    """Copy `a`, with NaN and infinities where the weight is 0."""
    rows = oracles.rows_of(a, axis).copy()
    padding = np.flatnonzero(w.ravel() == 0)
    rows[padding] = np.resize([np.nan, np.inf, -np.inf], len(padding))[:, None]
    return np.ascontiguousarray(oracles.shape_back(rows, a.shape, axis))


def check(
    x: np.ndarray,
    axis: int,
    w: np.ndarray,
    dy: np.ndarray,
    p: dict[str, np.ndarray],
    *,
    activation: str | None = None,
    statistics: tuple[np.ndarray, np.ndarray] | None = None,
) -> None:
    """A forward and a backward pass, each result within its bound, padding exactly 0."""
    dtype, wide, counts = x.dtype.type, oracle_dtype(x.dtype.type), w.ravel()
    rows = np.where(counts[:, None] > 0, oracles.rows_of(x, axis), 0)
    g = np.where(counts[:, None] > 0, oracles.rows_of(dy, axis), 0).astype(wide)
    mean, var = statistics or np.zeros((2, x.shape[axis]), dtype)
    y, cache = fastbn.batch_norm(
        spoiled(x, axis, w), **p, running_mean=mean, running_var=var,
        training=statistics is None, momentum=1.0, axis=axis, unbiased=False,
        activation=activation, weights=w,
    )  # fmt: skip
    dx, dgamma, dbeta = fastbn.batch_norm_backward(spoiled(dy, axis, w), cache)
    y_rows, dx_rows = oracles.rows_of(y, axis), oracles.rows_of(dx, axis)
    assert (y_rows[counts == 0] == 0).all()
    assert (dx_rows[counts == 0] == 0).all()

    exact = oracles.batch_norm(rows, p["gamma"], p["beta"], EPS, *(statistics or ()), counts=counts)
    expected_y = exact.y
    if activation:
        g, expected_y = np.where(y_rows <= 0, 0, g), oracles.relu(exact.y)
    bounds = batch_norm_bounds(
        exact.x, exact.weight, exact.shift, EPS,
        exact.mean if statistics else cache.mean.astype(wide), dtype,
        var=exact.var if statistics else None, g=g, inner=oracles.inner_of(x.shape, axis),
        counts=counts,
    )  # fmt: skip
    if statistics is None:
        within(cache.mean, exact.mean, bounds.mean, "mean")
        within(mean, exact.mean, bounds.total_mean, "running mean")
        within(var, exact.var, bounds.var, "variance")
    within(y_rows, expected_y, np.where(counts[:, None] > 0, bounds.y, 0), "y")
    expected_dx, expected_dgamma, expected_dbeta = exact.backward(g)
    within(dbeta, expected_dbeta, bounds.dbeta, "dbeta")
    within(dgamma, expected_dgamma, bounds.dgamma, "dgamma")
    within(dx_rows, expected_dx, bounds.dx, "dx")


# -- the bound on the error ------------------------------------------------------------------------


@pytest.mark.parametrize("channels", CHANNELS)
def test_error_bound_of_rows(target, dtype, rng, channels):
    p = parameters(rng, channels, dtype)
    for n, activation in zip(ROWS, itertools.cycle((None, "relu"))):
        x, dy = (normal(rng, n, channels, dtype=dtype) for _ in range(2))
        w = some_weights(rng, (n,), dtype)
        for counts in (w, (w > 0).astype(dtype)):
            check(x * 3 + dtype(1), 1, counts, dy, p, activation=activation)


@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize(("shape", "axis"), [((33, 17), 1), *IMAGES])
def test_error_bound_of_images_and_of_frozen_statistics(
    target, dtype, rng, shape, axis, activation
):
    x, dy = (normal(rng, *shape, dtype=dtype) for _ in range(2))
    w, p = some_weights(rng, positions(shape, axis), dtype), parameters(rng, shape[axis], dtype)
    check(x, axis, w, dy, p, activation=activation)
    frozen = normal(rng, shape[axis], dtype=dtype), rng.random(shape[axis]).astype(dtype)
    check(x, axis, w, dy, p, activation=activation, statistics=frozen)


def test_padding_of_whole_strips_and_pieces(target, dtype, rng):
    """The first value, strip and piece that count may lie anywhere."""
    x, dy = (normal(rng, 1025, 17, dtype=dtype) + dtype(100) for _ in range(2))
    p = parameters(rng, 17, dtype)
    for begin, end in ((1, 1025), (33, 300), (255, 257), (256, 512), (300, 302), (1023, 1025)):
        w = np.zeros(1025, dtype)
        w[begin:end] = 1
        check(x, 1, w, dy, p)
        image = np.ascontiguousarray(x.T[None])
        check(image, 1, w[None], np.ascontiguousarray(dy.T[None]), p)


# -- what weights mean -----------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "axis"), [((33, 17), 1), ((513, 65), 1), *IMAGES])
def test_a_mask_of_samples_is_batch_norm_of_those_kept(target, dtype, rng, shape, axis):
    x, dy = (normal(rng, *shape, dtype=dtype) for _ in range(2))
    keep = rng.random(shape[0]) < 0.6
    keep[:2] = True, False
    if shape[0] == 2:
        keep[1] = False
    p = parameters(rng, shape[axis], dtype)
    mask = np.broadcast_to(keep.reshape(-1, *[1] * (len(shape) - 2)), positions(shape, axis))
    x_bad, dy_bad = (spoiled(a, axis, mask) for a in (x, dy))

    def run(x: np.ndarray, dy: np.ndarray, **options: Any) -> list[np.ndarray]:
        mean, var = np.zeros((2, shape[axis]), dtype)
        y, cache = fastbn.batch_norm(
            x, **p, running_mean=mean, running_var=var, training=True, axis=axis,
            activation="relu", **options,
        )  # fmt: skip
        return [y, *fastbn.batch_norm_backward(dy, cache), mean, var]

    by_sample, by_position = run(x_bad, dy_bad, weights=keep), run(x_bad, dy_bad, weights=mask)
    assert [bits(a) for a in by_sample] == [bits(a) for a in by_position]
    expected = run(x[keep], dy[keep])
    assert not by_sample[0][~keep].any()
    assert not by_sample[1][~keep].any()
    by_sample[:2] = by_sample[0][keep], by_sample[1][keep]
    # Two sums, each off by so much, and what follows from them.  The sums dgamma, dbeta and the
    # mean may cancel: their error is relative to the size of their terms, which is near 1.
    tolerance = 4 * relative_sum_error(x.size // shape[axis], dtype)
    n, channels = x[keep].size // shape[axis], np.sqrt(shape[axis])
    of_terms = (0, 0, n * channels, n * channels, channels, 0)
    for got, want, size in zip(by_sample, expected, of_terms, strict=True):
        assert np.linalg.norm(got - want) <= tolerance * max(np.linalg.norm(want), size)


@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize(("shape", "axis"), [((33, 17), 1), ((1025, 3), 1), *IMAGES])
def test_the_size_of_equal_weights_changes_no_bit(target, dtype, rng, shape, axis, activation):
    """A power of two rounds nothing, and a quotient takes it out again."""
    x, dy = (normal(rng, *shape, dtype=dtype) for _ in range(2))
    p = parameters(rng, shape[axis], dtype)

    def run(**options: Any) -> list[bytes]:
        mean, var = np.zeros((2, shape[axis]), dtype)
        y, cache = fastbn.batch_norm(
            x, **p, running_mean=mean, running_var=var, training=True, axis=axis,
            unbiased=False, activation=activation, **options,
        )  # fmt: skip
        return [bits(a) for a in (y, mean, var, *fastbn.batch_norm_backward(dy, cache))]

    expected = run(weights=np.full(positions(shape, axis), 1, dtype))
    for value in (0.5, 4):
        assert run(weights=np.full(positions(shape, axis), value, dtype)) == expected
    assert run(weights=np.ones(shape[0], np.bool_)) == expected


def test_whole_weights_are_repeated_rows(target, dtype, rng):
    x, dy = (normal(rng, 41, 17, dtype=dtype) for _ in range(2))
    times, p = rng.integers(1, 5, 41), parameters(rng, 17, dtype)
    y, cache = fastbn.batch_norm(x, **p, training=True, weights=times.astype(dtype))
    dx, dgamma, dbeta = fastbn.batch_norm_backward(dy, cache)
    first = np.concatenate([[0], np.cumsum(times)[:-1]])
    # The gradient of a row comes once, and that of the loss by x is the sum over its copies.
    dy_first = np.zeros((times.sum(), 17), dtype)
    dy_first[first] = dy
    y_all, all_ = fastbn.batch_norm(np.repeat(x, times, axis=0), **p, training=True)
    dx_all, dgamma_all, dbeta_all = fastbn.batch_norm_backward(dy_first, all_)
    tolerance = 4 * relative_sum_error(times.sum(), dtype)
    for got, want in (
        (y, y_all[first]), (dx, np.add.reduceat(dx_all, first)), (dgamma, dgamma_all),
        (dbeta, dbeta_all), (cache.mean, all_.mean), (cache.var, all_.var),
    ):  # fmt: skip
        assert np.linalg.norm(got - want) <= tolerance * np.linalg.norm(want)


def test_running_variance_takes_the_sum_of_weights_for_n(dtype, rng):
    x, w = normal(rng, 9, 4, dtype=dtype), np.full(9, 3, dtype)
    mean, var = np.zeros((2, 4), dtype)
    fastbn.batch_norm(x, None, None, mean, var, training=True, momentum=1.0, weights=w)
    tolerance = 60 * unit_roundoff(dtype)
    np.testing.assert_allclose(var, x.astype(float).var(axis=0) * 27 / 26, rtol=tolerance)


def test_frozen_statistics_take_any_weights(target, dtype, rng):
    x, dy = (normal(rng, 9, 5, dtype=dtype) for _ in range(2))
    p, mean, var = parameters(rng, 5, dtype), normal(rng, 5, dtype=dtype), np.ones(5, dtype)
    nothing = np.zeros(9, np.bool_)
    y, cache = fastbn.batch_norm(x * np.nan, **p, running_mean=mean, running_var=var,
                                 training=False, weights=nothing)  # fmt: skip
    assert not y.any()
    assert not any(a.any() for a in fastbn.batch_norm_backward(dy * np.nan, cache))


# -- derivatives, threads --------------------------------------------------------------------------


@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("shape", "axis"), [((5, 4), 1), ((3, 2, 4), 1), ((2, 3, 2, 2), -1)])
def test_gradients_by_central_differences(target, rng, shape, axis, training, activation):
    x, slope = rng.standard_normal(shape), rng.standard_normal(shape)
    w, p = (
        some_weights(rng, positions(shape, axis), np.float64),
        parameters(rng, shape[axis], float),
    )
    mean, var = rng.standard_normal(shape[axis]), rng.random(shape[axis]) + 0.5

    def forward() -> tuple[np.ndarray, Any]:
        return fastbn.batch_norm(
            x, **p, running_mean=mean.copy(), running_var=var.copy(), training=training, axis=axis,
            activation=activation, weights=w,
        )  # fmt: skip

    gradients = fastbn.batch_norm_backward(slope, forward()[1])
    assert_gradients(lambda: (forward()[0] * slope).sum(), (x, p["gamma"], p["beta"]), gradients)


@pytest.mark.parametrize(("shape", "axis"), [((1030, 113), 1), ((4, 60, 17, 16), 1)])
def test_threads_change_no_bit(target, dtype, rng, threads, shape, axis):
    x, dy = (normal(rng, *shape, dtype=dtype) for _ in range(2))
    w, p = some_weights(rng, positions(shape, axis), dtype), parameters(rng, shape[axis], dtype)
    results = []
    for n_threads in (1, 2, 7):
        threads(n_threads)
        y, cache = fastbn.batch_norm(x, **p, training=True, axis=axis, weights=w)
        results.append([bits(a) for a in (y, *fastbn.batch_norm_backward(dy, cache))])
    assert results == results[:1] * 3


# -- what is refused -------------------------------------------------------------------------------


def test_errors_name_both_values_and_write_nothing(dtype, rng):
    other = np.float64 if dtype == np.float32 else np.float32
    one, lonely = np.ones(9, dtype), np.zeros(9, dtype)
    lonely[4] = 2
    cases: list[tuple[Any, type[Exception], str]] = [
        (np.where(np.arange(9) == 3, -1, one), ValueError, "weights .* at least 0, got -1"),
        (np.where(np.arange(9) == 3, np.nan, one), ValueError, "weights must be finite .*nan"),
        (np.where(np.arange(9) == 3, np.inf, one), ValueError, "weights must be finite .*inf"),
        (np.ones(8, dtype), ValueError, r"weights has shape \(8,\), expected \(9,\)"),
        (np.ones((9, 5), dtype), ValueError, r"weights has shape \(9, 5\), expected \(9,\)"),
        (one.astype(other), TypeError, "weights is float.* but x is float"),
        (np.ones(9, np.int64), TypeError, "weights must be float32 or float64, got int64"),
        (lonely, ValueError, "more than 1 value per channel .* got 1 of weight above 0"),
        (np.zeros(9, np.bool_), ValueError, "more than 1 value per channel .* got 0 of weight"),
    ]
    for weights, exception, message in cases:
        mean, var, out = np.zeros(5, dtype), np.ones(5, dtype), np.full((9, 5), 7, dtype)
        count = np.zeros((), np.int64)
        before = [bits(a) for a in (mean, var, out, count)]
        if weights.dtype.kind == "f" and exception is ValueError:
            weights = weights.astype(dtype)
        with pytest.raises(exception, match=message):
            fastbn.batch_norm(
                normal(rng, 9, 5, dtype=dtype), None, None, mean, var, training=True, out=out,
                num_batches_tracked=count, weights=weights,
            )  # fmt: skip
        assert [bits(a) for a in (mean, var, out, count)] == before, message


@pytest.mark.parametrize("far", [1e1, 1e3, 1e6])
@pytest.mark.parametrize("small", [1e-2, 1e-6, 1e-10])
@pytest.mark.parametrize("shape", [(256, 17), (3, 4, 300)])
def test_values_that_count_for_little_may_lie_far_off(target, dtype, rng, shape, small, far):
    """The first values of a piece give no center of their own: it would be far from the mean."""
    x = rng.standard_normal(shape)
    w = np.ones(positions(shape, 1))
    w.reshape(-1)[:32] = small
    of_rows = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    of_rows.reshape(-1, shape[1])[:32] += far
    x = np.ascontiguousarray(np.moveaxis(of_rows, -1, 1)).astype(dtype)
    w = w.astype(dtype)
    _, cache = fastbn.batch_norm(x, None, None, training=True, weights=w)
    rows = np.moveaxis(x, 1, -1).reshape(-1, shape[1]).astype(np.longdouble)
    column = w.reshape(-1, 1).astype(np.longdouble)
    mean = (column * rows).sum(axis=0) / column.sum()
    var = (column * (rows - mean) ** 2).sum(axis=0) / column.sum()
    # 32 additions in the dtype, five roundings of a term and the square of what they leave of the
    # center; docs/numerics.md, with D next to nothing.
    assert (abs(cache.var - var) <= 40 * np.finfo(dtype).eps * var).all()
