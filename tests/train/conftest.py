"""Small problems and nets for the tests of training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastbn import SGD, BatchNorm1d, CrossEntropyLoss, Layer, Linear, ReLU, Sequential, Trainer


@pytest.fixture
def blobs() -> tuple[Any, Any]:
    """Two classes of 60 points each in the plane, easy to tell apart."""
    rng = np.random.default_rng(5)
    y = np.arange(120) % 2
    x = rng.standard_normal((120, 2)) + 4 * y[:, None]
    return x.astype(np.float32), y


@pytest.fixture
def make_trainer() -> Callable[..., Trainer]:
    """Make a trainer of a small net; the same seed gives the same net and orders."""

    def make(
        n_in: int = 2, n_out: int = 2, *, batch_norm: bool = True, seed: int = 0, **options: Any
    ) -> Trainer:
        rng = np.random.default_rng(seed)
        hidden: list[Layer] = [Linear(n_in, 8, rng=rng)]
        if batch_norm:
            hidden.append(BatchNorm1d(8))
        net = Sequential(*hidden, ReLU(), Linear(8, n_out, rng=rng))
        optimizer = SGD(net.parameters(), lr=0.1, momentum=0.9)
        return Trainer(net, CrossEntropyLoss(), optimizer, rng=seed, **options)

    return make
