"""IDX files, the format of MNIST and of the many sets that took it over.

An IDX file of unsigned bytes is: two zero bytes, the type code 8, the number of dimensions d, then
d big-endian 32-bit sizes, then the elements in row-major order.  Source: Y. LeCun, C. Cortes and
C. Burges, "The MNIST database of handwritten digits".
"""

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastbn.datasets.dataset import (
    Dataset,
    Split,
    assemble,
    check_classes,
    check_counts,
    check_options,
    check_shape,
)
from fastbn.datasets.sources import ByteSource, file_source

IMAGE_DIMENSIONS = 3
LABEL_DIMENSIONS = 1


def load_idx(
    folder: str | os.PathLike[str],
    *,
    classes: int | None = 10,
    dtype: DTypeLike = np.float32,
    flatten: bool = True,
    scale: float | None = None,
) -> Dataset:
    """Load a data set in MNIST's four files: MNIST, Fashion-MNIST, KMNIST, QMNIST, and your own.

    Parameters
    ----------
    folder
        Where the files are: ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``,
        ``t10k-images-idx3-ubyte`` and ``t10k-labels-idx1-ubyte``, each of them gzipped or not, with
        ``.gz`` at its end or not, and also with a dot for the last hyphen but one
        (``train-images.idx3-ubyte``).
    classes
        Number of classes; labels must be below.  None: one more than the greatest label.
    dtype
        float32 or float64; uint8 gives the pixels as they are, in [0, 255].
    flatten
        Whether a sample is a vector of rows * columns pixels, as `fastbn.Linear` takes it, or an
        image of shape (rows, columns).
    scale
        The pixel value that becomes 1: pixels are divided by it.  None: 255.

    Returns
    -------
    Dataset
        Of x_train (60,000, 784) and x_test (10,000, 784) for MNIST.

    Raises
    ------
    FileNotFoundError
        One of the four files is missing; the names looked for are listed.
    ValueError
        A file is damaged or not what its header says, images and labels differ in number, or a
        label is not below `classes`.  The file and both numbers are named.  Memory grows with what
        a file holds, never with what its header promises.
    """
    options = check_options(dtype, scale, flatten)
    check_classes(classes)
    train, test = _read_split(Path(folder), "train"), _read_split(Path(folder), "t10k")
    return assemble(train, test, options, classes=classes, full_scale=255)


class IdxArray:
    """An IDX file of unsigned bytes whose header is read, and checked, before its elements.

    Attributes
    ----------
    name : str
        What errors call it.
    shape : tuple of int
        As the header says; every dimension is at least 1.
    """

    def __init__(self, source: ByteSource, dimensions: int) -> None:
        self.name = source.name
        self._source = source
        self._header_size = 4 + 4 * dimensions
        header = source.peek(self._header_size)
        magic = bytes((0, 0, 8, dimensions))
        if header[:4] != magic:
            raise ValueError(
                f"{self.name}: expected the magic number 0x{magic.hex()}, "
                f"found 0x{header[:4].hex()}"
            )
        if len(header) < self._header_size:
            raise ValueError(
                f"{self.name}: expected a header of {self._header_size} bytes, found {len(header)}"
            )
        # Python's integers: the product of the sizes cannot overflow.
        self.shape = tuple(int(n) for n in np.frombuffer(header, ">u4", offset=4))
        check_shape(self.shape, self.name)

    def read(self) -> NDArray[np.uint8]:
        """Return the elements, if there are exactly as many as the header says."""
        data = self._source.read(self._header_size + math.prod(self.shape))
        return np.frombuffer(data, np.uint8, offset=self._header_size).reshape(self.shape)


def read_pair(images: IdxArray, labels: IdxArray) -> Split:
    """Read images and their labels, once their headers agree on how many there are."""
    check_counts(images.shape[0], labels.shape[0], images.name, labels.name)
    return Split(images.read(), labels.read(), images.name, labels.name)


def _read_split(folder: Path, part: str) -> Split:
    with (
        _open(folder, f"{part}-images-idx3-ubyte", IMAGE_DIMENSIONS) as images,
        _open(folder, f"{part}-labels-idx1-ubyte", LABEL_DIMENSIONS) as labels,
    ):
        return read_pair(images, labels)


@contextlib.contextmanager
def _open(folder: Path, stem: str, dimensions: int) -> Iterator[IdxArray]:
    path = _find(folder, stem)
    with path.open("rb") as file:
        yield IdxArray(file_source(file, str(path)), dimensions)


def _find(folder: Path, stem: str) -> Path:
    """Return the file of this name in one of its spellings; the plain one first."""
    names = [s + end for s in (stem, stem.replace("-idx", ".idx")) for end in ("", ".gz")]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"{folder} has none of the files {', '.join(names)}")
