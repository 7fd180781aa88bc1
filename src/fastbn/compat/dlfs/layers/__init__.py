"""Layers as objects: ``forward(x)``, ``backward(dout)``, gradients as attributes."""

from fastbn.compat.dlfs.layers.activation import Relu, Sigmoid
from fastbn.compat.dlfs.layers.affine import Affine
from fastbn.compat.dlfs.layers.batchnorm import BatchNormalization
from fastbn.compat.dlfs.layers.dropout import Dropout
from fastbn.compat.dlfs.layers.loss import SoftmaxWithLoss

__all__ = ["Affine", "BatchNormalization", "Dropout", "Relu", "Sigmoid", "SoftmaxWithLoss"]
