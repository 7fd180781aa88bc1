"""Layers as pairs of functions: ``forward(...) -> (out, cache)``, ``backward(dout, cache)``."""

from fastbn.compat.cs231n.layers.affine import (
    affine_backward,
    affine_forward,
    relu_backward,
    relu_forward,
)
from fastbn.compat.cs231n.layers.batchnorm import (
    batchnorm_backward,
    batchnorm_backward_alt,
    batchnorm_forward,
    spatial_batchnorm_backward,
    spatial_batchnorm_forward,
)
from fastbn.compat.cs231n.layers.dropout import dropout_backward, dropout_forward
from fastbn.compat.cs231n.layers.layernorm import layernorm_backward, layernorm_forward
from fastbn.compat.cs231n.layers.losses import softmax_loss, svm_loss

__all__ = [
    "affine_backward",
    "affine_forward",
    "batchnorm_backward",
    "batchnorm_backward_alt",
    "batchnorm_forward",
    "dropout_backward",
    "dropout_forward",
    "layernorm_backward",
    "layernorm_forward",
    "relu_backward",
    "relu_forward",
    "softmax_loss",
    "spatial_batchnorm_backward",
    "spatial_batchnorm_forward",
    "svm_loss",
]
