"""The book's layers and optimizers in plain NumPy, as its readers write them: the oracle."""

import numpy as np


class Affine:
    def __init__(self, W, b):
        self.W, self.b = W, b

    def forward(self, x):
        self.original_x_shape = x.shape
        self.x = x.reshape(len(x), -1)
        return self.x @ self.W + self.b

    def backward(self, dout):
        self.dW, self.db = self.x.T @ dout, dout.sum(axis=0)
        return (dout @ self.W.T).reshape(self.original_x_shape)


class Relu:
    def forward(self, x):
        self.mask = x <= 0
        return np.where(self.mask, 0, x)

    def backward(self, dout):
        dout[self.mask] = 0
        return dout


class Sigmoid:
    def forward(self, x):
        with np.errstate(over="ignore"):  # 1 / inf is the right 0
            self.out = 1 / (1 + np.exp(-x))
        return self.out

    def backward(self, dout):
        return dout * self.out * (1 - self.out)


class SoftmaxWithLoss:
    def forward(self, x, t):
        e = np.exp(x - x.max(axis=1, keepdims=True))
        self.t, self.y = t, e / e.sum(axis=1, keepdims=True)
        labels = t.argmax(axis=1) if t.shape == x.shape else t
        return -np.log(self.y[np.arange(len(x)), labels] + 1e-7).mean()

    def backward(self, dout=1):
        one_hot = self.t
        if one_hot.shape != self.y.shape:
            one_hot = np.eye(self.y.shape[1], dtype=self.y.dtype)[self.t]
        return (self.y - one_hot) / len(self.y)


class BatchNormalization:
    def __init__(self, gamma, beta, momentum=0.9, running_mean=None, running_var=None):
        self.gamma, self.beta, self.momentum = gamma, beta, momentum
        self.running_mean, self.running_var = running_mean, running_var

    def forward(self, x, train_flg=True):
        shape, x = x.shape, x.reshape(len(x), -1)
        if self.running_mean is None:
            self.running_mean = np.zeros(x.shape[1], x.dtype)
            self.running_var = np.zeros(x.shape[1], x.dtype)
        mean, var = self.running_mean, self.running_var
        if train_flg:
            mean, var = x.mean(axis=0), x.var(axis=0)
            m = self.momentum
            self.running_mean = m * self.running_mean + (1 - m) * mean
            self.running_var = m * self.running_var + (1 - m) * var
            self.batch_size, self.xc, self.std = len(x), x - mean, np.sqrt(var + 1e-6)
            self.xn = self.xc / self.std
        return (self.gamma * (x - mean) / np.sqrt(var + 1e-6) + self.beta).reshape(shape)

    def backward(self, dout):
        shape, dout = dout.shape, dout.reshape(len(dout), -1)
        self.dgamma, self.dbeta = (dout * self.xn).sum(axis=0), dout.sum(axis=0)
        dxn = dout * self.gamma
        dx = (dxn - dxn.mean(axis=0) - self.xn * (dxn * self.xn).mean(axis=0)) / self.std
        return dx.reshape(shape)


class Dropout:
    def __init__(self, dropout_ratio=0.5):
        self.dropout_ratio = dropout_ratio

    def forward(self, x, train_flg=True):
        if train_flg:
            self.mask = np.random.rand(*x.shape) > self.dropout_ratio
            return x * self.mask
        return x * (1 - self.dropout_ratio)

    def backward(self, dout):
        return dout * self.mask


class Optimizer:
    def __init__(self, lr=0.01, **options):
        self.lr, self.state, self.t = lr, {}, 0
        vars(self).update(self.defaults, **options)

    defaults = {}

    def update(self, params, grads):
        self.t += 1
        for key in params:
            state = self.state.setdefault(key, [np.zeros_like(params[key]) for _ in range(2)])
            self.step(params[key], grads[key], state)


class SGD(Optimizer):
    def step(self, p, g, state):
        p -= self.lr * g


class Momentum(Optimizer):
    defaults = {"momentum": 0.9}

    def step(self, p, g, state):
        state[0] = self.momentum * state[0] - self.lr * g
        p += state[0]


class Nesterov(Momentum):
    def step(self, p, g, state):
        p += self.momentum**2 * state[0] - (1 + self.momentum) * self.lr * g
        state[0] = self.momentum * state[0] - self.lr * g


class AdaGrad(Optimizer):
    def step(self, p, g, state):
        state[0] = state[0] + g**2
        p -= self.lr * g / (np.sqrt(state[0]) + 1e-7)


class RMSprop(Optimizer):
    defaults = {"decay_rate": 0.99}

    def step(self, p, g, state):
        state[0] = self.decay_rate * state[0] + (1 - self.decay_rate) * g**2
        p -= self.lr * g / (np.sqrt(state[0]) + 1e-7)


class Adam(Optimizer):
    defaults = {"beta1": 0.9, "beta2": 0.999}

    def step(self, p, g, state):
        m, v = state
        m[...] = self.beta1 * m + (1 - self.beta1) * g
        v[...] = self.beta2 * v + (1 - self.beta2) * g**2
        rate = self.lr * np.sqrt(1 - self.beta2**self.t) / (1 - self.beta1**self.t)
        p -= rate * m / (np.sqrt(v) + 1e-7)


class Trainer:
    """The book's trainer without what it prints."""

    def __init__(
        self, network, x_train, t_train, x_test, t_test, epochs=20, mini_batch_size=100,
        optimizer="SGD", optimizer_param=None, verbose=True,
    ):  # fmt: skip
        self.network, self.optimizer = network, globals()[optimizer](**optimizer_param)
        self.data = (x_train, t_train), (x_test, t_test)
        self.batch_size, self.iter_per_epoch = mini_batch_size, len(x_train) / mini_batch_size
        self.max_iter = int(epochs * self.iter_per_epoch)
        self.train_loss_list, self.train_acc_list, self.test_acc_list = [], [], []

    def train(self):
        (x_train, t_train), (x_test, t_test) = self.data
        for i in range(self.max_iter):
            mask = np.random.choice(len(x_train), self.batch_size)
            x, t = x_train[mask], t_train[mask]
            self.optimizer.update(self.network.params, self.network.gradient(x, t))
            self.train_loss_list.append(self.network.loss(x, t))
            if i % self.iter_per_epoch == 0:
                self.train_acc_list.append(self.network.accuracy(x_train, t_train))
                self.test_acc_list.append(self.network.accuracy(x_test, t_test))
