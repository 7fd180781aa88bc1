"""The net and the optimizer that `fastbn train` asks for."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from fastbn.layers import BatchNorm1d, Layer, Linear, ReLU, Sequential
from fastbn.optim import SGD, Adam, AdamW, Optimizer

# Learning rate and weight decay by optimizer, good from 1,437 digits to 60,000 images.
DEFAULTS = {"sgd": (0.1, 5e-4), "adam": (1e-3, 0.0), "adamw": (1e-3, 0.01)}


def build_net(
    sizes: Sequence[int], *, batch_norm: bool, dtype: DTypeLike, rng: np.random.Generator
) -> Sequential:
    """Build Linear, BatchNorm1d and ReLU for each hidden layer, and a last Linear.

    Parameters
    ----------
    sizes : sequence of int
        Features in, the hidden layers, classes out.
    batch_norm : bool
        With it a hidden Linear has no bias: the normalization would subtract it again.
    dtype : float32 or float64
    rng : numpy.random.Generator
        Source of the first weights.
    """
    layers: list[Layer] = []
    for n_in, n_out in itertools.pairwise(sizes[:-1]):
        layers.append(Linear(n_in, n_out, bias=not batch_norm, dtype=dtype, rng=rng))
        if batch_norm:
            layers.append(BatchNorm1d(n_out, dtype=dtype))
        layers.append(ReLU())
    return Sequential(*layers, Linear(sizes[-2], sizes[-1], dtype=dtype, rng=rng))


def build_optimizer(
    net: Layer, name: str, *, lr: float, momentum: float, weight_decay: float
) -> Optimizer:
    """Build the optimizer by its name: "sgd", "adam" or "adamw"; momentum is for SGD alone."""
    if name == "sgd":
        return SGD(net.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay)
    kind = Adam if name == "adam" else AdamW
    return kind(net.parameters(), lr=lr, weight_decay=weight_decay)
