"""Training of a model by one of the update rules."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from fastbn.compat.cs231n import optim
from fastbn.functional import Array

__all__ = ["Solver"]


class Model(Protocol):
    """What a `Solver` trains."""

    params: dict[str, Array]

    def loss(self, X: Array, y: Array | None = None) -> Any:
        """Return ``(loss, grads)``, or the scores where `y` is None."""


class Solver:
    """Trains a model in mini-batches drawn with replacement, and keeps its best parameters.

    Parameters
    ----------
    model : object
        ``model.params`` is a dict of arrays; ``model.loss(X, y)`` returns the loss and a dict of
        gradients by the same names, ``model.loss(X)`` the scores of shape (n, classes).
    data : mapping
        Arrays ``X_train``, ``y_train``, ``X_val`` and ``y_val``.
    update_rule : {'sgd', 'sgd_momentum', 'rmsprop', 'adam'}
    optim_config : mapping, optional
        Of the update rule; each parameter gets a copy.
    lr_decay : float
        Multiplies the learning rate after each epoch.
    batch_size, num_epochs : int
    num_train_samples, num_val_samples : int or None
        How many samples are drawn for the accuracies; None takes all.
    checkpoint_name : str, optional
        After each epoch the model and the record are pickled to ``<name>_epoch_<n>.pkl``.
    print_every : int
        Iterations between lines.
    verbose : bool
        Whether anything is printed.

    Attributes
    ----------
    loss_history : list of float
        One value an iteration.
    train_acc_history, val_acc_history : list of float
        After the first iteration, each epoch and the last iteration.
    best_val_acc : float
    best_params : dict of ndarray
        Copies of the parameters at `best_val_acc`; `train` puts them into the model at its end.
    epoch : int

    Raises
    ------
    ValueError
        If the update rule is unknown, or the data do not fit.

    Notes
    -----
    The interface is that of ``cs231n.solver``, and so are the random numbers: they come from
    NumPy's global generator, so that a seeded training gives the same losses.
    """

    def __init__(
        self,
        model: Model,
        data: Mapping[str, Array],
        *,
        update_rule: str = "sgd",
        optim_config: Mapping[str, Any] | None = None,
        lr_decay: float = 1.0,
        batch_size: int = 100,
        num_epochs: int = 10,
        num_train_samples: int | None = 1000,
        num_val_samples: int | None = None,
        checkpoint_name: str | None = None,
        print_every: int = 10,
        verbose: bool = True,
    ) -> None:
        if update_rule not in optim.__all__:
            raise ValueError(f"update_rule must be one of {optim.__all__}, got {update_rule!r}")
        self.model = model
        self.X_train, self.y_train = _pair(data, "train")
        self.X_val, self.y_val = _pair(data, "val")
        self.update_rule = getattr(optim, update_rule)
        self.optim_config = dict(optim_config or {})
        self.lr_decay, self.batch_size, self.num_epochs = lr_decay, batch_size, num_epochs
        self.num_train_samples, self.num_val_samples = num_train_samples, num_val_samples
        self.checkpoint_name = checkpoint_name
        self.print_every, self.verbose = print_every, verbose
        self._reset()

    def _reset(self) -> None:
        self.epoch = 0
        self.best_val_acc = 0.0
        self.best_params: dict[str, Array] = {}
        self.loss_history: list[float] = []
        self.train_acc_history: list[float] = []
        self.val_acc_history: list[float] = []
        self.optim_configs = {name: dict(self.optim_config) for name in self.model.params}

    def train(self) -> None:
        """Run `num_epochs` epochs of ``len(X_train) // batch_size`` iterations, at least one."""
        per_epoch = max(len(self.X_train) // self.batch_size, 1)
        iterations = self.num_epochs * per_epoch
        for done in range(1, iterations + 1):
            self._step()
            if (done - 1) % self.print_every == 0:
                self._print(f"(Iteration {done} / {iterations}) loss: {self.loss_history[-1]:f}")
            if done % per_epoch == 0:
                self._end_epoch()
            if done in (1, iterations) or done % per_epoch == 0:
                self._evaluate()
        self.model.params = self.best_params

    def _step(self) -> None:
        """Update all parameters by one batch."""
        batch = np.random.choice(len(self.X_train), self.batch_size)  # noqa: NPY002 (see Notes)
        loss, grads = self.model.loss(self.X_train[batch], self.y_train[batch])
        self.loss_history.append(loss)
        params, configs = self.model.params, self.optim_configs
        for name, w in params.items():
            params[name], configs[name] = self.update_rule(w, grads[name], configs[name])

    def _end_epoch(self) -> None:
        self.epoch += 1
        for config in self.optim_configs.values():
            config["learning_rate"] *= self.lr_decay

    def _evaluate(self) -> None:
        """Record the accuracies, and the parameters if they are the best so far."""
        train_acc = self.check_accuracy(self.X_train, self.y_train, self.num_train_samples)
        val_acc = self.check_accuracy(self.X_val, self.y_val, self.num_val_samples)
        self.train_acc_history.append(train_acc)
        self.val_acc_history.append(val_acc)
        self._save_checkpoint()
        self._print(
            f"(Epoch {self.epoch} / {self.num_epochs}) "
            f"train acc: {train_acc:f}; val_acc: {val_acc:f}"
        )
        if val_acc > self.best_val_acc:
            self.best_val_acc = val_acc
            self.best_params = {name: w.copy() for name, w in self.model.params.items()}

    def check_accuracy(
        self, X: Array, y: Array, num_samples: int | None = None, batch_size: int = 100
    ) -> float:
        """Share of the samples whose highest score is that of their class.

        Parameters
        ----------
        X : ndarray, shape (n, ...)
        y : ndarray of integers, shape (n,)
        num_samples : int, optional
            If there are more samples, so many are drawn with replacement.
        batch_size : int
            Samples of one call of the model.

        Returns
        -------
        float
        """
        if num_samples is not None and len(X) > num_samples:
            drawn = np.random.choice(len(X), num_samples)  # noqa: NPY002 (see Notes)
            X, y = X[drawn], y[drawn]
        batches = (X[start : start + batch_size] for start in range(0, len(X), batch_size))
        predicted = np.hstack([np.argmax(self.model.loss(batch), axis=1) for batch in batches])
        return float(np.mean(predicted == y))

    def _save_checkpoint(self) -> None:
        if self.checkpoint_name is None:
            return
        state = {name: value for name, value in vars(self).items() if name[:2] not in ("X_", "y_")}
        filename = f"{self.checkpoint_name}_epoch_{self.epoch}.pkl"
        self._print(f'Saving checkpoint to "{filename}"')
        with open(filename, "wb") as file:
            pickle.dump(state, file)

    def _print(self, line: str) -> None:
        if self.verbose:
            print(line)


def _pair(data: Mapping[str, Array], part: str) -> tuple[Array, Array]:
    X, y = data[f"X_{part}"], data[f"y_{part}"]
    if len(X) != len(y) or len(X) == 0:
        raise ValueError(f"X_{part} has shape {X.shape}, but y_{part} has {y.shape}")
    return X, y
