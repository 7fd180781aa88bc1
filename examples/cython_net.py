"""A net in Cython on fastbn's kernels, on the handwritten digits of the package.

The net is benchmarks/cython_peer/net.pyx: it cimports ``fastbn.capi``, and an epoch of it runs
without Python.  It is built here first, which needs Cython and a C compiler; a project of yours
would name the module in its own build.
"""

import sys
from pathlib import Path

import numpy as np

import fastbn

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
from cython_peer.build import build

x_train, y_train, x_test, y_test = fastbn.datasets.load_digits()
labels = y_train.astype(np.int64)

net = build("net").Net(inputs=64, hidden=128, classes=10, seed=0)
rng = np.random.default_rng(1)
for epoch in range(1, 11):
    order = rng.permutation(len(x_train))
    loss = net.train_epoch(x_train, labels, order, batch_size=32, lr=0.2)
    print(f"epoch {epoch}: loss {loss:.3f}")
accuracy = np.mean(net.predict(x_test).argmax(axis=1) == y_test)
print(f"test accuracy: {accuracy:.3f}")
