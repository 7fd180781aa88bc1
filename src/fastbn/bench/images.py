"""Images to train on: real ones where the machine has them, else noise of the same shape."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastbn.bench.operands import Array
from fastbn.bench.shapes import TrainingStep

DEBIAN_PACKAGE = "dataset-fashion-mnist"
_SAMPLES = 60_000


@dataclass(frozen=True)
class Images:
    """Training samples.

    Attributes
    ----------
    x : ndarray, shape (n, features)
    y : ndarray of intp, shape (n,)
    name : str
    """

    x: Array
    y: Array
    name: str


def load_images(case: TrainingStep) -> Images:
    """Return Fashion-MNIST where it fits the net and is there, else noise of the same shape."""
    folder = fashion_mnist_folder()
    if folder is not None and (case.sizes[0], case.sizes[-1]) == (784, 10):
        from fastbn.datasets import load_idx

        data = load_idx(folder, classes=None, dtype=case.dtype)
        return Images(data.x_train, data.y_train.astype(np.intp), "Fashion-MNIST")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((_SAMPLES, case.sizes[0]), np.float32).astype(case.dtype, copy=False)
    return Images(x, rng.integers(case.sizes[-1], size=_SAMPLES).astype(np.intp), "noise")


def fashion_mnist_folder() -> Path | None:
    """Return the folder with the four files of Fashion-MNIST, or None.

    The environment variable FASHION_MNIST_FOLDER decides where it is set; else the Debian package
    of the data set is asked for its files.
    """
    if folder := os.environ.get("FASHION_MNIST_FOLDER"):
        return Path(folder)
    if shutil.which("dpkg") is None:
        return None
    listing = subprocess.run(
        ["dpkg", "-L", DEBIAN_PACKAGE], capture_output=True, text=True, check=False
    )
    for line in listing.stdout.splitlines():
        if Path(line).name.startswith("train-images"):
            return Path(line).parent
    return None


class Batches:
    """Rows of random batches, without end: one permutation of the samples over and over.

    Parameters
    ----------
    samples, batch : int
    """

    def __init__(self, samples: int, batch: int) -> None:
        self._order = np.random.default_rng(1).permutation(samples).astype(np.intp)
        self._batch, self._position = batch, 0

    def next(self) -> Array:
        """Return the rows of the next batch."""
        if self._position + self._batch > len(self._order):
            self._position = 0
        self._position += self._batch
        return self._order[self._position - self._batch : self._position]
