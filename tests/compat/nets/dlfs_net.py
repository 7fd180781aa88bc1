"""A net in the style of the book: Affine, batch normalization, activation, dropout, twice over.

The biases before batch normalization are not trained.  The mean takes them out again, so that their
gradient is nothing but rounding, and a rule that divides by its size would make full steps of it.
"""

from collections import OrderedDict

import numpy as np
from compat.plain_dlfs import (
    Affine,
    BatchNormalization,
    Dropout,
    Relu,
    Sigmoid,
    SoftmaxWithLoss,
    Trainer,
)


class Net:
    def __init__(self, sizes, dtype=np.float64, dropout_ratio=0.2, weight_decay=1e-3):
        self.hidden, self.weight_decay = len(sizes) - 2, weight_decay
        self.params, self.layers = {}, OrderedDict()
        for i in range(1, len(sizes)):
            W = np.random.randn(sizes[i - 1], sizes[i]) * np.sqrt(2 / sizes[i - 1])
            self.params[f"W{i}"] = W.astype(dtype)
        for i in range(1, len(sizes) - 1):
            self.params[f"gamma{i}"] = np.ones(sizes[i], dtype)
            self.params[f"beta{i}"] = np.zeros(sizes[i], dtype)
        p = self.params
        for i in range(1, len(sizes) - 1):
            self.layers[f"Affine{i}"] = Affine(p[f"W{i}"], np.zeros(sizes[i], dtype))
            self.layers[f"BatchNorm{i}"] = BatchNormalization(p[f"gamma{i}"], p[f"beta{i}"])
            self.layers[f"Activation{i}"] = Relu() if i % 2 else Sigmoid()
            self.layers[f"Dropout{i}"] = Dropout(dropout_ratio)
        i = len(sizes) - 1
        p[f"b{i}"] = np.zeros(sizes[i], dtype)
        self.layers[f"Affine{i}"] = Affine(p[f"W{i}"], p[f"b{i}"])
        self.last_layer = SoftmaxWithLoss()

    def predict(self, x, train_flg=False):
        for name, layer in self.layers.items():
            if "Dropout" in name or "BatchNorm" in name:
                x = layer.forward(x, train_flg)
            else:
                x = layer.forward(x)
        return x

    def loss(self, x, t, train_flg=False):
        squares = sum(np.sum(self.params[f"W{i}"] ** 2) for i in range(1, self.hidden + 2))
        scores = self.predict(x, train_flg)
        return self.last_layer.forward(scores, t) + 0.5 * self.weight_decay * squares

    def accuracy(self, x, t):
        return np.mean(self.predict(x).argmax(axis=1) == t)

    def gradient(self, x, t):
        self.loss(x, t, train_flg=True)
        dout = self.last_layer.backward()
        for layer in reversed(list(self.layers.values())):
            dout = layer.backward(dout)
        grads = {}
        for i in range(1, self.hidden + 2):
            affine = self.layers[f"Affine{i}"]
            grads[f"W{i}"] = affine.dW + self.weight_decay * self.params[f"W{i}"]
            if i <= self.hidden:
                norm = self.layers[f"BatchNorm{i}"]
                grads[f"gamma{i}"], grads[f"beta{i}"] = norm.dgamma, norm.dbeta
        grads[f"b{i}"] = affine.db
        return grads


def train(net, data, optimizer, lr, epochs, batch_size):
    """Train `net`, and return the trainer with its record."""
    trainer = Trainer(
        net, *data, epochs=epochs, mini_batch_size=batch_size, optimizer=optimizer,
        optimizer_param={"lr": lr}, verbose=False,
    )  # fmt: skip
    trainer.train()
    return trainer
