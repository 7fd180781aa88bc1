"""Ghost batches: the bits of a loop over the groups, gradients, running statistics, refusals."""

from typing import Any

import numpy as np
import pytest

import fastbn

from .arrays import bits, normal
from .batchnorm_checks import parameters, positions, some_weights
from .differences import assert_gradients

# Shape, axis, virtual batch size: even and odd cuts, groups of one piece and of several.
CASES = [
    ((10, 5), 1, 3), ((11, 17), 1, 2), ((64, 16), 1, 32), ((100, 65), 1, 33), ((1025, 15), 1, 300),
    ((7, 1), 1, 9), ((33, 65), 1, 2), ((5, 3, 4, 4), 1, 1), ((7, 5, 6, 6), 1, 3),
    ((6, 4, 3, 17), -1, 2), ((4, 2, 130, 129), 1, 2),
]  # fmt: skip


def by_loop(
    x: np.ndarray, dy: np.ndarray, size: int, p: dict[str, np.ndarray], weights: Any, **options: Any
) -> list[np.ndarray]:
    """What `fastbn.batch_norm` gives of the parts one after the other."""
    groups = max(1, len(x) // size)
    ys, dxs, to_gamma, to_beta = [], [], 0.0, 0.0
    parts = [None] * groups if weights is None else np.array_split(weights, groups)
    for part, d, w in zip(
        np.array_split(x, groups), np.array_split(dy, groups), parts, strict=True
    ):
        y, cache = fastbn.batch_norm(part, **p, weights=w, **options)
        dx, dgamma, dbeta = fastbn.batch_norm_backward(d, cache)
        ys.append(y), dxs.append(dx)
        to_gamma = to_gamma + dgamma.astype(np.float64)
        to_beta = to_beta + dbeta.astype(np.float64)
    dtype = x.dtype
    return [
        np.concatenate(ys), np.concatenate(dxs), np.asarray(to_gamma, dtype),
        np.asarray(to_beta, dtype),
    ]  # fmt: skip


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize(("shape", "axis", "size"), CASES)
def test_groups_have_the_bits_of_a_loop(
    target, dtype, rng, threads, shape, axis, size, activation, momentum
):
    x, dy = (normal(rng, *shape, dtype=dtype) for _ in range(2))
    p, channels = parameters(rng, shape[axis], dtype), shape[axis]
    for weights in (None, some_weights(rng, positions(shape, axis), dtype)):
        if weights is not None:
            weights[::1] += dtype(0.5)  # no group without a value
        options: dict[str, Any] = dict(
            training=True, axis=axis, activation=activation, momentum=momentum
        )

        def running(options: dict[str, Any] = options) -> list[np.ndarray]:
            arrays = [np.full(channels, 0.5, dtype), np.ones(channels, dtype), np.array(3)]
            names = ("running_mean", "running_var", "num_batches_tracked")
            options.update(zip(names, arrays, strict=True))
            return arrays

        statistics = running()
        expected = [bits(a) for a in (*by_loop(x, dy, size, p, weights, **options), *statistics)]
        for n_threads in (1, 2, 7):
            threads(n_threads)
            statistics = running()
            y, cache = fastbn.batch_norm(
                x, **p, weights=weights, virtual_batch_size=size, **options
            )
            dx, dgamma, dbeta = fastbn.batch_norm_backward(dy, cache)
            got = [bits(a) for a in (y, dx, dgamma, dbeta, *statistics)]
            assert got == expected, (weights is None, n_threads)
            assert int(statistics[-1]) == 3 + max(1, shape[0] // size)


@pytest.mark.parametrize(("shape", "axis", "size"), [((7, 3), 1, 3), ((4, 2, 3), 1, 2)])
@pytest.mark.parametrize("weighted", [False, True])
def test_gradients_by_central_differences(target, rng, shape, axis, size, weighted):
    x, slope = rng.standard_normal(shape), rng.standard_normal(shape)
    p = parameters(rng, shape[axis], np.float64)
    w = rng.uniform(0.5, 2, positions(shape, axis)) if weighted else None

    def forward() -> tuple[np.ndarray, Any]:
        return fastbn.batch_norm(
            x, **p, training=True, axis=axis, activation="relu", weights=w, virtual_batch_size=size
        )

    gradients = fastbn.batch_norm_backward(slope, forward()[1])
    assert_gradients(lambda: (forward()[0] * slope).sum(), (x, p["gamma"], p["beta"]), gradients)


def test_inference_knows_no_groups(target, dtype, rng):
    x, p = normal(rng, 9, 5, dtype=dtype), parameters(rng, 5, dtype)
    options: dict[str, Any] = dict(
        running_mean=normal(rng, 5, dtype=dtype), running_var=np.ones(5, dtype), training=False
    )
    y, _ = fastbn.batch_norm(x, **p, **options, virtual_batch_size=2)
    assert bits(y) == bits(fastbn.batch_norm(x, **p, **options)[0])


def test_an_empty_batch_counts_for_nothing(dtype):
    mean, var, count = np.zeros(5, dtype), np.ones(5, dtype), np.array(2)
    y, _ = fastbn.batch_norm(
        np.empty((0, 5), dtype), None, None, mean, var, training=True, momentum=None,
        num_batches_tracked=count, virtual_batch_size=4,
    )  # fmt: skip
    assert y.shape == (0, 5)
    assert int(count) == 2
    assert not mean.any()


def test_errors_name_both_values_and_write_nothing(dtype, rng):
    poor = np.ones(9, np.bool_)
    poor[5:9] = False  # of the groups 0..4 and 5..8
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        (dict(virtual_batch_size=0), ValueError, "virtual_batch_size must be .* 1, got 0"),
        (dict(virtual_batch_size=-3), ValueError, "virtual_batch_size must be .* 1, got -3"),
        (dict(virtual_batch_size=2.5), TypeError, "'float' object cannot be interpreted"),
        (dict(virtual_batch_size=1), ValueError, r"got 1 in a group of x of shape \(9, 5\)"),
        (dict(virtual_batch_size=4, weights=poor), ValueError, "got 0 of weight above 0"),
    ]
    for changes, exception, message in cases:
        mean, var, out = np.zeros(5, dtype), np.ones(5, dtype), np.full((9, 5), 7, dtype)
        count = np.zeros((), np.int64)
        before = [bits(a) for a in (mean, var, out, count)]
        with pytest.raises(exception, match=message):
            fastbn.batch_norm(
                normal(rng, 9, 5, dtype=dtype), None, None, mean, var, training=True, out=out,
                num_batches_tracked=count, **changes,
            )  # fmt: skip
        assert [bits(a) for a in (mean, var, out, count)] == before, message
