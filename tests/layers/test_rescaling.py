"""Bytes to numbers: the bits of NumPy, and nets that take images as they are stored."""

import numpy as np
import pytest

import fastbn
from fastbn import SGD, CrossEntropyLoss, Flatten, Linear, Rescaling, Sequential, Trainer, _core

from .gradients import check_layer

ALL_BYTES = np.arange(256, dtype=np.uint8)


def expected(x, scale, offset, dtype):
    """The definition, which NumPy rounds after each operation."""
    return x.astype(dtype) * dtype(scale) + dtype(offset)


@pytest.mark.parametrize(("scale", "offset"), [(1 / 255, 0.0), (1 / 127.5, -1.0), (-3.7, 1e-3)])
def test_bits_are_numpys(target, dtype, scale, offset):
    layer = Rescaling(scale, offset, dtype=dtype)
    want = expected(ALL_BYTES, scale, offset, dtype)
    for n in (0, 1, 7, 15, 16, 17, 63, 65, 255, 256):
        for training in (False, True):
            y = layer(ALL_BYTES[:n], training=training)
            assert y.dtype == dtype
            np.testing.assert_array_equal(y, want[:n])
    np.testing.assert_array_equal(layer(ALL_BYTES.astype(dtype)), want)


def test_threads_strides_and_shapes(rng, dtype):
    x = rng.integers(256, size=(600, 28, 56), dtype=np.uint8)
    layer = Rescaling(1 / 255, 0.5, dtype=dtype)
    for view in (x, x[:, :, ::2], x[::-1], x.T):
        want = expected(view, 1 / 255, 0.5, dtype)
        for n in (1, 2, 3):
            with fastbn.threads(n):
                np.testing.assert_array_equal(layer(view), want)


def test_gradients(rng):
    check_layer(Rescaling(0.3, -2.0, dtype=np.float64), rng.standard_normal((3, 4)))


@pytest.mark.parametrize("wrong", [np.int64, np.int8, np.float64])
def test_other_dtypes_are_refused(wrong):
    with pytest.raises(TypeError, match=f"uint8 or float32, got x of {np.dtype(wrong)}"):
        Rescaling(1 / 255)(np.zeros(3, wrong))


def test_the_kernel_refuses():
    with pytest.raises(TypeError, match="uint8, got int8"):
        _core.rescale(np.zeros(3, np.int8), np.zeros(3), 1.0, 0.0)
    with pytest.raises(ValueError, match=r"\(4,\), expected \(3,\)"):
        _core.rescale(np.zeros(3, np.uint8), np.zeros(4), 1.0, 0.0)


def make_trainer(*first):
    net = Sequential(*first, Flatten(), Linear(64, 16, rng=0), Linear(16, 4, rng=1))
    return Trainer(net, CrossEntropyLoss(), SGD(net.parameters(), lr=0.1, momentum=0.9), rng=0)


def test_training_on_bytes_gives_the_bits_of_converting_beforehand(rng):
    images = rng.integers(256, size=(70, 8, 8), dtype=np.uint8)
    labels = rng.integers(4, size=70)
    floats = expected(images, 1 / 255, -0.5, np.float32)
    on_bytes, on_floats = make_trainer(Rescaling(1 / 255, -0.5)), make_trainer()
    how = {"epochs": 3, "batch_size": 16, "progress": False}
    histories = [
        trainer.fit(x, labels, validation_data=(x, labels), **how).history
        for trainer, x in ((on_bytes, images), (on_floats, floats))
    ]
    assert histories[0] == histories[1]
    assert on_bytes.step(images[:5], labels[:5]) == on_floats.step(floats[:5], labels[:5])
    assert on_bytes.evaluate(images, labels) == on_floats.evaluate(floats, labels)
    np.testing.assert_array_equal(on_bytes.predict(images), on_floats.predict(floats))


def test_bytes_need_rescaling_first():
    images, labels = np.zeros((4, 8, 8), np.uint8), np.zeros(4, int)
    with pytest.raises(TypeError, match=r"uint8, the net is float32.*Rescaling"):
        make_trainer().step(images, labels)
    with pytest.raises(TypeError, match="int16, the net is float32"):
        make_trainer(Rescaling(1.0)).step(images.astype(np.int16), labels)


def test_bytes_below_their_own_result_are_read_first():
    memory = (np.arange(4000) % 256).astype(np.uint8)
    x, out = memory[:1000], memory.view(np.float32)
    expected = x.astype(np.float32) * 2 + 1
    np.testing.assert_array_equal(_core.rescale(x, out, 2.0, 1.0), expected)
