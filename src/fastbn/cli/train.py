"""`fastbn train`: train a classifier, and show what every number means."""

from __future__ import annotations

import argparse

import numpy as np

import fastbn
from fastbn.bench.environment import held_back
from fastbn.cli.comparison import Comparison, compare
from fastbn.cli.data import load
from fastbn.cli.model import DEFAULTS, build_net, build_optimizer
from fastbn.cli.numpy_worker import Task
from fastbn.cli.options import add_options
from fastbn.cli.output import print_table, warn
from fastbn.cli.parser import Parser, UsageError
from fastbn.data import MiniBatches
from fastbn.layers import Sequential
from fastbn.losses import CrossEntropyLoss
from fastbn.optim import Optimizer
from fastbn.train.callbacks import CosineDecay, LambdaCallback
from fastbn.train.history import History
from fastbn.train.progress import EpochLines, make_progress
from fastbn.train.trainer import Trainer


def add_train(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("train", help="train a classifier on images or other samples")
    add_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Train, and print the results.

    Parameters
    ----------
    options : argparse.Namespace
        What the parser read.

    Raises
    ------
    UsageError
        If the data cannot be read, or the arguments do not fit them or one another.
    """
    session = Session(options)
    print_table(session.description(), title=f"fastbn {fastbn.__version__}")
    history = session.train()
    print()
    results = session.results(history)
    if options.compare:
        results += session.compare()
    print_table(results)


class Session:
    """One run of the command: the data, the net and its trainer.

    Parameters
    ----------
    options : argparse.Namespace

    Raises
    ------
    UsageError
        As `run`.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        lr, weight_decay = DEFAULTS[options.optimizer]
        self.lr: float = lr if options.lr is None else options.lr
        self.weight_decay: float = (
            weight_decay if options.weight_decay is None else options.weight_decay
        )
        self.name, self.data = load(options.data, options.dtype)
        self.sizes = (self.data.x_train.shape[1], *options.hidden, self.data.n_classes)
        self.unit = "images" if len(self.data.feature_shape) > 1 else "samples"
        self._check_batches()
        try:
            if options.threads is not None:
                fastbn.set_num_threads(options.threads)
            net_rng, order_rng = np.random.default_rng(options.seed).spawn(2)
            self.net, optimizer = self._build(net_rng)
        except (ValueError, MemoryError) as error:
            raise UsageError(str(error) or "not enough memory for this net") from error
        self.trainer = Trainer(self.net, CrossEntropyLoss(), optimizer, rng=order_rng)

    def _check_batches(self) -> None:
        options, n = self.options, len(self.data.x_train)
        if options.batch_norm and min(options.batch_size, n) == 1:
            raise UsageError(
                "argument --batch-size: batch normalization takes the variance of a batch, "
                "which 1 sample has not: use 2 or more, or --no-batch-norm"
            )
        try:
            MiniBatches(n, options.batch_size, tail=options.tail, rng=0)
        except ValueError as error:
            raise UsageError(f"argument --tail: {error}") from error

    def _build(self, rng: np.random.Generator) -> tuple[Sequential, Optimizer]:
        options = self.options
        net = build_net(self.sizes, batch_norm=options.batch_norm, dtype=options.dtype, rng=rng)
        optimizer = build_optimizer(
            net,
            options.optimizer,
            lr=self.lr,
            momentum=options.momentum,
            weight_decay=self.weight_decay,
        )
        return net, optimizer

    # -- what is shown ---------------------------------------------------------------------------

    def description(self) -> list[tuple[str, str]]:
        """Return the data, the net, the optimizer and the machine as rows of a table."""
        data, options = self.data, self.options
        shape = " x ".join(map(str, data.feature_shape))
        parameters = sum(p.data.size for p in self.net.parameters())
        layer = " - BN - ReLU" if options.batch_norm else " - ReLU"
        hidden = "".join(f" - {size}{layer}" for size in options.hidden)
        momentum = f", momentum {options.momentum:g}" if options.optimizer == "sgd" else ""
        return [
            (
                "data",
                f"{self.name}: {len(data.x_train):,} training and {len(data.x_test):,} test "
                f"{self.unit} of {shape}, {data.n_classes} classes",
            ),
            (
                "net",
                f"{self.sizes[0]}{hidden} - {self.sizes[-1]}  "
                f"({parameters:,} parameters, {options.dtype})",
            ),
            (
                "optimizer",
                f"{options.optimizer}: learning rate {self.lr:g} along a cosine to 0{momentum}, "
                f"weight decay {self.weight_decay:g}",
            ),
            ("machine", f"{fastbn.info()['target']}, {_count(fastbn.get_num_threads(), 'thread')}"),
        ]

    def results(self, history: History) -> list[tuple[str, str]]:
        """Return the test accuracy and the speed of the training as rows of a table."""
        accuracies = history.history["val_accuracy"]
        best = max(range(len(accuracies)), key=accuracies.__getitem__)
        return [
            (
                "test accuracy",
                f"{accuracies[-1]:.2%} after the last epoch; "
                f"best {accuracies[best]:.2%} after epoch {best + 1}",
            ),
            (
                "trained",
                f"{_count(history.epochs, 'epoch')}, {_count(history.iterations, 'update')} in "
                f"{history.train_seconds:,.1f} s: {history.samples_per_second:,.0f} "
                f"{self.unit}/s",
            ),
        ]

    # -- what is done ----------------------------------------------------------------------------

    def train(self) -> History:
        """Train and validate, and show each epoch."""
        options, trainer = self.options, self.trainer
        lines = self._progress()
        accounting = LambdaCallback(
            on_train_begin=lambda _: print_table(
                trainer.history.accounting.rows(), title="accounting"
            )
        )
        trainer.callbacks = [accounting, CosineDecay(), *lines]
        try:
            return trainer.fit(
                self.data.x_train,
                self.data.y_train,
                epochs=options.epochs,
                batch_size=options.batch_size,
                validation_data=(self.data.x_test, self.data.y_test),
                tail=options.tail,
                progress=False,
            )
        finally:
            for line in lines:
                line.close()

    def _progress(self) -> list[EpochLines]:
        heading = f"{self.unit}/s"
        if self.options.quiet:
            return []
        if self.options.no_progress:
            return [EpochLines(speed_name=heading)]
        return [make_progress(speed_name=heading)]

    def compare(self) -> list[tuple[str, str]]:
        """Measure the same net in plain NumPy, and return the result as rows of a table."""
        options, x, y = self.options, self.data.x_train, self.data.y_train
        task = Task(
            sizes=self.sizes,
            batch_norm=options.batch_norm,
            dtype=options.dtype,
            optimizer=options.optimizer,
            momentum=options.momentum,
            weight_decay=self.weight_decay,
            samples=len(x),
            batch_size=min(options.batch_size, len(x)),
        )
        net, optimizer = self._build(np.random.default_rng(0))
        optimizer.lr = task.lr
        if changed := held_back(fastbn.get_num_threads()):
            warn(f"{', '.join(changed)} would slow NumPy down: it is measured without")
        try:
            return self._comparison_rows(compare(net, optimizer, x, y, task))
        except OSError as error:
            return [("plain NumPy", f"not measured: {error}")]

    def _comparison_rows(self, comparison: Comparison) -> list[tuple[str, str]]:
        threads = _count(comparison.threads, "thread")
        return [
            (
                "speed",
                f"fastbn {comparison.fastbn:,.0f} {self.unit}/s, "
                f"NumPy {comparison.numpy:,.0f}: {comparison.ratio:.2f} times as fast",
            ),
            (
                "",
                f"(the same net in plain NumPy; batch size {comparison.batch_size:,}, "
                f"{threads} each, medians of {comparison.rounds} interleaved rounds)",
            ),
        ]


def _count(n: int, word: str) -> str:
    return f"{n:,} {word}{'' if n == 1 else 's'}"
