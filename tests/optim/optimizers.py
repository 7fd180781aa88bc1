"""Optimizers and a net for the tests of them."""

import numpy as np

from fastbn.layers import BatchNorm1d, Linear, ReLU, Sequential
from fastbn.optim import SGD, Adam, AdamW

OPTIMIZERS = [
    lambda params: SGD(params, lr=0.1),
    lambda params: SGD(params, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    lambda params: Adam(params, lr=0.1, weight_decay=0.1),
    lambda params: AdamW(params, lr=0.1, weight_decay=0.1),
]


def make_net(dtype=np.float32):
    return Sequential(
        Linear(5, 4, rng=0, dtype=dtype),
        BatchNorm1d(4, dtype=dtype),
        ReLU(),
        Linear(4, 3, rng=1, dtype=dtype),
    )
