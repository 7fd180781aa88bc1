"""The layers, optimizers and trainer of the book "Deep Learning from Scratch", on fastbn's kernels.

The modules have the names that they have in the book's folder ``common``: replace ``common`` by
``fastbn.compat.dlfs`` in the imports.  All names can be imported from this package too.

What is the same: names, arguments, attributes, eps, dropout that scales at test time, flattening,
results up to rounding, and random numbers, which come from NumPy's global generator as there.
Layers keep the very arrays they are given, and optimizers update them in place.  ``params`` and
``grads`` are those of the second volume: lists that layers and optimizers share.  What is not: bad
arguments raise ValueError or TypeError before anything is written, and a batch of one sample is a
bad argument to batch normalization in training.
"""

from fastbn.compat.dlfs import gradient, layers, multi_layer_net_extend, optimizer, trainer
from fastbn.compat.dlfs.gradient import numerical_gradient
from fastbn.compat.dlfs.layers import (
    Affine,
    BatchNormalization,
    Dropout,
    Relu,
    Sigmoid,
    SoftmaxWithLoss,
)
from fastbn.compat.dlfs.multi_layer_net_extend import MultiLayerNetExtend
from fastbn.compat.dlfs.optimizer import SGD, AdaGrad, Adam, Momentum, Nesterov, RMSprop
from fastbn.compat.dlfs.trainer import Trainer

__all__ = [
    "SGD",
    "AdaGrad",
    "Adam",
    "Affine",
    "BatchNormalization",
    "Dropout",
    "Momentum",
    "MultiLayerNetExtend",
    "Nesterov",
    "RMSprop",
    "Relu",
    "Sigmoid",
    "SoftmaxWithLoss",
    "Trainer",
    "gradient",
    "layers",
    "multi_layer_net_extend",
    "numerical_gradient",
    "optimizer",
    "trainer",
]
