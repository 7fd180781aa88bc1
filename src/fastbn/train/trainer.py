"""The training loop."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbn.data import MiniBatches, Tail, as_generator, train_validation_split
from fastbn.layers import Layer
from fastbn.losses import Loss
from fastbn.optim import Optimizer
from fastbn.train.accounting import Accounting
from fastbn.train.callbacks import Callback, CallbackList, Logs
from fastbn.train.checks import (
    Accepted,
    accepted,
    check_epochs,
    check_pair,
    check_samples,
    has_batch_norm,
)
from fastbn.train.history import History
from fastbn.train.loop import TrainingLoop
from fastbn.train.means import Means
from fastbn.train.metrics import Metric, resolve_metrics
from fastbn.train.progress import make_progress
from fastbn.train.steady import SteadyStep

Array: TypeAlias = NDArray[Any]
Pair: TypeAlias = tuple[Array, Array]

# Rows of a batch of `evaluate` and `predict`.  It bounds their memory, whatever the number of
# samples, and is beyond the size from which the products no longer get faster.
_EVALUATION_ROWS = 1024


class Trainer:
    """Trains a net by mini-batch gradient descent, and evaluates it.

    Parameters
    ----------
    net : Layer
        Usually a `Sequential`.
    loss : Loss
        The mean over the samples of a batch, such as `CrossEntropyLoss()`.
    optimizer : Optimizer
        Made from `net.parameters()`.
    metrics : iterable of str or callable
        What is recorded beside the loss: "accuracy", or functions `f(predictions, targets)` that
        return a mean over the samples.
    callbacks : iterable of Callback
        Called in this order.
    rng : int or numpy.random.Generator, optional
        Source of the orders of the samples; an int makes a training repeatable.

    Attributes
    ----------
    history : History
        The record of the training that runs, or that ran last: also of one that was interrupted.
    stop_training : bool
        Set it to True, from a callback or another thread, and the training ends after the batch.

    Raises
    ------
    ValueError, TypeError
        If a metric is unknown, or a callback or `rng` is of another kind.

    Examples
    --------
    >>> trainer = Trainer(net, CrossEntropyLoss(), SGD(net.parameters(), lr=0.1, momentum=0.9))
    >>> history = trainer.fit(x, y, epochs=10, batch_size=100, validation_data=(x_test, y_test))
    >>> history.iterations, history.history["val_accuracy"][-1]
    (6000, 0.8992)
    """

    def __init__(
        self,
        net: Layer,
        loss: Loss,
        optimizer: Optimizer,
        *,
        metrics: Iterable[str | Metric] = ("accuracy",),
        callbacks: Iterable[Callback] = (),
        rng: int | np.random.Generator | None = None,
    ) -> None:
        self.net = net
        self.loss = loss
        self.optimizer = optimizer
        self.metrics = resolve_metrics(metrics)
        self.callbacks = list(callbacks)
        self.rng = as_generator(rng)
        self.history = History(Accounting(0, 0, 0, 0, ""))
        self.stop_training = False
        self._accepted: tuple[Layer, Accepted] | None = None
        self._steady = SteadyStep()
        self._id = uuid.uuid4().hex  # marks the histories of this trainer
        CallbackList(self.callbacks, self)  # refuses what is no callback here, not in `fit`

    # -- training --------------------------------------------------------------------------------

    def fit(
        self,
        x: ArrayLike,
        y: ArrayLike,
        *,
        epochs: int,
        batch_size: int,
        validation_data: tuple[ArrayLike, ArrayLike] | None = None,
        validation_split: float = 0.0,
        shuffle: bool = True,
        tail: Tail = "keep",
        progress: bool = True,
        resume: History | None = None,
    ) -> History:
        """Train for a number of epochs.

        An epoch is one pass over all training samples, an iteration one update from `batch_size`
        of them: 60,000 samples at batch size 100 are 600 iterations an epoch, and 10 epochs are
        6,000 updates.

        Parameters
        ----------
        x : array_like, shape (n, ...)
            Samples, in the dtype of the net; or uint8 if it begins with a `Rescaling`.
        y : array_like, shape (n, ...)
            Targets, as the loss takes them: class numbers of shape (n,) for `CrossEntropyLoss`.
        epochs : int
            The number of the last epoch, at least 1.  With `resume` the epochs before count too:
            `epochs=20` goes on from 10 to 20.
        batch_size : int
            Samples per update, at least 1; from n on the whole data set is one batch.
        validation_data : tuple of x and y, optional
            Samples that are evaluated after each epoch, and never trained on.
        validation_split : float
            This part of the samples, in [0, 1), is set aside for the same purpose: the last ones,
            as they stand before any shuffling.
        shuffle : bool
            Whether each epoch has a new random order.
        tail : {"keep", "drop", "merge"}
            What becomes of the last samples of an epoch if they do not fill a batch: "keep" trains
            them as a smaller batch (a single one, which has no variance, is joined to the batch
            before if the net has batch normalization), "drop" leaves them out, "merge" joins them
            to the batch before.
        progress : bool
            Whether to print a line an epoch to stdout, and on a terminal (if rich is installed) a
            moving bar; False prints nothing.
        resume : History, optional
            What an earlier `fit` of this same trainer returned.  Its epochs and iterations count
            on, and the orders of the samples follow those of the earlier epochs, so that 2 epochs
            and 3 more give the same bits as 5 at once.

        Returns
        -------
        History
            The record; with `resume` of all epochs, the earlier ones included.

        Raises
        ------
        ValueError
            If x and y differ in length or are empty; if a number is out of its range; if the
            batches would leave nothing to train on ("drop" with fewer samples than a batch), or
            one sample a batch to batch normalization; if nothing is left to `resume`.
        TypeError
            If x has another dtype than the net, if `resume` is no History of this trainer, or a
            number is no number.

        Warns
        -----
        RuntimeWarning
            Once, if a loss is NaN or infinite.  The training goes on, as with most libraries; the
            callback `TerminateOnNaN` ends it.
        """
        self._check_resume(resume)
        epochs = check_epochs(epochs, 0 if resume is None else resume.epochs)
        samples = check_pair(x, y, self._accepts())
        train, validation = self._set_aside(*samples, validation_data, validation_split)
        batches = self._batches(len(train[0]), batch_size, shuffle, tail, resume)
        self.history = self._new_history(batches, epochs, resume)
        bar = make_progress() if progress else None
        hooks = CallbackList([*([bar] if bar else []), *self.callbacks], self)
        self.stop_training = False
        try:
            TrainingLoop(self, *train, batches, validation, hooks).run()
        finally:
            if bar is not None:
                bar.close()
        return self.history

    def step(self, x: Array, y: Array) -> float:
        """Make one update from one batch, outside of any epoch; the history does not count it.

        Afterwards `Parameter.grad` has the batch's gradients; the layers have forgotten the batch.

        Parameters
        ----------
        x : ndarray, shape (batch, ...)
            Samples, in the dtype of the net; or uint8 if it begins with a `Rescaling`.
        y : ndarray, shape (batch, ...)
            Targets, as the loss takes them.

        Returns
        -------
        float
            The mean loss of the batch before the update.

        Raises
        ------
        ValueError, TypeError
            As in `fit`.
        """
        logs = self._steady.repeat(self, x, y)
        if logs is None:
            logs = self._train_batch(*check_pair(x, y, self._accepts()))
        return logs["loss"]

    # -- evaluation ------------------------------------------------------------------------------

    def evaluate(self, x: ArrayLike, y: ArrayLike) -> dict[str, float]:
        """Compute the loss and the metrics of samples, means over them, without training.

        Parameters
        ----------
        x : array_like, shape (n, ...)
            Samples, in the dtype of the net; or uint8 if it begins with a `Rescaling`.
        y : array_like, shape (n, ...)
            Targets, as the loss takes them.

        Returns
        -------
        dict of str to float
            "loss", and each metric by its name.

        Raises
        ------
        ValueError, TypeError
            As in `fit`.
        """
        return self._evaluate(*check_pair(x, y, self._accepts())).means()

    def predict(self, x: ArrayLike) -> Array:
        """Compute what the net says of samples, without training.

        Parameters
        ----------
        x : array_like, shape (n, ...)
            Samples, in the dtype of the net; or uint8 if it begins with a `Rescaling`.

        Returns
        -------
        ndarray, shape (n, ...)
            The outputs of the last layer: for a classifier usually logits, whose `argmax(axis=1)`
            is the class.

        Raises
        ------
        ValueError
            If there is no sample.
        TypeError
            If x has another dtype than the net.
        """
        samples = check_samples(x, self._accepts())
        result: Array | None = None
        for part in _slices(len(samples)):
            y = self.net.forward(samples[part], training=False)
            if result is None:
                result = np.empty((len(samples), *y.shape[1:]), y.dtype)
            result[part] = y
        assert result is not None
        return result

    # -- one batch, and many ---------------------------------------------------------------------

    def _train_batch(self, x: Array, y: Array) -> Logs:
        """Make one update; return the loss and the metrics of before it."""
        logs = self._steady.repeat(self, x, y)
        return self._steady.run(self, x, y) if logs is None else logs

    def _gradients(self, x: Array, y: Array) -> Logs:
        """Forward and backward by layers and loss; return the loss and the metrics."""
        predictions = self.net.forward(x, training=True)
        values = self._measure(predictions, y)
        self.net.backward_parameters(self.loss.backward())
        return values

    def _evaluate(self, x: Array, y: Array) -> Means:
        means = Means()
        for part in _slices(len(x)):
            predictions = self.net.forward(x[part], training=False)
            means.add(self._measure(predictions, y[part]), len(predictions))
        return means

    def _measure(self, predictions: Array, y: Array) -> Logs:
        values = {"loss": self.loss.forward(predictions, y)}
        for name, metric in self.metrics.items():
            values[name] = metric(predictions, y)
        return values

    # -- what a training starts from -------------------------------------------------------------

    def _accepts(self) -> Accepted:
        """Return what the net takes: asked for once, since a net's parameters take time to find."""
        if self._accepted is None or self._accepted[0] is not self.net:
            self._accepted = self.net, accepted(self.net)
        return self._accepted[1]

    def _set_aside(
        self,
        x: Array,
        y: Array,
        validation_data: tuple[ArrayLike, ArrayLike] | None,
        validation_split: float,
    ) -> tuple[Pair, Pair | None]:
        """Return the samples to train on, and those to validate with."""
        if validation_data is None:
            x, y, x_val, y_val = train_validation_split(x, y, validation_split)
            return (x, y), (x_val, y_val) if len(x_val) else None
        if validation_split != 0:
            raise ValueError("give validation_data or validation_split, not both")
        if not isinstance(validation_data, tuple | list) or len(validation_data) != 2:
            raise TypeError("validation_data is a pair (x, y)")
        return (x, y), check_pair(*validation_data, self._accepts(), prefix="validation ")

    def _check_resume(self, resume: History | None) -> None:
        if resume is None:
            return
        if not isinstance(resume, History):
            raise TypeError(f"resume takes the History of an earlier fit, not {resume!r}")
        if resume.trainer_id != self._id:
            raise TypeError("resume takes the History of a fit of this trainer, not of another one")

    def _batches(
        self, n: int, batch_size: int, shuffle: bool, tail: Tail, resume: History | None
    ) -> MiniBatches:
        batches = MiniBatches(
            n,
            batch_size,
            shuffle=shuffle,
            tail=tail,
            min_tail=2 if has_batch_norm(self.net) else 1,  # one value has no variance
            rng=self.rng,
        )
        if resume is not None and shuffle:
            batches.seed = resume.order_seed
        return batches

    def _new_history(self, batches: MiniBatches, epochs: int, resume: History | None) -> History:
        plan = Accounting(
            samples=batches.n_samples,
            batch_size=min(batches.batch_size, batches.n_samples),
            iterations_per_epoch=batches.iterations_per_epoch,
            epochs=epochs,
            tail=batches.tail_description or "none: the batch size divides the samples",
        )
        if resume is not None:
            return resume.continued(plan)
        return History(plan, trainer_id=self._id, order_seed=batches.seed)


def _slices(n: int) -> Iterator[slice]:
    """Consecutive parts of n samples, of bounded size."""
    for start in range(0, n, _EVALUATION_ROWS):
        yield slice(start, min(start + _EVALUATION_ROWS, n))
