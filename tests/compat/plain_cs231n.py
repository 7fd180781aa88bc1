"""The course's functions in plain NumPy, as its students write them: the oracle.

Sums are NumPy's, gradients written out step by step; nothing here is fastbn's.
"""

import numpy as np


def affine_forward(x, w, b):
    return x.reshape(len(x), -1) @ w + b, (x, w, b)


def affine_backward(dout, cache):
    x, w, b = cache
    return (dout @ w.T).reshape(x.shape), x.reshape(len(x), -1).T @ dout, dout.sum(axis=0)


def relu_forward(x):
    return np.maximum(x, 0), x


def relu_backward(dout, cache):
    return np.where(cache > 0, dout, 0)


def batchnorm_forward(x, gamma, beta, bn_param):
    eps, momentum = bn_param.get("eps", 1e-5), bn_param.get("momentum", 0.9)
    running_mean = bn_param.get("running_mean", np.zeros(x.shape[1], x.dtype))
    running_var = bn_param.get("running_var", np.zeros(x.shape[1], x.dtype))
    cache = None
    if bn_param["mode"] == "train":
        mean, var = x.mean(axis=0), x.var(axis=0)
        std = np.sqrt(var + eps)
        xhat = (x - mean) / std
        cache = xhat, gamma, std
        running_mean = momentum * running_mean + (1 - momentum) * mean
        running_var = momentum * running_var + (1 - momentum) * var
    else:
        xhat = (x - running_mean) / np.sqrt(running_var + eps)
    bn_param["running_mean"], bn_param["running_var"] = running_mean, running_var
    return gamma * xhat + beta, cache


def batchnorm_backward(dout, cache):
    xhat, gamma, std = cache
    dxhat = dout * gamma
    dx = (dxhat - dxhat.mean(axis=0) - xhat * (dxhat * xhat).mean(axis=0)) / std
    return dx, (dout * xhat).sum(axis=0), dout.sum(axis=0)


batchnorm_backward_alt = batchnorm_backward


def to_rows(images):
    return images.transpose(0, 2, 3, 1).reshape(-1, images.shape[1])


def to_images(rows, shape):
    n, c, h, w = shape
    return rows.reshape(n, h, w, c).transpose(0, 3, 1, 2)


def spatial_batchnorm_forward(x, gamma, beta, bn_param):
    out, cache = batchnorm_forward(to_rows(x), gamma, beta, bn_param)
    return to_images(out, x.shape), cache


def spatial_batchnorm_backward(dout, cache):
    dx, dgamma, dbeta = batchnorm_backward(to_rows(dout), cache)
    return to_images(dx, dout.shape), dgamma, dbeta


def layernorm_forward(x, gamma, beta, ln_param):
    std = np.sqrt(x.var(axis=1, keepdims=True) + ln_param.get("eps", 1e-5))
    xhat = (x - x.mean(axis=1, keepdims=True)) / std
    return gamma * xhat + beta, (xhat, gamma, std)


def layernorm_backward(dout, cache):
    xhat, gamma, std = cache
    dxhat = dout * gamma
    inner = dxhat.mean(axis=1, keepdims=True) + xhat * (dxhat * xhat).mean(axis=1, keepdims=True)
    return (dxhat - inner) / std, (dout * xhat).sum(axis=0), dout.sum(axis=0)


def dropout_forward(x, dropout_param):
    if "seed" in dropout_param:
        np.random.seed(dropout_param["seed"])
    mask = None
    if dropout_param["mode"] == "train":
        mask = (np.random.rand(*x.shape) < dropout_param["p"]) / dropout_param["p"]
        x = (x * mask).astype(x.dtype)
    return x, (dropout_param, mask)


def dropout_backward(dout, cache):
    return dout if cache[1] is None else (dout * cache[1]).astype(dout.dtype)


def softmax_loss(x, y):
    shifted = x - x.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    dx = np.exp(log_p)
    dx[np.arange(len(x)), y] -= 1
    return -log_p[np.arange(len(x)), y].mean(), dx / len(x)


def svm_loss(x, y):
    loss, dx = 0.0, np.zeros_like(x)
    for i, right in enumerate(y):
        for j in range(x.shape[1]):
            margin = x[i, j] - x[i, right] + 1
            if j != right and margin > 0:
                loss += margin
                dx[i, j] += 1
                dx[i, right] -= 1
    return loss / len(x), dx / len(x)


def affine_relu_forward(x, w, b):
    z, affine = affine_forward(x, w, b)
    out, relu = relu_forward(z)
    return out, (affine, relu)


def affine_relu_backward(dout, cache):
    affine, relu = cache
    return affine_backward(relu_backward(dout, relu), affine)


def affine_bn_relu_forward(x, w, b, gamma, beta, bn_param):
    z, affine = affine_forward(x, w, b)
    h, norm = batchnorm_forward(z, gamma, beta, bn_param)
    out, relu = relu_forward(h)
    return out, (affine, norm, relu)


def affine_bn_relu_backward(dout, cache):
    affine, norm, relu = cache
    dh, dgamma, dbeta = batchnorm_backward(relu_backward(dout, relu), norm)
    return (*affine_backward(dh, affine), dgamma, dbeta)


def sgd(w, dw, config):
    config.setdefault("learning_rate", 1e-2)
    w -= config["learning_rate"] * dw
    return w, config


def sgd_momentum(w, dw, config):
    config.setdefault("momentum", 0.9)
    v = (
        config["momentum"] * config.get("velocity", 0)
        - config.setdefault("learning_rate", 1e-2) * dw
    )
    config["velocity"] = v
    return w + v, config


def rmsprop(w, dw, config):
    decay = config.setdefault("decay_rate", 0.99)
    config["cache"] = decay * config.get("cache", 0) + (1 - decay) * dw**2
    root = np.sqrt(config["cache"]) + config.setdefault("epsilon", 1e-8)
    return w - config.setdefault("learning_rate", 1e-2) * dw / root, config


def adam(w, dw, config):
    beta1, beta2 = config.setdefault("beta1", 0.9), config.setdefault("beta2", 0.999)
    config["t"] = config.get("t", 0) + 1
    config["m"] = beta1 * config.get("m", 0) + (1 - beta1) * dw
    config["v"] = beta2 * config.get("v", 0) + (1 - beta2) * dw**2
    m, v = config["m"] / (1 - beta1 ** config["t"]), config["v"] / (1 - beta2 ** config["t"])
    step = config.setdefault("learning_rate", 1e-3) * m / (np.sqrt(v) + config.get("epsilon", 1e-8))
    return w - step, config


class Solver:
    """The course's solver without what it prints and saves."""

    def __init__(
        self, model, data, update_rule="sgd", optim_config=None, lr_decay=1.0, batch_size=100,
        num_epochs=10, num_train_samples=1000, verbose=True,
    ):  # fmt: skip
        self.model, self.data, self.rule = model, data, globals()[update_rule]
        self.lr_decay, self.batch_size, self.num_epochs = lr_decay, batch_size, num_epochs
        self.num_train_samples = num_train_samples
        self.configs = {name: dict(optim_config or {}) for name in model.params}
        self.loss_history, self.train_acc_history, self.val_acc_history = [], [], []
        self.best_val_acc, self.best_params = 0, {}

    def accuracy(self, part, num_samples):
        x, y = self.data["X_" + part], self.data["y_" + part]
        if num_samples is not None and len(x) > num_samples:
            mask = np.random.choice(len(x), num_samples)
            x, y = x[mask], y[mask]
        return np.mean(
            [self.model.loss(row[None]).argmax() == t for row, t in zip(x, y, strict=True)]
        )

    def train(self):
        n = len(self.data["X_train"])
        per_epoch = max(n // self.batch_size, 1)
        for t in range(per_epoch * self.num_epochs):
            mask = np.random.choice(n, self.batch_size)
            loss, grads = self.model.loss(self.data["X_train"][mask], self.data["y_train"][mask])
            self.loss_history.append(loss)
            for name, w in self.model.params.items():
                new = self.rule(w, grads[name], self.configs[name])
                self.model.params[name], self.configs[name] = new
            last_of_epoch = (t + 1) % per_epoch == 0
            if last_of_epoch:
                for config in self.configs.values():
                    config["learning_rate"] *= self.lr_decay
            if t == 0 or last_of_epoch:
                self.train_acc_history.append(self.accuracy("train", self.num_train_samples))
                self.val_acc_history.append(self.accuracy("val", None))
                if self.val_acc_history[-1] > self.best_val_acc:
                    self.best_val_acc = self.val_acc_history[-1]
                    self.best_params = {k: v.copy() for k, v in self.model.params.items()}
        self.model.params = self.best_params
