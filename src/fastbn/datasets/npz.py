"""NumPy archives in the layout of Keras' ``mnist.npz``."""

import io
import math
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import DTypeLike, NDArray

from fastbn.datasets.dataset import (
    Dataset,
    Split,
    assemble,
    check_classes,
    check_options,
    check_shape,
)
from fastbn.datasets.sources import member_source, refusing_damage

KEYS = ("x_train", "y_train", "x_test", "y_test")

# Magic string, version and length take 12 bytes; np.load too trusts no longer header than 10,000,
# because it is parsed as a Python literal.
MAX_HEADER = 10_000
HEADER_READERS = {
    (1, 0): npy_format.read_array_header_1_0,
    (2, 0): npy_format.read_array_header_2_0,
}


def load_npz(
    path: str | os.PathLike[str],
    *,
    classes: int | None = None,
    dtype: DTypeLike = np.float32,
    flatten: bool = True,
    scale: float | None = None,
) -> Dataset:
    """Load a data set from one ``.npz`` file, as ``np.savez`` and ``np.savez_compressed`` write it.

    Parameters
    ----------
    path
        The file, with the keys of Keras' ``mnist.npz``: ``x_train`` of shape (n, ...) and
        ``y_train`` of shape (n,) or (n, 1), ``x_test`` and ``y_test`` likewise.  Samples are real
        numbers of any kind, labels are class numbers.  Other keys are ignored.
    classes
        Number of classes; labels must be below.  None: one more than the greatest label.
    dtype
        float32 or float64; uint8, for samples of uint8, gives them as they are.
    flatten
        Whether a sample is a vector, or has the shape that it has in the file.
    scale
        The value that becomes 1: samples are divided by it.  None: 255 where `x_train` is uint8,
        else 1.

    Returns
    -------
    Dataset

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is damaged, lacks a key, lies about a size, or holds objects (pickles, which are
        never read), non-finite samples or labels that are no class numbers.  The file, the key and
        both values are named.
    """
    options = check_options(dtype, scale, flatten)
    check_classes(classes)
    arrays = _read_arrays(Path(path))
    train = Split(arrays["x_train"], arrays["y_train"], f"{path}[x_train]", f"{path}[y_train]")
    test = Split(arrays["x_test"], arrays["y_test"], f"{path}[x_test]", f"{path}[y_test]")
    full_scale = 255 if train.x.dtype == np.uint8 else 1
    return assemble(train, test, options, classes=classes, full_scale=full_scale)


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        with refusing_damage(str(path)):
            archive = zipfile.ZipFile(file)
        members = set(archive.namelist())
        if missing := [key for key in KEYS if f"{key}.npy" not in members]:
            found = ", ".join(sorted(members)[:10]) or "nothing"
            raise ValueError(f"{path}: expected {', '.join(missing)} among its keys, found {found}")
        return {key: _read_array(archive, key, size, f"{path}[{key}]") for key in KEYS}


def _read_array(archive: zipfile.ZipFile, key: str, size: int, name: str) -> NDArray[Any]:
    """Read one member in the .npy format, whose header is as suspect as the archive's directory."""
    source = member_source(archive, f"{key}.npy", size, name)
    header = io.BytesIO(source.peek(12 + MAX_HEADER))
    with refusing_damage(name):
        version = npy_format.read_magic(header)
        if version not in HEADER_READERS:
            raise ValueError(f"expected the .npy format 1.0 or 2.0, found {version}")
        shape, fortran_order, dtype = HEADER_READERS[version](header, max_header_size=MAX_HEADER)
    if dtype.kind not in "buif":
        # Objects would have to be unpickled, and a pickle can run any program.
        raise ValueError(f"{name}: expected real numbers, found dtype {dtype}")
    check_shape(shape, name)
    offset = header.tell()
    data = source.read(offset + math.prod(shape) * dtype.itemsize)
    elements = np.frombuffer(data, dtype, offset=offset)
    return elements.reshape(shape, order="F" if fortran_order else "C")
