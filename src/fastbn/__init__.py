"""fastbn: batch normalization, matrix products and training of small nets at the CPU's speed.

``fastbn.matmul``, ``batch_norm`` and the other functions work on NumPy arrays; ``Linear``,
``BatchNorm1d`` and the other layers hold parameters; ``Trainer`` trains a ``Sequential`` of them in
mini-batches.  Required: NumPy alone.
"""

from typing import TYPE_CHECKING, Any

from fastbn._core import __version__
from fastbn.functional import (
    batch_norm,
    batch_norm_backward,
    cross_entropy,
    cross_entropy_backward,
    gelu,
    gelu_backward,
    gemm,
    leaky_relu,
    leaky_relu_backward,
    linear,
    linear_backward,
    linear_bn_relu,
    linear_bn_relu_backward,
    matmul,
    relu,
    relu_backward,
    sigmoid,
    sigmoid_backward,
    softmax,
    softmax_backward,
    tanh,
    tanh_backward,
)
from fastbn.headers import get_include
from fastbn.layers import (
    GELU,
    BatchNorm1d,
    BatchNorm2d,
    Dropout,
    Flatten,
    Layer,
    LeakyReLU,
    Linear,
    Parameter,
    ReLU,
    Rescaling,
    Sequential,
    Sigmoid,
    Softmax,
    Tanh,
)
from fastbn.losses import BCEWithLogitsLoss, CrossEntropyLoss, MSELoss
from fastbn.optim import SGD, Adam, AdamW
from fastbn.runtime import get_num_threads, info, set_num_threads, threads, use_target

if TYPE_CHECKING:
    from fastbn import datasets
    from fastbn.train import Callback, EarlyStopping, History, Trainer

__all__ = [
    "GELU",
    "SGD",
    "Adam",
    "AdamW",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "Callback",
    "CrossEntropyLoss",
    "Dropout",
    "EarlyStopping",
    "Flatten",
    "History",
    "Layer",
    "LeakyReLU",
    "Linear",
    "MSELoss",
    "Parameter",
    "ReLU",
    "Rescaling",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "Trainer",
    "__version__",
    "batch_norm",
    "batch_norm_backward",
    "cross_entropy",
    "cross_entropy_backward",
    "datasets",
    "gelu",
    "gelu_backward",
    "gemm",
    "get_include",
    "get_num_threads",
    "info",
    "leaky_relu",
    "leaky_relu_backward",
    "linear",
    "linear_backward",
    "linear_bn_relu",
    "linear_bn_relu_backward",
    "matmul",
    "relu",
    "relu_backward",
    "set_num_threads",
    "sigmoid",
    "sigmoid_backward",
    "softmax",
    "softmax_backward",
    "tanh",
    "tanh_backward",
    "threads",
    "use_target",
]

# Who only multiplies matrices should not wait for the training loop and the file readers, which
# bring in a third of all modules: these names are imported when they are first used.
_LAZY = {
    "Callback": "fastbn.train",
    "EarlyStopping": "fastbn.train",
    "History": "fastbn.train",
    "Trainer": "fastbn.train",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in ("datasets", "train"):
        return import_module(f"fastbn.{name}")
    if name not in _LAZY:
        raise AttributeError(f"module 'fastbn' has no attribute {name!r}")
    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
