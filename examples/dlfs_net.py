"""A net in the style of "Deep Learning from Scratch", on the handwritten digits of the package.

In plain NumPy the import of the layers and the optimizer begins with ``common``; nothing else is
different.
"""

from collections import OrderedDict

import numpy as np

import fastbn
from fastbn.compat.dlfs.layers import Affine, BatchNormalization, Dropout, Relu, SoftmaxWithLoss
from fastbn.compat.dlfs.optimizer import Adam


class TwoLayerNet:
    """Affine - BatchNormalization - Relu - Dropout - Affine - SoftmaxWithLoss."""

    def __init__(self, input_size, hidden_size, output_size):
        self.params = {
            "W1": 0.1 * np.random.randn(input_size, hidden_size),
            "b1": np.zeros(hidden_size),
            "gamma1": np.ones(hidden_size),
            "beta1": np.zeros(hidden_size),
            "W2": 0.1 * np.random.randn(hidden_size, output_size),
            "b2": np.zeros(output_size),
        }
        p = self.params
        self.layers = OrderedDict()
        self.layers["Affine1"] = Affine(p["W1"], p["b1"])
        self.layers["BatchNorm1"] = BatchNormalization(p["gamma1"], p["beta1"])
        self.layers["Relu1"] = Relu()
        self.layers["Dropout1"] = Dropout(0.1)
        self.layers["Affine2"] = Affine(p["W2"], p["b2"])
        self.last_layer = SoftmaxWithLoss()

    def predict(self, x, train_flg=False):
        """Scores of each class."""
        for name, layer in self.layers.items():
            if "BatchNorm" in name or "Dropout" in name:
                x = layer.forward(x, train_flg)
            else:
                x = layer.forward(x)
        return x

    def gradient(self, x, t):
        """Gradients by the names of the parameters; the loss is in ``last_layer.loss``."""
        self.last_layer.forward(self.predict(x, train_flg=True), t)
        dout = self.last_layer.backward()
        for layer in reversed(self.layers.values()):
            dout = layer.backward(dout)
        affine1, norm, affine2 = (self.layers[n] for n in ("Affine1", "BatchNorm1", "Affine2"))
        return {
            "W1": affine1.dW, "b1": affine1.db,
            "gamma1": norm.dgamma, "beta1": norm.dbeta,
            "W2": affine2.dW, "b2": affine2.db,
        }  # fmt: skip

    def accuracy(self, x, t):
        """Share of the samples that are classified rightly."""
        return np.mean(self.predict(x).argmax(axis=1) == t)


x_train, t_train, x_test, t_test = fastbn.datasets.load_digits()
np.random.seed(0)
network = TwoLayerNet(64, 100, 10)
optimizer = Adam(lr=2e-3)
batch_size = 50
iter_per_epoch = len(x_train) // batch_size

for epoch in range(1, 9):
    for _ in range(iter_per_epoch):
        batch_mask = np.random.choice(len(x_train), batch_size)
        grads = network.gradient(x_train[batch_mask], t_train[batch_mask])
        optimizer.update(network.params, grads)
    print(f"epoch {epoch}: loss {network.last_layer.loss:.3f}")
print(f"test accuracy: {network.accuracy(x_test, t_test):.3f}")
