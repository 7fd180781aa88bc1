"""IDX files: what they give, and what is refused, how fast and in how little memory."""

import gzip
import io
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hostile_files import (
    MEMORY_LIMIT,
    SECONDS,
    Array,
    attempt,
    check_outcome,
    mutate,
    mutations,
    refused,
    small_arrays,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from fastbn import datasets
from fastbn.bench.images import fashion_mnist_folder

STEMS = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)

# -- what is right ---------------------------------------------------------------------------------


def idx_header(*shape: int, magic: int | None = None) -> bytes:
    return struct.pack(f">{1 + len(shape)}I", magic or 0x800 + len(shape), *shape)


def idx_bytes(array: Array) -> bytes:
    return idx_header(*array.shape) + array.tobytes()


def write_idx(folder: Path, arrays: tuple[Array, ...], *, zipped: bool, dotted: bool) -> None:
    for stem, array in zip(STEMS, arrays, strict=True):
        name = stem.replace("-idx", ".idx") if dotted else stem
        data = idx_bytes(array)
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(data))
        else:
            (folder / name).write_bytes(data)


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    write_idx(tmp_path, small_arrays(), zipped=False, dotted=False)
    return tmp_path


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("dotted", [False, True])
def test_idx_files_in_every_spelling(tmp_path: Path, zipped: bool, dotted: bool) -> None:
    arrays = small_arrays()
    write_idx(tmp_path, arrays, zipped=zipped, dotted=dotted)
    images = datasets.load_idx(tmp_path, dtype=np.uint8, flatten=False)
    for found, expected in zip(images, arrays, strict=True):
        assert np.array_equal(found, expected)
    vectors = datasets.load_idx(str(tmp_path))
    assert vectors.x_train.dtype == np.float32
    assert np.array_equal(vectors.x_train, arrays[0].reshape(30, 20) / np.float32(255))
    assert vectors.feature_shape == images.feature_shape == (5, 4)
    assert vectors.n_classes == 10
    for array in (*images, *vectors):
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert array.flags.aligned


def test_a_gzipped_file_may_have_any_name(mnist: Path) -> None:
    path = mnist / STEMS[0]
    path.write_bytes(gzip.compress(path.read_bytes()))
    path = mnist / STEMS[1]
    path.rename(mnist / f"{STEMS[1]}.gz")
    assert len(datasets.load_idx(mnist).x_train) == 30


def test_scale_and_full_range(mnist: Path) -> None:
    images = np.zeros((30, 1, 256), np.uint8)
    images[:] = np.arange(256)
    (mnist / STEMS[0]).write_bytes(idx_bytes(images))
    (mnist / STEMS[2]).write_bytes(idx_bytes(images[:12]))
    for dtype in (np.float32, np.float64):
        x = datasets.load_idx(mnist, dtype=dtype).x_train[0]
        assert np.array_equal(x, np.divide(np.arange(256), 255, dtype=dtype))
        assert (x[0], x[255]) == (0, 1)
    assert np.array_equal(datasets.load_idx(mnist, scale=1).x_train[0], np.arange(256))


def test_more_classes(mnist: Path) -> None:
    labels = np.arange(30, dtype=np.uint8)
    (mnist / STEMS[1]).write_bytes(idx_bytes(labels))
    assert datasets.load_idx(mnist, classes=47).n_classes == 47
    assert datasets.load_idx(mnist, classes=None).n_classes == 30
    with refused(STEMS[1], "10 classes, 0 to 9", "found 10 in sample 10"):
        datasets.load_idx(mnist)


def test_missing_files_are_listed(mnist: Path) -> None:
    (mnist / STEMS[2]).unlink()
    with pytest.raises(FileNotFoundError) as caught:
        datasets.load_idx(mnist)
    for name in (STEMS[2], f"{STEMS[2]}.gz", "t10k-images.idx3-ubyte", "t10k-images.idx3-ubyte.gz"):
        assert name in str(caught.value)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        datasets.load_idx("nowhere")


def test_a_folder_in_the_place_of_a_file_is_no_file(mnist: Path) -> None:
    (mnist / STEMS[0]).unlink()
    (mnist / STEMS[0]).mkdir()
    with pytest.raises(FileNotFoundError):
        datasets.load_idx(mnist)


def test_fashion_mnist() -> None:
    folder = fashion_mnist_folder()
    if folder is None:
        pytest.skip("Fashion-MNIST is not installed (Debian package dataset-fashion-mnist)")
    fashion = datasets.load_idx(folder, dtype=np.uint8, flatten=False)
    assert fashion.x_train.shape == (60_000, 28, 28)
    assert fashion.x_test.shape == (10_000, 28, 28)
    assert np.bincount(fashion.y_train).tolist() == [6000] * 10
    assert np.bincount(fashion.y_test).tolist() == [1000] * 10
    assert fashion.x_train.mean() == pytest.approx(72.94, abs=0.01)  # 0.2860 of 255, as published
    scaled = datasets.load_idx(folder)
    assert scaled.x_train.shape == (60_000, 784)
    assert (scaled.x_train.min(), scaled.x_train.max()) == (0, 1)


# -- what is refused -------------------------------------------------------------------------------


def change_header(*shape: int, magic: int | None = None) -> Callable[[bytes], bytes]:
    header = idx_header(*shape, magic=magic)
    return lambda data: header + data[len(header) :]


HUGE = 2**32 - 1
IMAGE_LIES: dict[str, tuple[Callable[[bytes], bytes], tuple[object, ...]]] = {
    "truncated": (lambda data: data[:-1], (616, 615)),
    "trailing byte": (lambda data: data + b"!", (616, 617)),
    "no header": (lambda data: b"", ("0x00000803",)),
    "half a header": (lambda data: data[:10], (16, 10)),
    "header only": (lambda data: data[:16], (616, 16)),
    "magic of labels": (change_header(30, magic=0x801), ("0x00000803", "0x00000801")),
    "floats": (change_header(30, 5, 4, magic=0xD03), ("0x00000803", "0x00000d03")),
    "little-endian": (change_header(30, magic=0x03080000), ("0x00000803", "0x03080000")),
    "larger": (change_header(30, 5, 5), ("766", "616")),
    "huge": (change_header(30, HUGE, HUGE), (f"{16 + 30 * HUGE**2:,}", "616")),
    "2**64 + 600": (change_header(30, 2**31, 2**31), (f"{16 + 30 * 2**62:,}", "616")),
    "no rows": (change_header(30, 0, 4), ("(30, 0, 4)",)),
    "no images": (change_header(0, 5, 4), ("(0, 5, 4)",)),
    "one image more": (change_header(31, 5, 4), ("31 samples", STEMS[1], "30 labels")),
    "2**32 - 1 images": (change_header(HUGE, 5, 4), (f"{HUGE:,} samples", STEMS[1], "30 labels")),
}


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("lie", IMAGE_LIES)
def test_lying_image_files(mnist: Path, lie: str, zipped: bool) -> None:
    path = mnist / STEMS[0]
    change, words = IMAGE_LIES[lie]
    data = change(path.read_bytes())
    path.write_bytes(gzip.compress(data) if zipped else data)
    if zipped and lie in ("huge", "2**64 + 600"):
        words = words[:1]  # refused before anything is decompressed and counted
    with refused(path, *words):
        datasets.load_idx(mnist)


LABEL_LIES: dict[str, tuple[Callable[[bytes], bytes], tuple[object, ...]]] = {
    "truncated": (lambda data: data[:-1], (38, 37)),
    "trailing byte": (lambda data: data + b"!", (38, 39)),
    "magic of images": (change_header(30, magic=0x803), ("0x00000801", "0x00000803")),
    "fewer": (change_header(29), ("30 samples", "29 labels")),
    "2**32 - 1": (change_header(HUGE), ("30 samples", f"{HUGE:,} labels")),
    "label 10": (lambda data: data[:-1] + b"\x0a", ("0 to 9", "found 10 in sample 29")),
    "label 255": (lambda data: data[:8] + b"\xff" + data[9:], ("0 to 9", "found 255 in sample 0")),
}


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("lie", LABEL_LIES)
def test_lying_label_files(mnist: Path, lie: str, zipped: bool) -> None:
    path = mnist / STEMS[1]
    change, words = LABEL_LIES[lie]
    data = change(path.read_bytes())
    path.write_bytes(gzip.compress(data) if zipped else data)
    with refused(path, *words):
        datasets.load_idx(mnist)


def test_images_of_two_shapes(mnist: Path) -> None:
    path = mnist / STEMS[2]
    path.write_bytes(change_header(12, 4, 5)(path.read_bytes()))
    with refused(STEMS[0], "(5, 4)", STEMS[2], "(4, 5)"):
        datasets.load_idx(mnist)


def test_every_truncation_of_a_gzipped_file(mnist: Path) -> None:
    path = mnist / STEMS[1]
    whole = gzip.compress(path.read_bytes())
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=STEMS[1]):
            datasets.load_idx(mnist)


def test_every_corrupted_byte_of_a_gzipped_file(mnist: Path) -> None:
    path = mnist / STEMS[1]
    whole = gzip.compress(path.read_bytes(), mtime=0)
    expected = small_arrays()[1]
    harmless = 0
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :])
        found = attempt(lambda: datasets.load_idx(mnist))
        if isinstance(found, str):
            assert STEMS[1] in found
        else:
            harmless += 1
            assert np.array_equal(found.y_train, expected)
    assert harmless <= 6  # time stamp, flags for information, operating system


@pytest.mark.parametrize(
    "tail", [b"\0", b"x" * 100, gzip.compress(b"", mtime=0), gzip.compress(b"more", mtime=0)]
)
def test_bytes_after_a_gzip_stream(mnist: Path, tail: bytes) -> None:
    path = mnist / STEMS[0]
    path.write_bytes(gzip.compress(path.read_bytes()) + tail)
    with refused(path, "after the end of the gzip stream"):
        datasets.load_idx(mnist)


def test_bytes_after_a_gzip_stream_that_ends_with_a_read(mnist: Path) -> None:
    path = mnist / STEMS[0]
    plain = gzip.compress(path.read_bytes())
    name = b"n" * ((1 << 16) - len(plain) - 1) + b"\0"  # fills the stream up to 64 KiB
    named = plain[:3] + b"\x08" + plain[4:10] + name + plain[10:]
    path.write_bytes(named)
    assert len(datasets.load_idx(mnist).x_train) == 30
    path.write_bytes(named + b"!")
    with refused(path, "after the end of the gzip stream"):
        datasets.load_idx(mnist)


def gzip_of_zeros(header: bytes, count: int, noise: bytes = b"") -> bytes:
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=1) as file:
        file.write(header + noise)
        for _ in range(count >> 20):
            file.write(bytes(1 << 20))
    return out.getvalue()


def test_a_gzip_bomb_behind_a_modest_header(mnist: Path) -> None:
    path = mnist / STEMS[0]
    path.write_bytes(gzip_of_zeros(idx_header(30, 5, 4), 256 << 20))
    with refused(path, "616"):
        datasets.load_idx(mnist)


def test_a_gzip_bomb_whose_header_tells_the_truth(mnist: Path) -> None:
    path = mnist / STEMS[0]
    path.write_bytes(gzip_of_zeros(idx_header(30, 1, (240 << 20) // 30), 240 << 20))
    with refused(path, f"{16 + (240 << 20):,}", "may expand"):
        datasets.load_idx(mnist)


@pytest.mark.parametrize("extra", [-1, 1])
def test_a_large_gzipped_file_is_proved_before_it_is_kept(mnist: Path, extra: int) -> None:
    # 1 MiB of noise lets the file expand to 100 MiB, twice what may be held on trust.
    noise, zeros = np.random.default_rng(0).bytes(1 << 20), 79 << 20
    path = mnist / STEMS[0]
    size = len(noise) + zeros
    path.write_bytes(gzip_of_zeros(idx_header(30, 1, size // 30 + extra), zeros, noise))
    with refused(path, f"{16 + 30 * (size // 30 + extra):,}"):
        datasets.load_idx(mnist)


def test_a_large_gzipped_file_that_is_true(mnist: Path) -> None:
    noise, zeros = np.random.default_rng(0).bytes(1 << 20), 60 << 20
    size = len(noise) + zeros
    (mnist / STEMS[0]).write_bytes(gzip_of_zeros(idx_header(32, 1, size // 32), zeros, noise))
    (mnist / STEMS[1]).write_bytes(idx_bytes(np.zeros(32, np.uint8)))
    (mnist / STEMS[2]).write_bytes(idx_bytes(np.zeros((12, 1, size // 32), np.uint8)))
    x = datasets.load_idx(mnist, dtype=np.uint8).x_train.reshape(-1)
    assert x[: len(noise)].tobytes() == noise
    assert not x[len(noise) :].any()


MEASURE = """
import resource, sys, time
from fastbn import datasets
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.process_time()
try:
    datasets.load_idx(sys.argv[1])
except ValueError:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, time.process_time() - start)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss is in kB on Linux only")
@pytest.mark.parametrize("lie", ["plain", "bomb", "unproved"])
def test_resident_memory_of_a_refusal(mnist: Path, lie: str) -> None:
    data = {
        "plain": lambda: idx_header(30, HUGE, HUGE),
        "bomb": lambda: gzip_of_zeros(idx_header(30, 1 << 10, 1 << 10), 256 << 20),
        "unproved": lambda: gzip_of_zeros(
            idx_header(30, 1, 3 << 20), 89 << 20, np.random.default_rng(0).bytes(1 << 20)
        ),
    }[lie]()
    (mnist / STEMS[0]).write_bytes(data)
    command = [sys.executable, "-c", MEASURE, str(mnist)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    kilobytes, seconds = map(float, done.stdout.split())
    assert kilobytes * 1024 < MEMORY_LIMIT
    assert seconds < SECONDS


@settings(max_examples=300, deadline=None)
@given(which=st.sampled_from(STEMS), zipped=st.booleans(), changes=mutations)
def test_mutated_idx_files(which: str, zipped: bool, changes: list[tuple[int, str, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_idx(folder, small_arrays(), zipped=False, dotted=False)
        data = (folder / which).read_bytes()
        data = gzip.compress(data) if zipped else data
        (folder / which).write_bytes(mutate(data, changes))
        check_outcome(lambda: datasets.load_idx(folder), name)
