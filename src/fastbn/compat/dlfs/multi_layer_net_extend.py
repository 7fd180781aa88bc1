"""A net of fully connected layers with batch normalization, dropout and weight decay."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from fastbn.compat.dlfs.gradient import numerical_gradient
from fastbn.compat.dlfs.layers import (
    Affine,
    BatchNormalization,
    Dropout,
    Relu,
    Sigmoid,
    SoftmaxWithLoss,
)
from fastbn.functional import Array

__all__ = ["MultiLayerNetExtend"]

ACTIVATIONS: dict[str, type[Any]] = {"relu": Relu, "sigmoid": Sigmoid}


class MultiLayerNetExtend:
    """Affine, batch normalization, activation and dropout for each hidden layer, then Affine.

    Parameters
    ----------
    input_size : int
    hidden_size_list : sequence of int
    output_size : int
    activation : {'relu', 'sigmoid'}
    weight_init_std : float or {'relu', 'he', 'sigmoid', 'xavier'}
        Deviation of the initial weights; by the first two names sqrt(2 / inputs of the layer), by
        the others sqrt(1 / inputs).
    weight_decay_lambda : float
        The loss has half of it times the squares of all weights.
    use_dropout : bool
    dropout_ration : float
        Probability of dropping a value.
    use_batchnorm : bool

    Attributes
    ----------
    params : dict of ndarray
        W1, b1, gamma1, beta1, W2, ...: the arrays of the layers themselves.
    layers : OrderedDict
        Affine1, BatchNorm1, Activation_function1, Dropout1, Affine2, ...
    last_layer : SoftmaxWithLoss

    Raises
    ------
    ValueError
        If `activation` or `weight_init_std` is unknown.

    Notes
    -----
    The interface is that of ``common.multi_layer_net_extend`` in the book, and so are the initial
    weights: they come from NumPy's global generator.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size_list: Sequence[int],
        output_size: int,
        activation: str = "relu",
        weight_init_std: float | str = "relu",
        weight_decay_lambda: float = 0,
        use_dropout: bool = False,
        dropout_ration: float = 0.5,
        use_batchnorm: bool = False,
    ) -> None:
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {[*ACTIVATIONS]}, got {activation!r}")
        self.input_size, self.output_size = input_size, output_size
        self.hidden_size_list = hidden_size_list
        self.hidden_layer_num = len(hidden_size_list)
        self.use_dropout, self.use_batchnorm = use_dropout, use_batchnorm
        self.weight_decay_lambda = weight_decay_lambda
        self.params: dict[str, Array] = {}
        self.layers: OrderedDict[str, Any] = OrderedDict()
        self._draw_weights(weight_init_std)
        for i in range(1, self.hidden_layer_num + 1):
            self._add_affine(i)
            if use_batchnorm:
                self._add_batch_norm(i)
            self.layers[f"Activation_function{i}"] = ACTIVATIONS[activation]()
            if use_dropout:
                self.layers[f"Dropout{i}"] = Dropout(dropout_ration)
        self._add_affine(self.hidden_layer_num + 1)
        self.last_layer = SoftmaxWithLoss()

    def _draw_weights(self, deviation: float | str) -> None:
        sizes = [self.input_size, *self.hidden_size_list, self.output_size]
        for i, (n_in, n_out) in enumerate(pairwise(sizes), start=1):
            normal = np.random.randn(n_in, n_out)  # noqa: NPY002 (see Notes)
            self.params[f"W{i}"] = _initial_deviation(deviation, n_in) * normal
            self.params[f"b{i}"] = np.zeros(n_out)

    def _add_affine(self, i: int) -> None:
        self.layers[f"Affine{i}"] = Affine(self.params[f"W{i}"], self.params[f"b{i}"])

    def _add_batch_norm(self, i: int) -> None:
        size = self.hidden_size_list[i - 1]
        gamma, beta = np.ones(size), np.zeros(size)
        self.params[f"gamma{i}"], self.params[f"beta{i}"] = gamma, beta
        self.layers[f"BatchNorm{i}"] = BatchNormalization(gamma, beta)

    def predict(self, x: Array, train_flg: bool = False) -> Array:
        """Scores of shape (N, output_size) for x of shape (N, ...)."""
        for name, layer in self.layers.items():
            depends = "Dropout" in name or "BatchNorm" in name
            x = layer.forward(x, train_flg) if depends else layer.forward(x)
        return x

    def loss(self, x: Array, t: Array, train_flg: bool = False) -> float:
        """Cross-entropy with the weight decay, for targets t as in `SoftmaxWithLoss`."""
        scores = self.predict(x, train_flg)
        weights = (self.params[f"W{i}"] for i in range(1, self.hidden_layer_num + 2))
        squares = sum(float(np.sum(W**2)) for W in weights) if self.weight_decay_lambda else 0.0
        return self.last_layer.forward(scores, t) + 0.5 * self.weight_decay_lambda * squares

    def accuracy(self, X: Array, T: Array) -> float:
        """Share of the samples that are classified rightly."""
        labels = T if T.ndim == 1 else T.argmax(axis=1)
        return float(np.mean(self.predict(X).argmax(axis=1) == labels))

    def numerical_gradient(self, X: Array, T: Array) -> dict[str, Array]:
        """Gradients of the training loss by differences, by the names of `params`."""
        return {
            name: numerical_gradient(lambda _: self.loss(X, T, train_flg=True), parameter)
            for name, parameter in self.params.items()
        }

    def gradient(self, x: Array, t: Array) -> dict[str, Array]:
        """Gradients of the training loss, by the names of `params`."""
        self.loss(x, t, train_flg=True)
        dout: Array = self.last_layer.backward(1)
        for layer in reversed(self.layers.values()):
            dout = layer.backward(dout)
        grads: dict[str, Array] = {}
        for i in range(1, self.hidden_layer_num + 2):
            affine = self.layers[f"Affine{i}"]
            grads[f"W{i}"] = affine.dW
            if self.weight_decay_lambda:
                grads[f"W{i}"] = affine.dW + self.weight_decay_lambda * self.params[f"W{i}"]
            grads[f"b{i}"] = affine.db
            if f"BatchNorm{i}" in self.layers:
                norm = self.layers[f"BatchNorm{i}"]
                grads[f"gamma{i}"], grads[f"beta{i}"] = norm.dgamma, norm.dbeta
        return grads


def _initial_deviation(deviation: float | str, inputs: int) -> float:
    if not isinstance(deviation, str):
        return deviation
    numerators = {"relu": 2.0, "he": 2.0, "sigmoid": 1.0, "xavier": 1.0}
    if deviation.lower() not in numerators:
        raise ValueError(
            f"weight_init_std must be a number or one of {[*numerators]}, got {deviation!r}"
        )
    return math.sqrt(numerators[deviation.lower()] / inputs)
