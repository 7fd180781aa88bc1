"""Mini-batches: the accounting of epochs and iterations, the order of samples, gathering of rows.

Words, as everywhere in this library: an *epoch* is one pass over all training samples, *batch_size*
the number of samples of one update, an *iteration* one update.
"""

import math
import operator
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from fastbn import _core

__all__ = ["Indices", "MiniBatches", "Tail", "as_generator", "take_batch", "train_validation_split"]

Indices: TypeAlias = NDArray[np.intp] | slice
"""Which rows make a batch: an array of row numbers, or a slice where nothing is shuffled."""

Tail: TypeAlias = Literal["keep", "drop", "merge"]
"""What becomes of the samples that are left when batch_size does not divide their number."""

Array: TypeAlias = NDArray[Any]


class MiniBatches:
    """The batches of every epoch: how many there are, how large, and which samples are in each.

    The order of an epoch is a function of ``seed`` and the epoch's number alone.  So an object has
    no position to keep: any epoch can be asked for, in any order, from any iteration on, and two
    numbers (epoch, iteration) and `state` are all that a resumed training needs.

    Parameters
    ----------
    n_samples
        Number of training samples, at least 1.
    batch_size
        Samples per iteration, at least 1.  From ``n_samples`` on, an epoch is one batch of all
        samples (batch gradient descent).
    shuffle
        Draw a new permutation for each epoch.  Otherwise the samples come as they are, in slices.
    tail
        What to do with the last ``n_samples % batch_size`` samples: "keep" makes a smaller batch of
        them, but joins them to the batch before where there are fewer than `min_tail`; "merge"
        always joins them; "drop" leaves them out (with `shuffle`, other ones in each epoch).
    min_tail
        The least size of a batch of its own under "keep".  2 by default, because one sample has no
        variance and batch normalization cannot train on it.
    rng
        Source of `seed`, from which 63 bits are drawn here and nothing later: an int, a
        `numpy.random.Generator`, or None for fresh entropy.

    Attributes
    ----------
    n_samples, batch_size, shuffle, tail, min_tail
        As given.
    seed : int
        What all orders derive from; 0 without `shuffle`.

    Raises
    ------
    TypeError
        A size that is no integer, or an `rng` of another kind.
    ValueError
        A size below 1, an unknown `tail`, or "drop" with fewer samples than `batch_size`, which
        would train nothing.

    Examples
    --------
    >>> batches = MiniBatches(60_000, 100, rng=0)
    >>> batches.iterations_per_epoch
    600
    >>> MiniBatches(60_040, 100, tail="merge").tail_description
    'The last batch of an epoch has 140 samples: the 40 left over are joined to it.'
    """

    def __init__(
        self,
        n_samples: int,
        batch_size: int,
        *,
        shuffle: bool = True,
        tail: Tail = "keep",
        min_tail: int = 2,
        rng: int | np.random.Generator | None = None,
    ) -> None:
        self.n_samples = _positive(n_samples, "n_samples")
        self.batch_size = _positive(batch_size, "batch_size")
        self.min_tail = _positive(min_tail, "min_tail")
        if tail not in get_args(Tail):
            raise ValueError(f"tail must be one of {', '.join(get_args(Tail))}, not {tail!r}")
        if tail == "drop" and self.n_samples < self.batch_size:
            raise ValueError(
                f"tail='drop' leaves no batch: n_samples={self.n_samples:,} is less than "
                f"batch_size={self.batch_size:,}"
            )
        self.tail: Tail = tail
        self.shuffle = bool(shuffle)
        generator = as_generator(rng)
        self.seed = int(generator.integers(2**63)) if self.shuffle else 0

    # -- how many and how large ------------------------------------------------------------------

    @property
    def iterations_per_epoch(self) -> int:
        """Number of updates in one pass over the data."""
        whole, left = divmod(self.n_samples, self.batch_size)
        return whole + (left > 0 and self._tail_stands_alone)

    @property
    def samples_per_epoch(self) -> int:
        """Number of samples that an epoch trains on: all of them, unless a tail is dropped."""
        return self.n_samples - (self._left_over if self.tail == "drop" else 0)

    @property
    def largest_batch(self) -> int:
        """Size of the largest batch, the last one of the epoch where a tail was joined to it."""
        return max(self._length_of(0), self._length_of(self.iterations_per_epoch - 1))

    @property
    def tail_description(self) -> str | None:
        """One sentence on how the last batch differs from the others; None where it does not."""
        left, last = self._left_over, self._length_of(self.iterations_per_epoch - 1)
        if left == 0:
            return None
        if self.n_samples < self.batch_size:
            return (
                f"An epoch is one batch of all {self.n_samples:,} samples, "
                f"fewer than the batch_size of {self.batch_size:,}."
            )
        if self.tail == "drop":
            return f"Each epoch leaves out {left:,} of {self.n_samples:,} samples (tail='drop')."
        if self._tail_stands_alone:
            return f"The last batch of an epoch has {left:,} samples, not {self.batch_size:,}."
        reason = "" if self.tail == "merge" else f", too few for a batch (min_tail={self.min_tail})"
        verb = "is" if left == 1 else "are"
        return (
            f"The last batch of an epoch has {last:,} samples: "
            f"the {left:,} left over {verb} joined to it{reason}."
        )

    # -- which samples ---------------------------------------------------------------------------

    def epoch_indices(self, epoch: int, start: int = 0) -> Iterator[Indices]:
        """Return the batches of one epoch, in order.

        Parameters
        ----------
        epoch
            Number of the epoch, from 0.
        start
            The iteration of this epoch to begin at, from 0; for a training that goes on where
            it was interrupted.

        Returns
        -------
        iterator of arrays of intp, shape (size of the batch,), or of slices without `shuffle`
            Every number lies in [0, n_samples), and none comes twice in an epoch.

        Raises
        ------
        ValueError
            A negative epoch, or a start outside [0, iterations_per_epoch].
        """
        if epoch < 0:
            raise ValueError(f"epoch counts from 0, not {epoch}")
        if not 0 <= start <= self.iterations_per_epoch:
            raise ValueError(
                f"start={start} is outside the {self.iterations_per_epoch} iterations of an epoch"
            )
        slices = (self._batch_slice(i) for i in range(start, self.iterations_per_epoch))
        if not self.shuffle:
            return slices
        order = self._permutation(epoch, self.n_samples)
        return (order[part] for part in slices)

    # -- resuming --------------------------------------------------------------------------------

    def state(self) -> dict[str, int | str | bool]:
        """Return what fixes every order of every epoch: plain values, fit for JSON."""
        return {
            "seed": self.seed,
            "n_samples": self.n_samples,
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "tail": self.tail,
            "min_tail": self.min_tail,
            "order_checksum": self._order_checksum(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over the orders of another object, usually of an interrupted training.

        Parameters
        ----------
        state
            What `state` returned.

        Raises
        ------
        ValueError
            The state misses a value, belongs to other data or batches (both values are named), or
            comes from a NumPy whose generator draws other permutations.  The object is unchanged.
        """
        mine = self.state()
        if missing := [key for key in mine if key not in state]:
            raise ValueError(f"the state of the batches lacks {', '.join(missing)}")
        for key in ("n_samples", "batch_size", "shuffle", "tail", "min_tail"):
            if state[key] != mine[key]:
                raise ValueError(
                    f"cannot resume: {key} is {mine[key]!r} now and was {state[key]!r} in the state"
                )
        previous, self.seed = self.seed, _seed(state["seed"])
        if (checksum := self._order_checksum()) != state["order_checksum"]:
            self.seed = previous
            raise ValueError(
                "cannot resume in the same order: this NumPy draws other permutations from the "
                f"seed (checksum {checksum} now, {state['order_checksum']} in the state)"
            )

    # -- within ----------------------------------------------------------------------------------

    @property
    def _left_over(self) -> int:
        return self.n_samples % self.batch_size

    @property
    def _tail_stands_alone(self) -> bool:
        if self.n_samples < self.batch_size:
            return True  # there is no batch before it to join
        return self.tail == "keep" and self._left_over >= self.min_tail

    def _batch_slice(self, iteration: int) -> slice:
        """Return where a batch lies in the order of an epoch; the last one takes what is left."""
        start = iteration * self.batch_size
        is_last = iteration == self.iterations_per_epoch - 1
        return slice(start, self.samples_per_epoch if is_last else start + self.batch_size)

    def _length_of(self, iteration: int) -> int:
        part = self._batch_slice(iteration)
        return int(part.stop - part.start)

    def _permutation(self, epoch: int, length: int) -> NDArray[np.intp]:
        # SeedSequence mixes seed and epoch into streams that are independent of each other; adding
        # the two would make epoch 1 of seed 0 the same as epoch 0 of seed 1.
        stream = np.random.SeedSequence(self.seed, spawn_key=(epoch,))
        return np.random.default_rng(stream).permutation(length)

    def _order_checksum(self) -> int:
        # NumPy may change its streams between versions (NEP 19).  A thousand draws tell, and cost
        # a hundredth of what the order of a large data set would.
        if not self.shuffle:
            return 0
        return zlib.crc32(self._permutation(0, min(self.n_samples, 1000)).astype("<i8").tobytes())


def take_batch(x: Array, indices: Indices, out: Array) -> Array:
    """Gather the rows of a batch into a buffer that is used again for every batch.

    Parameters
    ----------
    x : array, shape (n, ...)
        The samples or labels, of any dtype; by several threads when C-contiguous.
    indices : array of intp, shape (b,), or slice
        Rows to take, as `MiniBatches.epoch_indices` gives them.
    out : array, shape (m, ...), m >= b
        The buffer: C-contiguous, with the dtype and row shape of `x`.

    Returns
    -------
    array, shape (b, ...)
        ``out[:b]``, filled.  For a slice a view of `x`, and nothing is copied.

    Raises
    ------
    IndexError
        A row number outside [0, n); negative ones do not count from the end.
    TypeError
        `indices` that are no intp array, or an `out` of another dtype.
    ValueError
        An `out` that is too short, of another row shape, or not contiguous.
    """
    if isinstance(indices, slice):
        return x[indices]
    rest = _core.gather_rows(x, indices, out)
    batch = out[: len(indices)]
    if rest is not None:
        batch[...] = x[rest]
    return batch


def train_validation_split(
    x: Array, y: Array, fraction: float, rng: int | np.random.Generator | None = None
) -> tuple[Array, Array, Array, Array]:
    """Set a part of the samples aside for validation.

    Parameters
    ----------
    x, y : arrays, shapes (n, ...)
        Samples and labels.
    fraction
        Part of the samples for validation, in [0, 1); rounded up to whole samples, as Keras does.
    rng
        None takes the last samples as they stand, before any shuffling: Keras' rule for
        ``validation_split``, wrong for data sorted by class.  An int or a `numpy.random.Generator`
        draws them.

    Returns
    -------
    x_train, y_train, x_validation, y_validation
        Views of `x` and `y` without `rng`, copies with it.

    Raises
    ------
    ValueError
        `x` and `y` of different lengths, a fraction outside [0, 1), or one that leaves no sample to
        train on.
    """
    if len(x) != len(y):
        raise ValueError(f"x has {len(x)} samples, y has {len(y)}")
    if not 0 <= fraction < 1:
        raise ValueError(f"fraction must be in [0, 1), not {fraction}")
    # Rounded first: 100 * 0.07 is 7.000000000000001, and its error must not cost a sample.
    n_train = len(x) - math.ceil(round(len(x) * fraction, 6))
    if n_train == 0:
        raise ValueError(f"fraction {fraction} of {len(x)} samples leaves none to train on")
    train: Indices = slice(n_train)
    validation: Indices = slice(n_train, None)
    if rng is not None:
        order = as_generator(rng).permutation(len(x))
        train, validation = order[train], order[validation]
    return x[train], y[train], x[validation], y[validation]


def as_generator(rng: int | np.random.Generator | None) -> np.random.Generator:
    """Return the generator that `rng` stands for: itself, one seeded with an int, or a fresh one.

    Parameters
    ----------
    rng
        A `numpy.random.Generator` is returned as it is, so that its owner's next draws go on where
        ours stopped.  None seeds a new one from the operating system.

    Raises
    ------
    TypeError
        Anything else, such as a float or the legacy `numpy.random.RandomState`.
    ValueError
        A negative seed.
    """
    if rng is None or isinstance(rng, np.random.Generator):
        return np.random.default_rng(rng)
    if isinstance(rng, bool) or not isinstance(rng, (int, np.integer)):
        raise TypeError(f"rng must be an int, a numpy.random.Generator or None, not {rng!r}")
    if rng < 0:
        raise ValueError(f"a seed must not be negative: rng={rng}")
    return np.random.default_rng(int(rng))


def _positive(value: int, name: str) -> int:
    # operator.index refuses 100.0 as well as "100"; a bool would pass as 0 or 1.
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    if number < 1:
        raise ValueError(f"{name} must be at least 1, not {number}")
    return number


def _seed(value: object) -> int:
    if not isinstance(value, int) or not 0 <= value < 2**63:
        raise ValueError(f"a seed is an integer in [0, 2**63), not {value!r}")
    return value
