"""Cython on fastbn's kernels beside plain Cython and NumPy: ratios of one run.

    python benchmarks/cython_peer/speed.py [--threads N] [--quick]

First product and batch normalization, then training steps of a net of one hidden layer.  Plain
Cython has one thread; the others have as many as the command says, one by default.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import in_process


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="one round: does it run?")
    return parser.parse_args()


def product_runs(net, plain, m, n, k):
    """Functions that compute one product into one array each, checked against each other."""
    import numpy as np

    rng = np.random.default_rng(0)
    a = rng.standard_normal((m, k), np.float32)
    b = rng.standard_normal((k, n), np.float32)
    c = {name: np.empty((m, n), np.float32) for name in ("fastbn", "plain", "numpy")}
    runs = {
        "fastbn": lambda: net.product(a, b, c["fastbn"]),
        "plain": lambda: plain.product(a, b, c["plain"]),
        "numpy": lambda: np.matmul(a, b, out=c["numpy"]),
    }
    for run in runs.values():
        run()
    bound = 2 * (k + 2) * 2.0**-24 * (abs(a) @ abs(b))
    for name in ("fastbn", "plain"):
        assert (abs(c[name] - c["numpy"]) <= bound).all()
    return runs


def batch_norm_runs(net, plain, n, c):
    """Functions that normalize one matrix into one array each, checked against each other."""
    import numpy as np

    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, c), np.float32)
    gamma, beta = rng.standard_normal((2, c), np.float32)
    y = {name: np.empty((n, c), np.float32) for name in ("fastbn", "plain", "numpy")}
    saved, mean, var = np.empty(6 * c, "f"), np.empty(c, "f"), np.empty(c, "f")

    def by_numpy():
        mean = x.mean(axis=0)
        np.subtract(x, mean, out=y["numpy"])
        scale = gamma / np.sqrt(np.mean(y["numpy"] ** 2, axis=0) + np.float32(1e-5))
        y["numpy"] *= scale
        y["numpy"] += beta

    runs = {
        "fastbn": lambda: net.batch_norm(x, gamma, beta, y["fastbn"], saved),
        "plain": lambda: plain.batch_norm(x, gamma, beta, y["plain"], mean, var),
        "numpy": by_numpy,
    }
    for run in runs.values():
        run()
    for name in ("fastbn", "plain"):
        assert abs(y[name] - y["numpy"]).max() <= 8 * n * 2.0**-24
    return runs


def numpy_epoch(x, labels, order, batch_size, lr, hidden, classes):
    """The net of net.pyx in NumPy: a function that trains one epoch."""
    import numpy as np

    rng = np.random.default_rng(0)
    f = np.float32
    W1 = rng.normal(0, (2 / x.shape[1]) ** 0.5, (x.shape[1], hidden)).astype(f)
    W2 = rng.normal(0, (2 / hidden) ** 0.5, (hidden, classes)).astype(f)
    b2, gamma, beta = np.zeros(classes, f), np.ones(hidden, f), np.zeros(hidden, f)
    running_mean, running_var = np.zeros(hidden, f), np.ones(hidden, f)
    one_hot = np.eye(classes, dtype=f)[labels]

    def epoch():
        loss = 0.0
        for start in range(0, len(order) - batch_size + 1, batch_size):
            batch = order[start : start + batch_size]
            xb, tb, n = x[batch], one_hot[batch], batch_size
            z = xb @ W1
            mean = z.mean(axis=0)
            z -= mean
            var = np.mean(z * z, axis=0)
            invstd = 1 / np.sqrt(var + f(1e-5))
            z *= invstd
            h = np.maximum(z * gamma + beta, 0)
            running_mean[...] = f(0.9) * running_mean + f(0.1) * mean
            running_var[...] = f(0.9) * running_var + f(0.1 * n / (n - 1)) * var
            scores = h @ W2 + b2
            scores -= scores.max(axis=1, keepdims=True)
            p = np.exp(scores)
            total = p.sum(axis=1, keepdims=True)
            loss -= np.sum(scores * tb) - np.sum(np.log(total))
            p /= total
            p -= tb
            p /= n
            dh = p @ W2.T
            dh *= h > 0
            dgamma, dbeta = np.sum(dh * z, axis=0), dh.sum(axis=0)
            dz = (gamma * invstd) * (dh - dbeta / n - z * (dgamma / n))
            W2[...] -= f(lr) * (h.T @ p)
            b2[...] -= f(lr) * p.sum(axis=0)
            W1[...] -= f(lr) * (xb.T @ dz)
            gamma[...] -= f(lr) * dgamma
            beta[...] -= f(lr) * dbeta
        return loss / (len(order) // batch_size * batch_size)

    return epoch


def net_runs(net, batch_size, inputs=784, hidden=256, classes=10, samples=2048):
    """Functions that train one epoch, whose first losses must agree."""
    import numpy as np

    rng = np.random.default_rng(1)
    x = rng.random((samples, inputs), np.float32)
    labels, order = rng.integers(0, classes, samples), rng.permutation(samples)
    lr = 0.05

    def cython_epoch():
        return own.train_epoch(x, labels, order, batch_size, lr)

    own = net.Net(inputs, hidden, classes, seed=0)
    numpys = numpy_epoch(x, labels, order, batch_size, lr, hidden, classes)
    first = cython_epoch(), numpys()
    assert abs(first[0] - first[1]) < 1e-3 * first[1], first
    return {"fastbn": cython_epoch, "numpy": numpys}, samples


def main() -> None:
    """Build, measure, print."""
    args = arguments()
    in_process.prepare(args.threads)
    from cython_peer.build import build
    from in_process import interleaved, median

    net, plain = build("net"), build("plain")
    rounds, seconds = (1, 0.001) if args.quick else (7, 0.02)

    def row(label, runs, unit, amount):
        times = interleaved(runs, rounds, seconds)
        speed = {name: amount / median(t) for name, t in times.items()}
        cells = "".join(f"{speed.get(name, float('nan')):12.1f}" for name in names)
        ratios = [
            speed["fastbn"] / speed[name] if name in speed else float("nan") for name in names
        ]
        print(f"{label:32}{unit:12}{cells}{ratios[1]:10.1f}{ratios[2]:10.1f}", flush=True)

    names = ("fastbn", "plain", "numpy")
    print(f"{args.threads} thread(s)")
    print(f"{'':32}{'':12}{'fastbn':>12}{'plain':>12}{'numpy':>12}{'/ plain':>10}{'/ numpy':>10}")
    for m, n, k in ((32, 512, 784), (96, 256, 512), (256, 256, 256)):
        runs = product_runs(net, plain, m, n, k)
        row(f"product {m} x {n} x {k}", runs, "GFLOP/s", 2 * m * n * k / 1e9)
    for n, c in ((32, 512), (96, 256), (1024, 512)):
        row(f"batch norm {n} x {c}", batch_norm_runs(net, plain, n, c), "Mvalues/s", n * c / 1e6)
    for batch_size in (8, 32, 96, 256):
        runs, samples = net_runs(net, batch_size)
        row(f"784-256-10, batch {batch_size}", runs, "kimages/s", samples / 1e3)


if __name__ == "__main__":
    main()
