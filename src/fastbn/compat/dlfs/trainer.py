"""Training of a network in mini-batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from fastbn.compat.dlfs.optimizer import SGD, AdaGrad, Adam, Momentum, Nesterov, RMSprop
from fastbn.functional import Array

__all__ = ["Trainer"]

OPTIMIZERS: dict[str, type[Any]] = {
    optimizer.__name__.lower(): optimizer
    for optimizer in (SGD, Momentum, Nesterov, AdaGrad, RMSprop, Adam)
}


class Network(Protocol):
    """What a `Trainer` trains."""

    params: dict[str, Array]

    def gradient(self, x: Array, t: Array) -> dict[str, Array]:
        """Gradients of the loss by the names of `params`."""

    def loss(self, x: Array, t: Array) -> float:
        """Loss of a batch."""

    def accuracy(self, x: Array, t: Array) -> float:
        """Share of samples that are classified rightly."""


class Trainer:
    """Trains a network by mini-batches that are drawn with replacement.

    Parameters
    ----------
    network : object
        With ``params``, ``gradient(x, t)``, ``loss(x, t)`` and ``accuracy(x, t)``.
    x_train, t_train, x_test, t_test : ndarray
    epochs : int
    mini_batch_size : int
    optimizer : str
        'SGD', 'Momentum', 'Nesterov', 'AdaGrad', 'RMSprop' or 'Adam', in any case.
    optimizer_param : mapping, optional
        Arguments of the optimizer; ``lr=0.01`` by default.
    evaluate_sample_num_per_epoch : int, optional
        So many samples, the first ones, are taken for the accuracies; all by default.
    verbose : bool
        Whether anything is printed.

    Attributes
    ----------
    network, optimizer : object
    train_loss_list : list of float
        After each update, of the batch it was computed from.
    train_acc_list, test_acc_list : list of float
        At the first iteration of each epoch.
    iter_per_epoch : float
        Samples by batch size, at least 1; not rounded.
    max_iter, current_iter, current_epoch : int

    Raises
    ------
    ValueError
        If the optimizer is unknown or samples and targets differ in number.

    Notes
    -----
    The interface is that of ``common.trainer`` in the book, and so are the random numbers: they
    come from NumPy's global generator, so that a seeded training gives the same losses.
    """

    def __init__(
        self,
        network: Network,
        x_train: Array,
        t_train: Array,
        x_test: Array,
        t_test: Array,
        epochs: int = 20,
        mini_batch_size: int = 100,
        optimizer: str = "SGD",
        optimizer_param: Mapping[str, float] | None = None,
        evaluate_sample_num_per_epoch: int | None = None,
        verbose: bool = True,
    ) -> None:
        for part, x, t in (("train", x_train, t_train), ("test", x_test, t_test)):
            if len(x) != len(t) or len(x) == 0:
                raise ValueError(f"x_{part} has shape {x.shape}, but t_{part} has {t.shape}")
        if optimizer.lower() not in OPTIMIZERS:
            raise ValueError(f"optimizer must be one of {[*OPTIMIZERS]}, got {optimizer!r}")
        self.network, self.verbose = network, verbose
        self.x_train, self.t_train = x_train, t_train
        self.x_test, self.t_test = x_test, t_test
        self.epochs, self.batch_size = epochs, mini_batch_size
        self.evaluate_sample_num_per_epoch = evaluate_sample_num_per_epoch
        arguments = {"lr": 0.01} if optimizer_param is None else optimizer_param
        self.optimizer = OPTIMIZERS[optimizer.lower()](**arguments)
        self.train_size = len(x_train)
        self.iter_per_epoch = max(self.train_size / mini_batch_size, 1)
        self.max_iter = int(epochs * self.iter_per_epoch)
        self.current_iter = self.current_epoch = 0
        self.train_loss_list: list[float] = []
        self.train_acc_list: list[float] = []
        self.test_acc_list: list[float] = []

    def train_step(self) -> None:
        """Update the network by one batch, and record its loss after the update."""
        batch = np.random.choice(self.train_size, self.batch_size)  # noqa: NPY002 (see Notes)
        x, t = self.x_train[batch], self.t_train[batch]
        self.optimizer.update(self.network.params, self.network.gradient(x, t))
        self.train_loss_list.append(self.network.loss(x, t))
        self._print(f"train loss:{self.train_loss_list[-1]}")
        if self.current_iter % self.iter_per_epoch == 0:
            self._evaluate()
        self.current_iter += 1

    def _evaluate(self) -> None:
        self.current_epoch += 1
        samples = slice(self.evaluate_sample_num_per_epoch)
        accuracy = self.network.accuracy
        self.train_acc_list.append(accuracy(self.x_train[samples], self.t_train[samples]))
        self.test_acc_list.append(accuracy(self.x_test[samples], self.t_test[samples]))
        self._print(
            f"=== epoch:{self.current_epoch}, train acc:{self.train_acc_list[-1]}, "
            f"test acc:{self.test_acc_list[-1]} ==="
        )

    def train(self) -> None:
        """Make `max_iter` updates, and measure the accuracy on all test samples."""
        for _ in range(self.max_iter):
            self.train_step()
        accuracy = self.network.accuracy(self.x_test, self.t_test)
        self._print(f"final test accuracy:{accuracy}")

    def _print(self, line: str) -> None:
        if self.verbose:
            print(line)
