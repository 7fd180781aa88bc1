"""A net in the style of CS231n: two hidden blocks with batch normalization, dropout, an L2 term."""

from itertools import pairwise

import numpy as np
from compat.plain_cs231n import (
    Solver,
    affine_backward,
    affine_bn_relu_backward,
    affine_bn_relu_forward,
    affine_forward,
    affine_relu_backward,
    affine_relu_forward,
    dropout_backward,
    dropout_forward,
    layernorm_backward,
    layernorm_forward,
    softmax_loss,
)


class Net:
    def __init__(self, sizes, dtype=np.float64, reg=1e-3, keep=0.8, seed=0):
        rng = np.random.RandomState(seed)
        self.reg, self.dtype = reg, dtype
        self.params = {}
        for i, (n_in, n_out) in enumerate(pairwise(sizes), start=1):
            self.params[f"W{i}"] = rng.randn(n_in, n_out) * np.sqrt(2 / n_in)
            self.params[f"b{i}"] = np.zeros(n_out)
        for i, n in enumerate(sizes[1:-1], start=1):
            self.params[f"gamma{i}"], self.params[f"beta{i}"] = np.ones(n), np.zeros(n)
        self.params = {name: p.astype(dtype) for name, p in self.params.items()}
        self.bn_params = [{"mode": "train"} for _ in sizes[1:-1]]
        self.dropout_param = {"mode": "train", "p": keep}

    def loss(self, X, y=None):
        p, x = self.params, X.astype(self.dtype)
        mode = "test" if y is None else "train"
        for param in (*self.bn_params, self.dropout_param):
            param["mode"] = mode

        block = p["W1"], p["b1"], p["gamma1"], p["beta1"]
        h1, cache1 = affine_bn_relu_forward(x, *block, self.bn_params[0])
        h1, drop = dropout_forward(h1, self.dropout_param)
        h2, cache2 = affine_relu_forward(h1, p["W2"], p["b2"])
        h2, norm = layernorm_forward(h2, p["gamma2"], p["beta2"], {})
        scores, cache3 = affine_forward(h2, p["W3"], p["b3"])
        if y is None:
            return scores

        g = {}
        loss, dscores = softmax_loss(scores, y)
        dh2, g["W3"], g["b3"] = affine_backward(dscores, cache3)
        dh2, g["gamma2"], g["beta2"] = layernorm_backward(dh2, norm)
        dh1, g["W2"], g["b2"] = affine_relu_backward(dh2, cache2)
        dh1 = dropout_backward(dh1, drop)
        _, g["W1"], g["b1"], g["gamma1"], g["beta1"] = affine_bn_relu_backward(dh1, cache1)
        for name in ("W1", "W2", "W3"):
            loss += 0.5 * self.reg * np.sum(p[name] ** 2)
            g[name] += self.reg * p[name]
        return loss, g


def train(net, data, update_rule, learning_rate, epochs, batch_size):
    """Train `net`, and return the solver with its record."""
    solver = Solver(
        net,
        data,
        update_rule=update_rule,
        optim_config={"learning_rate": learning_rate},
        lr_decay=0.95,
        batch_size=batch_size,
        num_epochs=epochs,
        num_train_samples=100,
        verbose=False,
    )
    solver.train()
    return solver
