"""NumPy archives: what they give, and what is refused."""

import io
import struct
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_files import check_outcome, mutate, mutations, refused, small_arrays
from hypothesis import given, settings
from hypothesis import strategies as st

from fastbn import datasets

# -- what is right ---------------------------------------------------------------------------------


def write_npz(path: Path, *, compressed: bool = False, **changes: Any) -> Path:
    arrays = dict(zip(("x_train", "y_train", "x_test", "y_test"), small_arrays(), strict=True))
    save = np.savez_compressed if compressed else np.savez
    kept = {key: value for key, value in {**arrays, **changes}.items() if value is not None}
    save(path, **kept)
    return path


@pytest.mark.parametrize("compressed", [False, True])
def test_npz(tmp_path: Path, compressed: bool) -> None:
    path = write_npz(tmp_path / "mnist.npz", compressed=compressed, extra=np.ones(3))
    arrays = small_arrays()
    for found, expected in zip(
        datasets.load_npz(path, dtype=np.uint8, flatten=False), arrays, strict=True
    ):
        assert np.array_equal(found, expected)
        assert found.flags.writeable
    scaled = datasets.load_npz(str(path))
    assert np.array_equal(scaled.x_train, arrays[0].reshape(30, 20) / np.float32(255))
    assert scaled.feature_shape == (5, 4)
    assert scaled.n_classes == 1 + max(arrays[1].max(), arrays[3].max())


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8", "<f2", "<i2", ">i8", "u1", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npz_of_any_real_numbers(tmp_path: Path, dtype: str, order: Any) -> None:
    x = np.asarray(small_arrays()[0] > 128, dtype=dtype, order=order)
    path = write_npz(tmp_path / "a.npz", x_train=x, x_test=x[:12])
    for wanted in (np.float32, np.float64):
        found = datasets.load_npz(path, dtype=wanted, flatten=False, scale=1)
        assert found.x_train.dtype == wanted
        assert found.x_train.flags.c_contiguous
        assert found.x_train.flags.aligned
        assert np.array_equal(found.x_train, x)
    if dtype != "u1":
        assert datasets.load_npz(path).x_train.max() == 1  # no pixels: not divided


@pytest.mark.parametrize("dtype", ["u1", "i1", ">i4", "<u8", "<f4", "<f2", "?"])
def test_npz_labels_of_any_kind(tmp_path: Path, dtype: str) -> None:
    y = (np.arange(30) % 2).astype(dtype)
    path = write_npz(tmp_path / "a.npz", y_train=y.reshape(30, 1), y_test=y[:12])
    found = datasets.load_npz(path)
    assert found.y_train.tolist() == [0, 1] * 15
    assert found.y_train.dtype == np.int64
    assert found.n_classes == 2


def test_a_missing_npz(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        datasets.load_npz(tmp_path / "nowhere.npz")


# -- what is refused -------------------------------------------------------------------------------


class Trap:
    """Unpickled, it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_pickles_are_never_read(tmp_path: Path) -> None:
    trap = tmp_path / "executed"
    objects = np.array([Trap(trap)] * 30, dtype=object)
    for key in ("x_train", "y_test"):
        changes: dict[str, Any] = {key: objects}
        path = write_npz(tmp_path / "a.npz", **changes)
        with refused(f"{path}[{key}]", "expected real numbers, found dtype object"):
            datasets.load_npz(path)
    assert not trap.exists()
    np.load(path, allow_pickle=True)["y_test"]
    assert trap.exists(), "the trap must work, or this test proves nothing"


X, Y = small_arrays()[:2]
SIGNALING = np.ones((30, 5, 4), np.float32)
SIGNALING.view(np.uint32)[7, 0, 0] = 0x7F800001  # a NaN that raises a floating-point exception
NAN = np.where(np.arange(600).reshape(30, 5, 4) == 443, np.nan, 1.0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"x_test": None}, ("expected x_test among its keys", "x_train.npy")),
        ({"y_train": Y[:29]}, ("30 samples", "29 labels")),
        ({"x_train": X[:, :4]}, ("(4, 4)", "(5, 4)")),
        ({"y_train": np.eye(10)[Y]}, ("(30,)", "(30, 10)")),
        ({"y_train": Y.astype("i4") - 20}, ("class numbers", "in sample 0")),
        ({"y_train": Y + 0.5}, ("class numbers", ".5 in sample 0")),
        ({"y_train": np.full(30, np.nan)}, ("class numbers", "nan in sample 0")),
        ({"y_train": np.full(30, np.inf, "f2")}, ("class numbers", "inf in sample 0")),
        ({"y_train": np.full(30, 2**64 - 1, "u8")}, ("class numbers", 2**64 - 1)),
        ({"y_train": np.array(["a"] * 30)}, ("real numbers", "<U1")),
        ({"x_train": X.astype(complex)}, ("real numbers", "complex128")),
        ({"x_train": np.zeros((30, 5, 4), "f4,f4")}, ("real numbers", "f4")),
        ({"x_train": np.zeros((30, 0, 4))}, ("(30, 0, 4)",)),
        ({"x_train": NAN}, ("finite", "nan in sample 22")),
        ({"x_train": X.astype("f8") * 1e300}, ("finite values in float32", "inf in sample 0")),
        ({"x_train": np.float64(3)}, ("shape ()",)),
        ({"x_train": SIGNALING}, ("finite", "nan in sample 7")),
        ({"y_train": SIGNALING[:, 0, 0]}, ("class numbers", "nan in sample 7")),
    ],
)
def test_wrong_contents(tmp_path: Path, changes: dict[str, Any], words: tuple[object, ...]) -> None:
    path = write_npz(tmp_path / "a.npz", **changes)
    with refused(path, *words):
        datasets.load_npz(path)


@pytest.mark.parametrize("dtype", ["u2", "i1", "f4"])
def test_no_silent_wrapping_to_uint8(tmp_path: Path, dtype: str) -> None:
    path = write_npz(tmp_path / "a.npz", x_train=X.astype(dtype))
    with refused("x_train", "uint8", np.dtype(dtype)):
        datasets.load_npz(path, dtype=np.uint8)


def npy_bytes(header: str, body: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode("latin1") + b"\n"
    length = struct.pack("<H" if version == b"\x01\x00" else "<I", len(text))
    return b"\x93NUMPY" + version + length + text + body


def describe(shape: str, descr: str = "'|u1'") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}"


HOSTILE_MEMBERS: dict[str, tuple[bytes, tuple[object, ...]]] = {
    "more than there is": (npy_bytes(describe("(31, 20)"), bytes(600)), ()),
    "less than there is": (npy_bytes(describe("(29, 20)"), bytes(600)), ()),
    "overflow": (npy_bytes(describe("(4294967296, 4294967296)"), bytes(600)), (f"{2**64:,}"[:20],)),
    "negative": (npy_bytes(describe("(-30, -20)"), bytes(600)), ("(-30, -20)",)),
    "nothing, hugely": (npy_bytes(describe("(0, 4611686018427387904)")), ("at least 1",)),
    "flags as sizes": (npy_bytes(describe("(True, False)")), ("at least 1",)),
    "no array": (b"PK or so", ("magic",)),
    "empty": (b"", ()),
    "half a header": (npy_bytes(describe("(30, 20)"))[:20], ()),
    "version 3": (npy_bytes(describe("(30,)"), version=b"\x03\x00"), ("(3, 0)",)),
    "version 9": (npy_bytes(describe("(30,)"), version=b"\x09\x00"), ()),
    "endless header": (npy_bytes(" " * (60 << 20), version=b"\x02\x00"), ()),
    "deep header": (npy_bytes("(" * 9000), ()),
    "deep minus": (npy_bytes("-" * 9000 + "1"), ()),
    "no dictionary": (npy_bytes("[1, 2]"), ()),
    "a call": (npy_bytes(describe("(30, print(20))")), ()),
    "wide items": (npy_bytes(describe("(1,)", "'|V2147483647'")), ("real numbers",)),
    "wide strings": (npy_bytes(describe("(1,)", "'<U536870911'")), ("real numbers",)),
    "subarrays": (npy_bytes(describe("(1,)", "[('a', '<f8', (2147483647,))]")), ()),
}


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("what", HOSTILE_MEMBERS)
def test_hostile_members(tmp_path: Path, what: str, compression: int) -> None:
    member, words = HOSTILE_MEMBERS[what]
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("x_train.npy", member)
        for key, array in zip(("y_train", "x_test", "y_test"), small_arrays()[1:], strict=True):
            buffer = io.BytesIO()
            np.save(buffer, array)
            archive.writestr(f"{key}.npy", buffer.getvalue())
    with refused(f"{path}[x_train]", *words):
        datasets.load_npz(path)


def test_a_zip_bomb(tmp_path: Path) -> None:
    zeros = np.zeros((30, 8 << 20), np.uint8)  # 240 MiB in 240 kB
    path = write_npz(tmp_path / "a.npz", compressed=True, x_train=zeros)
    with refused(f"{path}[x_train]", "may expand"):
        datasets.load_npz(path)


def test_a_directory_that_lies_about_sizes(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "a.npz")
    whole = path.read_bytes()
    entry = whole.index(b"PK\x01\x02")  # the directory's entry of x_train.npy
    for position, size in ((20, 2**31), (24, 2**31), (20, 1), (24, 1), (24, 2**32 - 2)):
        at = entry + position
        path.write_bytes(whole[:at] + struct.pack("<I", size) + whole[at + 4 :])
        with refused(path):
            datasets.load_npz(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions(tmp_path: Path, method: int) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", method) as archive:
        for key in ("x_train", "y_train", "x_test", "y_test"):
            archive.writestr(f"{key}.npy", npy_bytes(describe("(30,)"), bytes(30)))
    with refused(path, "expected compression 0 or 8", f"found {method}"):
        datasets.load_npz(path)


@settings(max_examples=300, deadline=None)
@given(compressed=st.booleans(), changes=mutations)
def test_mutated_npz_files(compressed: bool, changes: list[tuple[int, str, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = write_npz(Path(name) / "a.npz", compressed=compressed)
        path.write_bytes(mutate(path.read_bytes(), changes))
        check_outcome(lambda: datasets.load_npz(path), name)


def test_a_member_before_the_beginning_of_the_file(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "a.npz")
    whole = path.read_bytes()
    end = whole.index(b"PK\x05\x06")  # where the directory is said to begin: later than it does
    start = struct.unpack_from("<I", whole, end + 16)[0]
    path.write_bytes(whole[: end + 16] + struct.pack("<I", start + 1) + whole[end + 20 :])
    with refused(path):
        datasets.load_npz(path)
