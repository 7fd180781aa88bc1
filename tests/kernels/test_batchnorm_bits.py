"""What changes no bit of batch norm: threads, strides, alignment, other rows and channels."""

import itertools

import numpy as np
import pytest

from fastbn import _core

from .arrays import THREADS, bits, normal
from .batchnorm_checks import SMALL, parameters
from .memory import LAYOUTS, at_offset


def everything(
    x: np.ndarray, dy: np.ndarray, p: dict[str, np.ndarray], axis: int, training: bool = True
) -> list[bytes]:
    """The bits of all results of a forward and a backward pass."""
    channels, dtype = x.shape[axis], x.dtype
    mean, var = np.full((2, channels), 0.5, dtype)
    y, cache = _core.batch_norm(
        x, **p, running_mean=mean, running_var=var, training=training, axis=axis, activation="relu"
    )
    return [bits(a) for a in (y, mean, var, *_core.batch_norm_backward(dy, cache))]


# The first three are large enough for 7 threads.
@pytest.mark.parametrize(
    ("shape", "axis"), [((1030, 113), 1), ((4, 200, 17, 16), 1), ((40, 13, 9, 25), 2), *SMALL]
)
@pytest.mark.parametrize("training", [True, False])
def test_threads_change_no_bit(target, dtype, rng, threads, shape, axis, training):
    x, dy = normal(rng, *shape, dtype=dtype), normal(rng, *shape, dtype=dtype)
    p = parameters(rng, shape[axis], dtype)
    results = []
    for n_threads in THREADS:
        threads(n_threads)
        results.append(everything(x, dy, p, axis, training))
    assert results == results[:1] * len(THREADS)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("shape", "axis"), SMALL)
def test_strides_change_no_bit(target, dtype, rng, shape, axis, training):
    x, dy = normal(rng, *shape, dtype=dtype), normal(rng, *shape, dtype=dtype)
    p = parameters(rng, shape[axis], dtype)
    expected = everything(x, dy, p, axis, training)
    for name_x, name_dy in itertools.product(LAYOUTS, repeat=2):
        got = everything(LAYOUTS[name_x](x), LAYOUTS[name_dy](dy), p, axis, training)
        assert got == expected, (name_x, name_dy)
    for name in LAYOUTS:
        strange = {k: LAYOUTS[name](v) for k, v in p.items()}
        assert everything(x, dy, strange, axis, training) == expected, name


@pytest.mark.parametrize("training", [True, False])
def test_permuted_and_sliced_inputs(target, dtype, rng, training):
    """Views that other libraries are known to read in the wrong order."""
    nhwc = normal(rng, 4, 5, 6, 7, dtype=dtype)
    p = parameters(rng, 7, dtype)
    dy = normal(rng, 4, 7, 5, 6, dtype=dtype)
    views = [
        np.moveaxis(nhwc, -1, 1),
        nhwc.transpose(0, 3, 2, 1)[:, :, ::-1],
        np.moveaxis(np.repeat(nhwc, 2, axis=1)[:, ::2], -1, 1)[::-1],
        np.broadcast_to(nhwc[:1, :1, :1].transpose(0, 3, 1, 2), (4, 7, 5, 6)),
        np.broadcast_to(np.moveaxis(nhwc, -1, 1)[:, :1], (4, 7, 5, 6)),
        np.broadcast_to(nhwc[0, 0, 0, 0], (4, 7, 5, 6)),
        normal(rng, 4, 14, 5, 6, dtype=dtype)[:, 3:10],
        normal(rng, 4, 14, 5, 6, dtype=dtype)[:, ::2],
        normal(rng, 8, 7, 5, 6, dtype=dtype)[::2, ::-1],
        normal(rng, 4, 7, 5, 6, 1, dtype=dtype)[..., 0],
    ]
    for i, view in enumerate(views):
        gradient = dy[: view.shape[0], :, : view.shape[2], : view.shape[3]]
        if gradient.shape != view.shape:
            gradient = normal(rng, *view.shape, dtype=dtype)
        expected = everything(view.copy(), gradient.copy(), p, 1, training)
        assert everything(view, gradient, p, 1, training) == expected, i


@pytest.mark.parametrize(("shape", "axis"), SMALL)
def test_alignment_changes_no_bit(target, dtype, rng, shape, axis):
    x, dy = normal(rng, *shape, dtype=dtype), normal(rng, *shape, dtype=dtype)
    p = parameters(rng, shape[axis], dtype)
    expected = everything(x, dy, p, axis)
    for offset in range(0, 65, x.itemsize):
        got = everything(
            at_offset(x, offset), at_offset(dy, -offset % 64),
            {k: at_offset(v, offset) for k, v in p.items()}, axis,
        )  # fmt: skip
        assert got == expected, offset


@pytest.mark.parametrize("shape", [(200, 5), (200, 70), (200, 3, 9)])
def test_a_row_does_not_depend_on_its_batch_in_inference(target, dtype, rng, threads, shape):
    x, p = normal(rng, *shape, dtype=dtype), parameters(rng, shape[1], dtype)
    mean, var = normal(rng, shape[1], dtype=dtype), rng.random(shape[1]).astype(dtype)

    def run(x: np.ndarray) -> np.ndarray:
        return _core.batch_norm(x, **p, running_mean=mean, running_var=var, training=False)[0]

    alone = np.concatenate([run(x[i : i + 1]) for i in range(len(x))])
    for batch in (*range(2, 20), 31, 32, 33, 64, 200):
        threads(int(rng.choice(THREADS)))
        begin = int(rng.integers(len(x) - batch + 1))
        assert bits(run(x[begin : begin + batch])) == bits(alone[begin : begin + batch])


@pytest.mark.parametrize("layout", ["last", "first"])
def test_a_channel_does_not_depend_on_its_neighbours(target, dtype, rng, layout):
    shape, axis = ((100, 70), 1) if layout == "last" else ((10, 70, 9), 1)
    x, dy = normal(rng, *shape, dtype=dtype), normal(rng, *shape, dtype=dtype)
    p = parameters(rng, 70, dtype)
    y, cache = _core.batch_norm(x, **p, training=True, axis=axis)
    dx, dgamma, dbeta = _core.batch_norm_backward(dy, cache)
    for channels in (slice(0, 1), slice(3, 20), slice(15, 17), slice(69, 70), slice(5, 69)):
        sub = {k: v[channels] for k, v in p.items()}
        sub_y, sub_cache = _core.batch_norm(x[:, channels].copy(), **sub, training=True)
        sub_back = _core.batch_norm_backward(dy[:, channels].copy(), sub_cache)
        assert bits(sub_y) == bits(y[:, channels])
        for got, want in zip(
            sub_back, (dx[:, channels], dgamma[channels], dbeta[channels]), strict=True
        ):
            assert bits(got) == bits(want)
