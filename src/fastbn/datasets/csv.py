"""Tables of numbers in text, one sample a line."""

import contextlib
import csv
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastbn.data import train_validation_split
from fastbn.datasets.dataset import Dataset, Split, assemble, check_classes, check_options

ENCODING = "utf-8-sig"  # UTF-8, with the mark that spreadsheets put at the beginning or without


class Format(NamedTuple):
    """How the lines of a file are to be read."""

    delimiter: str
    header: bool | None


class Table(NamedTuple):
    """The numbers of a file, shape (lines, columns), and the names of its columns if it has any."""

    values: NDArray[np.float64]
    names: Sequence[str] | None


def load_csv(
    path: str | os.PathLike[str],
    test_path: str | os.PathLike[str] | None = None,
    *,
    label_column: int | str = -1,
    header: bool | None = None,
    delimiter: str = ",",
    test_fraction: float = 0.0,
    rng: int | np.random.Generator | None = 0,
    classes: int | None = None,
    dtype: DTypeLike = np.float32,
    scale: float | None = None,
) -> Dataset:
    """Load a data set from comma-separated values: a sample a line, its label in one column.

    Parameters
    ----------
    path
        The file, UTF-8 text.  Blank lines are skipped.
    test_path
        A second file, with the test samples.
    label_column
        Column of the labels: a number from 0, negative from the end, or a name in the header.
    header
        Whether the first line has the names of the columns.  None: it has if nothing in it is a
        number, and has not if everything is; a mixture has to be decided here.
    delimiter
        What stands between values, one character.
    test_fraction
        Without `test_path`, the part of the samples to test with, in [0, 1).
    rng
        Draws the test samples: an int, a `numpy.random.Generator`, or None for the last ones as
        they stand.  The default draws the same ones each time, and a file that is sorted by class
        is divided fairly.
    classes
        Number of classes; labels must be below.  None: one more than the greatest label.
    dtype
        float32 or float64.
    scale
        The value that becomes 1: samples are divided by it, so 255 for pixels.  None: 1.

    Returns
    -------
    Dataset
        With x_train of shape (n, columns - 1).  Without a test file and fraction the test set is
        empty, of shape (0, columns - 1).

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        A value that is no finite number, lines of different lengths, no lines, no such column, or
        labels that are no class numbers.  The file and the line or sample, what was expected and
        what was found are named.
    """
    options = check_options(dtype, scale, flatten=True)
    check_classes(classes)
    if test_path is not None and test_fraction:
        raise ValueError(f"give test_path or test_fraction, not both: {test_path}, {test_fraction}")
    form = Format(delimiter, header)
    samples = _read_split(Path(path), form, label_column)
    if test_path is not None:
        train, test = samples, _read_split(Path(test_path), form, label_column)
    else:
        train, test = _divide(samples, test_fraction, rng)
    return assemble(train, test, options, classes=classes)


def _read_split(path: Path, form: Format, label_column: int | str) -> Split:
    table = _read_table(path, form)
    column = _find_column(table, label_column, path)
    samples = np.delete(table.values, column, axis=1)
    return Split(samples, table.values[:, column], str(path), str(path))


def _divide(
    samples: Split, fraction: float, rng: int | np.random.Generator | None
) -> tuple[Split, Split]:
    if not fraction:
        rng = None  # nothing to draw: leave the order as it is
    x_train, y_train, x_test, y_test = train_validation_split(samples.x, samples.y, fraction, rng)
    return samples._replace(x=x_train, y=y_train), samples._replace(x=x_test, y=y_test)


def _find_column(table: Table, column: int | str, path: Path) -> int:
    width: int = table.values.shape[1]
    if width < 2:
        raise ValueError(f"{path}: expected at least 2 columns, samples and labels, found {width}")
    if isinstance(column, str):
        names = list(table.names or ())
        if column not in names:
            found = ", ".join(names[:10]) or "no header"
            raise ValueError(f"{path}: expected a column named {column!r}, found {found}")
        return names.index(column)
    if not -width <= column < width:
        raise ValueError(f"{path}: expected label_column {column} among {width} columns")
    return column % width


def _read_table(path: Path, form: Format) -> Table:
    try:
        with path.open(encoding=ENCODING) as file:
            table = _parse(file, form)
    except (ValueError, csv.Error) as error:
        # NumPy's parser is fast, but counts rows where a user needs the number of the line.
        raise ValueError(f"{path}: {_find_fault(path, form) or error}") from error
    width = table.values.shape[1]
    if table.names is not None and len(table.names) != width:
        raise ValueError(f"{path}: its header names {len(table.names)} columns, found {width}")
    return table


def _parse(file: TextIO, form: Format) -> Table:
    names, lines = _take_header((line for line in file if line.strip()), form)
    first = next(lines, None)
    if first is None:  # of which loadtxt would only warn
        raise ValueError("expected at least 1 line of numbers, found 0")
    values = np.loadtxt(
        itertools.chain([first], lines),
        dtype=np.float64,  # in which labels up to 2**53 are exact
        delimiter=form.delimiter,
        comments=None,
        quotechar='"',
        ndmin=2,
    )
    return Table(values, names)


def _take_header(lines: Iterator[str], form: Format) -> tuple[list[str] | None, Iterator[str]]:
    """Return the names of the columns, if there are any, and the lines of numbers."""
    first = next(lines, "")
    cells = next(csv.reader([first], delimiter=form.delimiter), [])
    if _is_header(cells, form):
        return [cell.strip() for cell in cells], lines
    return None, itertools.chain([first] if first else [], lines)


def _is_header(cells: Sequence[str], form: Format) -> bool:
    if form.header is not None:
        return form.header
    numbers = sum(map(_is_number, cells))
    if 0 < numbers < len(cells):
        raise ValueError(
            f"the first line has {numbers} numbers in {len(cells)} columns: "
            "say header=True or header=False"
        )
    return numbers == 0


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _find_fault(path: Path, form: Format) -> str | None:
    """Return where a file that could not be read has its first fault, if that is a plain one."""
    with path.open(encoding=ENCODING) as file, contextlib.suppress(ValueError, csv.Error):
        reader = csv.reader(file, delimiter=form.delimiter)
        rows = (row for row in reader if any(cell.strip() for cell in row))
        first = next(rows, [])
        if _is_header(first, form):
            first = next(rows, [])
        for row in itertools.chain([first], rows):
            if len(row) != len(first):
                return f"line {reader.line_num}: expected {len(first)} columns, found {len(row)}"
            for column, cell in enumerate(row, 1):
                if not _is_number(cell):
                    found = f"expected a number, found {cell[:40]!r}"
                    return f"line {reader.line_num}, column {column}: {found}"
    return None
