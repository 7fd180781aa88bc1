"""Callbacks: what is called before and after the training, its epochs and its batches."""

from fastbn.train.callbacks.base import Callback, CallbackList, Logs
from fastbn.train.callbacks.cosine_decay import CosineDecay
from fastbn.train.callbacks.early_stopping import EarlyStopping
from fastbn.train.callbacks.lambda_callback import LambdaCallback
from fastbn.train.callbacks.terminate_on_nan import TerminateOnNaN

__all__ = [
    "Callback",
    "CallbackList",
    "CosineDecay",
    "EarlyStopping",
    "LambdaCallback",
    "Logs",
    "TerminateOnNaN",
]
