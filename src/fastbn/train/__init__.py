"""Training: the loop, its record, callbacks and metrics."""

from fastbn.train.accounting import Accounting
from fastbn.train.callbacks import (
    Callback,
    CosineDecay,
    EarlyStopping,
    LambdaCallback,
    TerminateOnNaN,
)
from fastbn.train.history import History
from fastbn.train.metrics import accuracy
from fastbn.train.progress import EpochLines, ProgressBar
from fastbn.train.trainer import Trainer

__all__ = [
    "Accounting",
    "Callback",
    "CosineDecay",
    "EarlyStopping",
    "EpochLines",
    "History",
    "LambdaCallback",
    "ProgressBar",
    "TerminateOnNaN",
    "Trainer",
    "accuracy",
]
