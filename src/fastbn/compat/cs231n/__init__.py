"""The layer functions, update rules and solver of Stanford's course CS231n, on fastbn's kernels.

The modules have the names that they have there: replace ``cs231n`` by ``fastbn.compat.cs231n`` in
the imports.  All names can be imported from this package too.

What is the same: names, arguments, results up to rounding, ``bn_param`` and ``config`` that are
changed by the call, and random numbers, which come from NumPy's global generator as there.  What is
not: caches of normalization are fastbn's own and mean something to the backward function alone;
bad arguments raise ValueError or TypeError before anything is written, and a batch of one sample is
a bad argument to batch normalization in training.
"""

from fastbn.compat.cs231n import layer_utils, layers, optim, solver
from fastbn.compat.cs231n.layer_utils import (
    affine_bn_relu_backward,
    affine_bn_relu_forward,
    affine_relu_backward,
    affine_relu_forward,
)
from fastbn.compat.cs231n.layers import (
    affine_backward,
    affine_forward,
    batchnorm_backward,
    batchnorm_backward_alt,
    batchnorm_forward,
    dropout_backward,
    dropout_forward,
    layernorm_backward,
    layernorm_forward,
    relu_backward,
    relu_forward,
    softmax_loss,
    spatial_batchnorm_backward,
    spatial_batchnorm_forward,
    svm_loss,
)
from fastbn.compat.cs231n.optim import adam, rmsprop, sgd, sgd_momentum
from fastbn.compat.cs231n.solver import Solver

__all__ = [
    "Solver",
    "adam",
    "affine_backward",
    "affine_bn_relu_backward",
    "affine_bn_relu_forward",
    "affine_forward",
    "affine_relu_backward",
    "affine_relu_forward",
    "batchnorm_backward",
    "batchnorm_backward_alt",
    "batchnorm_forward",
    "dropout_backward",
    "dropout_forward",
    "layer_utils",
    "layernorm_backward",
    "layernorm_forward",
    "layers",
    "optim",
    "relu_backward",
    "relu_forward",
    "rmsprop",
    "sgd",
    "sgd_momentum",
    "softmax_loss",
    "solver",
    "spatial_batchnorm_backward",
    "spatial_batchnorm_forward",
    "svm_loss",
]
