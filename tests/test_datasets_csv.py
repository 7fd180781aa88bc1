"""Tables in text: what they give, and what is refused."""

import gzip
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_files import check_outcome, mutate, mutations, refused
from hypothesis import given, settings
from hypothesis import strategies as st

from fastbn import datasets

# -- what is right ---------------------------------------------------------------------------------

PLAIN = "1,2,0\n3,4,1\n5,6.5,2\n"


@pytest.fixture
def csv(tmp_path: Path) -> Callable[..., Path]:
    def write(text: str | bytes, name: str = "table.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        PLAIN.strip(),
        PLAIN.replace("\n", "\r\n"),
        "a,b,label\n" + PLAIN,
        "\n\n" + PLAIN.replace("\n", "\n \n"),
        "\ufeff" + PLAIN,
        '"a","b","label"\n' + PLAIN.replace("3", '"3"'),
        PLAIN.replace(",", " , "),
    ],
)
def test_csv(csv: Callable[..., Path], text: str) -> None:
    found = datasets.load_csv(csv(text))
    assert found.x_train.tolist() == [[1, 2], [3, 4], [5, 6.5]]
    assert found.y_train.tolist() == [0, 1, 2]
    assert found.x_train.dtype == np.float32
    assert found.x_train.flags.c_contiguous
    assert found.x_test.shape == (0, 2)
    assert found.y_test.shape == (0,)
    assert (found.n_classes, found.feature_shape) == (3, (2,))


def test_csv_columns_and_options(csv: Callable[..., Path]) -> None:
    path = csv("label;a;b\n1;255;51\n")
    for column in (0, -3, "label"):
        found = datasets.load_csv(
            path, label_column=column, delimiter=";", scale=255, dtype=np.float64, classes=5
        )
        assert np.array_equal(found.x_train, [[1.0, 51 / 255]])
        assert found.y_train.tolist() == [1]
        assert found.n_classes == 5


def test_csv_header_of_numbers(csv: Callable[..., Path]) -> None:
    path = csv("0,1,2\n" + PLAIN)
    assert len(datasets.load_csv(path).x_train) == 4
    assert len(datasets.load_csv(path, header=True).x_train) == 3


def test_csv_with_a_test_file(csv: Callable[..., Path]) -> None:
    found = datasets.load_csv(csv(PLAIN), csv("7,8,1\n", "test.csv"))
    assert found.x_test.tolist() == [[7, 8]]
    assert len(found.x_train) == 3


def test_csv_with_a_fraction_to_test(csv: Callable[..., Path]) -> None:
    path = csv("".join(f"{i},{i},{i // 50}\n" for i in range(150)))  # sorted by class
    found = datasets.load_csv(path, test_fraction=0.2)
    assert (len(found.x_train), len(found.x_test)) == (120, 30)
    assert set(found.y_test) == {0, 1, 2}
    together = np.concatenate([found.x_train[:, 0], found.x_test[:, 0]])
    assert np.array_equal(np.sort(together), np.arange(150))
    assert np.array_equal(found.y_train, found.x_train[:, 0] // 50)
    assert np.array_equal(found.x_test, datasets.load_csv(path, test_fraction=0.2).x_test)
    last = datasets.load_csv(path, test_fraction=0.2, rng=None)
    assert last.x_test[:, 0].tolist() == list(range(120, 150))


def test_a_missing_csv(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        datasets.load_csv(tmp_path / "nowhere.csv")


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("", {}, ("at least 1 line", "found 0")),
        (" \n\n", {}, ("found 0",)),
        ("a,b,label\n", {}, ("found 0",)),
        ("1,2,0\n3,4\n", {}, ("line 2", "expected 3 columns, found 2")),
        ("a,b,c\n\n1,2,0\n3,4,1,9\n", {}, ("line 4", "expected 3 columns, found 4")),
        ("1,2,0\n3,x,1\n", {}, ("line 2, column 2", "expected a number, found 'x'")),
        ("1,2,0\n3,,1\n", {}, ("line 2, column 2", "found ''")),
        ("a,b,c\n1,2,0\n3,4,setosa\n", {}, ("line 3, column 3", "found 'setosa'")),
        ("1,2,0\n3,1e400,1\n", {}, ("finite", "inf in sample 1")),
        ("1,2,0\n3,nan,1\n", {}, ("finite", "nan in sample 1")),
        ("1,2,0\n3,4,1.5\n", {}, ("class numbers", "1.5 in sample 1")),
        ("1,2,0\n3,4,-1\n", {}, ("class numbers", "-1.0 in sample 1")),
        ("1,2,0\n3,4,5\n", {"classes": 3}, ("3 classes, 0 to 2", "5.0 in sample 1")),
        ("a,2,0\n3,4,1\n", {}, ("2 numbers in 3 columns", "header=True")),
        ("a,b\n1,2,0\n", {}, ("names 2 columns, found 3",)),
        ("0\n1\n", {}, ("at least 2 columns", "found 1")),
        (PLAIN, {"label_column": 3}, ("label_column 3", "3 columns")),
        (PLAIN, {"label_column": -4}, ("label_column -4", "3 columns")),
        (PLAIN, {"label_column": "label"}, ("'label'", "no header")),
        ("a,b,c\n" + PLAIN, {"label_column": "label"}, ("'label'", "a, b, c")),
        (PLAIN, {"test_fraction": 0.9}, ("0.9 of 3 samples",)),
        (PLAIN, {"dtype": np.uint8}, ("uint8", "float64")),
        (b"\xff\xfe1\x00", {}, ("utf-8",)),
        (b"\x1f\x8b" + gzip.compress(PLAIN.encode(), mtime=0), {}, ()),
        (PLAIN + '"unclosed\n' * 20_000, {}, ()),
        (PLAIN + "9" * 200_000 + ",1,1\n", {}, ()),
    ],
)
def test_wrong_tables(
    csv: Callable[..., Path], text: str | bytes, options: dict[str, Any], words: tuple[object, ...]
) -> None:
    path = csv(text)
    with refused(*([] if "test_fraction" in options else [path]), *words):
        datasets.load_csv(path, **options)


def test_two_ways_to_test_are_one_too_many(csv: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match="not both"):
        datasets.load_csv(csv(PLAIN), csv(PLAIN), test_fraction=0.5)


def test_csv_tables_of_two_widths(csv: Callable[..., Path]) -> None:
    with refused("table.csv", "(2,)", "test.csv", "(1,)"):
        datasets.load_csv(csv(PLAIN), csv("1,0\n", "test.csv"))


@settings(max_examples=300, deadline=None)
@given(
    text=st.one_of(
        st.binary(max_size=60),
        st.text(alphabet="0123456789.,-+e\n\r \"'#_xnaif\0", max_size=60).map(str.encode),
        mutations.map(lambda changes: mutate(PLAIN.encode() * 3, changes)),
    ),
    header=st.sampled_from([None, True, False]),
)
def test_mutated_tables(text: bytes, header: bool | None) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "a.csv"
        path.write_bytes(text)
        check_outcome(lambda: datasets.load_csv(path, header=header), name)


def test_a_link_is_not_followed_to_the_network() -> None:
    for load in (datasets.load_csv, datasets.load_npz):
        with pytest.raises(FileNotFoundError):
            load("http://localhost:9/mnist.npz")
