"""What every loader returns, and the checks and conversions that the loaders share."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array: TypeAlias = NDArray[Any]
Labels: TypeAlias = NDArray[np.int64]

DTYPES = (np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.uint8))


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Samples and labels to train on and to test with.

    Unpacks like a tuple of its four arrays: ``x_train, y_train, x_test, y_test = load_digits()``.

    Attributes
    ----------
    x_train, x_test : arrays of float32, float64 or uint8
        Samples, shapes (n_train, features) and (n_test, features), or (n, *feature_shape) where
        they were asked for with ``flatten=False``.  C-contiguous and writable.
    y_train, y_test : arrays of int64, shapes (n_train,) and (n_test,)
        Labels: the number of each sample's class, in [0, n_classes).
    n_classes : int
        Number of classes, whether or not each has a sample.
    feature_shape : tuple of int
        Shape of one sample in the file, such as (28, 28), flattened or not.
    """

    x_train: Array
    y_train: Labels
    x_test: Array
    y_test: Labels
    n_classes: int
    feature_shape: tuple[int, ...]

    def __iter__(self) -> Iterator[Array]:
        """Iterate over x_train, y_train, x_test, y_test."""
        return iter((self.x_train, self.y_train, self.x_test, self.y_test))

    def __repr__(self) -> str:
        """Return sizes, shape and dtype: the arrays would fill the screen."""
        return (
            f"Dataset({len(self.x_train):,} training and {len(self.x_test):,} test samples of "
            f"shape {self.feature_shape} in {self.n_classes} classes, {self.x_train.dtype})"
        )


class Split(NamedTuple):
    """One half of a data set as its files hold it, and what errors call the two parts."""

    x: Array
    y: Array
    x_name: str
    y_name: str


class Options(NamedTuple):
    """How samples are wanted: dtype, the value that becomes 1 (None: no division), flattened."""

    dtype: np.dtype[Any]
    scale: float | None
    flatten: bool


def check_options(dtype: DTypeLike, scale: float | None, flatten: bool) -> Options:
    """Check what the caller asks for, before any file is touched."""
    wanted = np.dtype(dtype)
    if wanted not in DTYPES:
        raise TypeError(f"dtype must be float32, float64 or uint8, not {wanted}")
    if scale is not None:
        if wanted.kind != "f":
            raise ValueError(
                f"scale={scale} needs a float dtype; {wanted} keeps values as they are"
            )
        if not (math.isfinite(scale) and scale > 0):
            raise ValueError(f"scale must be positive and finite, not {scale}")
    return Options(wanted, scale, flatten)


def check_classes(classes: int | None) -> None:
    """Refuse a number of classes that cannot be one."""
    if classes is None:
        return
    if isinstance(classes, bool) or not isinstance(classes, (int, np.integer)):
        raise TypeError(f"classes must be an integer or None, not {classes!r}")
    if classes < 1:
        raise ValueError(f"classes must be at least 1, not {classes}")


def check_shape(shape: tuple[int, ...], name: str) -> None:
    """Refuse a shape without elements: there is nothing to learn, and NumPy may overflow on it."""
    if min(shape, default=0) < 1:
        raise ValueError(f"{name}: expected dimensions of at least 1, found shape {shape}")


def check_counts(samples: int, labels: int, x_name: str, y_name: str) -> None:
    """Refuse samples without labels and labels without samples."""
    if samples != labels:
        raise ValueError(f"{x_name} has {samples:,} samples, but {y_name} has {labels:,} labels")


def assemble(
    train: Split, test: Split, options: Options, *, classes: int | None, full_scale: float = 1.0
) -> Dataset:
    """Check two halves against each other and convert them.

    `full_scale` is the value that becomes 1 where the caller leaves it to the loader.
    """
    for split in (train, test):
        check_counts(len(split.x), len(split.y), split.x_name, split.y_name)
    shape = train.x.shape[1:]
    if test.x.shape[1:] != shape:
        raise ValueError(
            f"{train.x_name} has samples of shape {shape}, but {test.x_name} has {test.x.shape[1:]}"
        )
    y_train, y_test = _labels(train, classes), _labels(test, classes)
    if classes is None:
        classes = 1 + max(int(y.max()) for y in (y_train, y_test) if y.size)
    if options.scale is None and options.dtype.kind == "f":
        options = options._replace(scale=full_scale)
    return Dataset(
        _features(train, options), y_train, _features(test, options), y_test, int(classes), shape
    )


def _labels(split: Split, classes: int | None) -> Labels:
    """Convert labels of shape (n,), or (n, 1) as some files have them, to int64 of shape (n,)."""
    y, name = split.y, split.y_name
    if y.ndim != 1 and y.shape[1:] != (1,):
        raise ValueError(f"{name}: expected class numbers of shape ({len(y)},), found {y.shape}")
    y = y.reshape(-1)
    if y.dtype.kind == "f":
        y = _cast(y, np.dtype(np.float64))  # float16 could not be compared with the limit
    limit = np.iinfo(np.int64).max if classes is None else classes
    # Stated as what is right, so that NaN, which compares as false, is wrong.
    right = (y >= 0) & (y < limit) & (y == np.floor(y))
    if not right.all():
        row = int(np.argmin(right))
        expected = "class numbers" if classes is None else f"{classes} classes, 0 to {classes - 1}"
        raise ValueError(f"{name}: expected {expected}, found {y[row]} in sample {row:,}")
    return y.astype(np.int64)


def _features(split: Split, options: Options) -> Array:
    """Convert samples to the dtype, scale and shape that are wanted; may overwrite `split.x`."""
    x, name = split.x, split.x_name
    # "same_kind" lets 64-bit numbers into a float32, but would also wrap uint16 into uint8.
    casting: Literal["same_kind", "safe"] = "same_kind" if options.dtype.kind == "f" else "safe"
    if not np.can_cast(x.dtype, options.dtype, casting):
        raise ValueError(f"{name}: expected values that fit {options.dtype}, found {x.dtype}")
    is_float = x.dtype.kind == "f"
    x = _cast(x, options.dtype)
    if is_float:
        _check_finite(x, name)
    if options.scale not in (None, 1):
        np.divide(x, options.scale, out=x)
    return x.reshape(len(x), math.prod(x.shape[1:])) if options.flatten else x


def _cast(array: Array, dtype: np.dtype[Any]) -> Array:
    """Convert without warnings of overflow and NaN: what comes of them is checked afterwards."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.require(array, dtype, ["C", "A", "W"])


def _check_finite(x: Array, name: str) -> None:
    """Refuse NaN and Inf: one of them makes every weight of a net NaN in the first iteration."""
    # The extremes tell (NaN is passed on by both) without an array of truth values as large as x.
    if x.size == 0 or (np.isfinite(x.min()) and np.isfinite(x.max())):
        return
    place = np.unravel_index(int(np.argmin(np.isfinite(x))), x.shape)
    raise ValueError(
        f"{name}: expected finite values in {x.dtype}, found {x[place]} in sample {int(place[0]):,}"
    )
