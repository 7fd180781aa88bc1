"""Trains a net in a process whose allocations are counted, and prints what was counted, as JSON.

A module run by `test_memory`: python steady_steps.py COUNTER BATCH WASTE
"""

import ctypes
import itertools
import json
import sys
from typing import Any

import numpy as np

import fastbn
from fastbn.train import LambdaCallback

SIZES = (784, 512, 256, 10)


def waste(predictions: Any, targets: Any) -> float:
    """Be a metric that allocates an array of the size of the predictions."""
    return float(np.subtract(predictions, 1).mean())


def main(counter_path: str, batch: int, wasteful: bool) -> None:
    """Count what the batches of an epoch allocate, but for the first two."""
    counter = ctypes.CDLL(counter_path)
    counter.count_from.argtypes = [ctypes.c_size_t]
    counter.peak_bytes.restype = counter.counted.restype = ctypes.c_long
    rng = np.random.default_rng(0)
    x = rng.standard_normal((8 * batch, SIZES[0]), np.float32)
    y = rng.integers(SIZES[-1], size=8 * batch)
    counter.count_from(4 * batch * SIZES[-1])  # the smallest activation, the logits, is large

    layers: list[fastbn.Layer] = []
    for n_in, n_out in itertools.pairwise(SIZES[:-1]):
        layers += [
            fastbn.Linear(n_in, n_out, bias=False, rng=rng),
            fastbn.BatchNorm1d(n_out),
            fastbn.ReLU(),
        ]
    net = fastbn.Sequential(*layers, fastbn.Linear(*SIZES[-2:], rng=rng))
    counts: list[int] = []

    def begin(number: int, logs: Any) -> None:
        if number == 2:
            counter.count_again()

    def end(number: int, logs: Any) -> None:
        counts.append(counter.counted())

    trainer = fastbn.Trainer(
        net,
        fastbn.CrossEntropyLoss(),
        fastbn.SGD(net.parameters(), lr=0.01, momentum=0.9),
        metrics=("accuracy", waste) if wasteful else ("accuracy",),
        callbacks=[LambdaCallback(on_batch_begin=begin, on_batch_end=end)],
        rng=0,
    )
    trainer.fit(x, y, epochs=1, batch_size=batch, progress=False)
    print(json.dumps({"steady": counts[-1], "peak": counter.peak_bytes()}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3] == "1")
