"""A net in the style of CS231n, on the handwritten digits of the package.

In plain NumPy the two imports below begin with ``cs231n``; nothing else is different.
"""

import numpy as np

import fastbn
from fastbn.compat.cs231n.layer_utils import affine_bn_relu_backward, affine_bn_relu_forward
from fastbn.compat.cs231n.layers import affine_backward, affine_forward, softmax_loss
from fastbn.compat.cs231n.solver import Solver


class TwoLayerNet:
    """affine - batch normalization - relu - affine - softmax, with an L2 term."""

    def __init__(self, input_dim, hidden_dim, num_classes, reg=1e-4):
        rng = np.random.default_rng(0)
        self.reg = reg
        self.params = {
            "W1": rng.normal(0, 0.1, (input_dim, hidden_dim)),
            "b1": np.zeros(hidden_dim),
            "gamma": np.ones(hidden_dim),
            "beta": np.zeros(hidden_dim),
            "W2": rng.normal(0, 0.1, (hidden_dim, num_classes)),
            "b2": np.zeros(num_classes),
        }
        self.bn_param = {}

    def loss(self, X, y=None):
        """Loss and gradients, or the scores where there are no labels."""
        p = self.params
        self.bn_param["mode"] = "test" if y is None else "train"
        block = p["W1"], p["b1"], p["gamma"], p["beta"], self.bn_param
        hidden, hidden_cache = affine_bn_relu_forward(X, *block)
        scores, scores_cache = affine_forward(hidden, p["W2"], p["b2"])
        if y is None:
            return scores

        grads = {}
        loss, dscores = softmax_loss(scores, y)
        dhidden, grads["W2"], grads["b2"] = affine_backward(dscores, scores_cache)
        block_grads = affine_bn_relu_backward(dhidden, hidden_cache)
        _, grads["W1"], grads["b1"], grads["gamma"], grads["beta"] = block_grads
        for name in ("W1", "W2"):
            loss += 0.5 * self.reg * np.sum(p[name] ** 2)
            grads[name] += self.reg * p[name]
        return loss, grads


x_train, y_train, x_test, y_test = fastbn.datasets.load_digits()
data = {"X_train": x_train, "y_train": y_train, "X_val": x_test, "y_val": y_test}
np.random.seed(0)
solver = Solver(
    TwoLayerNet(64, 100, 10),
    data,
    update_rule="adam",
    optim_config={"learning_rate": 2e-3},
    lr_decay=0.9,
    batch_size=50,
    num_epochs=8,
    print_every=50,
)
solver.train()
print(f"test accuracy: {solver.check_accuracy(x_test, y_test):.3f}")
