"""Layers: functions with parameters, gradients and state; one small file each."""

from fastbn.layers.activation import GELU, LeakyReLU, ReLU, Sigmoid, Softmax, Tanh
from fastbn.layers.base import Layer
from fastbn.layers.batchnorm import BatchNorm1d, BatchNorm2d
from fastbn.layers.dropout import Dropout
from fastbn.layers.flatten import Flatten
from fastbn.layers.linear import Linear
from fastbn.layers.parameter import Parameter
from fastbn.layers.rescaling import Rescaling
from fastbn.layers.sequential import Sequential

__all__ = [
    "GELU",
    "BatchNorm1d",
    "BatchNorm2d",
    "Dropout",
    "Flatten",
    "Layer",
    "LeakyReLU",
    "Linear",
    "Parameter",
    "ReLU",
    "Rescaling",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Tanh",
]
