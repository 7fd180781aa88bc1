"""The operations as functions: arrays in, arrays out, no state.

Each is a thin layer over the compiled module, which checks dtypes, shapes and sizes before it
writes anything.  Arrays are float32 or float64, all of one call the same; inputs may have any
strides, and be anything that NumPy can see without a copy (tensors of the CPU, by DLPack; what has
the buffer protocol); ``out=`` is an ndarray that is written in place and returned.  ``N`` is the
batch size, ``C`` the number of channels.  A backward function takes the gradient of a scalar with
respect to the forward's result and returns the gradients with respect to the forward's arguments.
"""

from fastbn.functional.activation import (
    gelu,
    gelu_backward,
    leaky_relu,
    leaky_relu_backward,
    relu,
    relu_backward,
    sigmoid,
    sigmoid_backward,
    softmax,
    softmax_backward,
    tanh,
    tanh_backward,
)
from fastbn.functional.array import Array, as_array, as_rows
from fastbn.functional.loss import cross_entropy, cross_entropy_backward
from fastbn.functional.matmul import matmul
from fastbn.functional.normalization import (
    LinearBatchNormReLUCache,
    batch_norm,
    batch_norm_backward,
    linear_bn_relu,
    linear_bn_relu_backward,
)
from fastbn.functional.product import gemm, linear, linear_backward

__all__ = [
    "Array",
    "LinearBatchNormReLUCache",
    "as_array",
    "as_rows",
    "batch_norm",
    "batch_norm_backward",
    "cross_entropy",
    "cross_entropy_backward",
    "gelu",
    "gelu_backward",
    "gemm",
    "leaky_relu",
    "leaky_relu_backward",
    "linear",
    "linear_backward",
    "linear_bn_relu",
    "linear_bn_relu_backward",
    "matmul",
    "relu",
    "relu_backward",
    "sigmoid",
    "sigmoid_backward",
    "softmax",
    "softmax_backward",
    "tanh",
    "tanh_backward",
]
