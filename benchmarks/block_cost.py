"""The fused block Linear, BatchNorm1d, ReLU beside its matrix products alone: ratios of one run.

    python benchmarks/block_cost.py [--threads N] [--features N] [--quick]

Prints a Markdown table.  All sides take turns in one process: the products alone (y = x W;
dx = dy W.T and dW = x.T dy), the fused block, and its three layers called one by one.  Forward and
backward together, in training, with arrays that are there; the block's gradients are checked first.
"""

import argparse

import in_process

BATCHES = (8, 16, 32, 64, 128, 256, 512, 1024)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--features", type=int, default=512, help="in and out")
    parser.add_argument("--quick", action="store_true", help="one round: does it run?")
    return parser.parse_args()


def sides(features, batch):
    """The three sides, after a check that fused and one by one give the same bits."""
    import numpy as np

    import fastbn

    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, features), np.float32)
    dy = rng.standard_normal((batch, features), np.float32)
    layers = [
        fastbn.Linear(features, features, rng=0),
        fastbn.BatchNorm1d(features),
        fastbn.ReLU(),
    ]
    net = fastbn.Sequential(*layers)
    w = layers[0].weight.data
    y, dx, dw = np.empty_like(dy), np.empty_like(x), np.empty_like(w)

    def products():
        fastbn.matmul(x, w, out=y)
        fastbn.matmul(dy, w.T, out=dx)
        fastbn.matmul(x.T, dy, out=dw)

    def fused():
        net.forward(x, training=True)
        return net.backward(dy)

    def one_by_one():
        out, gradient = x, dy
        for layer in layers:
            out = layer.forward(out, training=True)
        for layer in reversed(layers):
            gradient = layer.backward(gradient)
        return gradient

    gradients = []
    for side in (fused, one_by_one):
        gradients.append([side().copy(), *(p.grad.copy() for p in net.parameters())])
    for one, other in zip(*gradients, strict=True):
        np.testing.assert_array_equal(one, other)
    return {"products": products, "fused": fused, "one by one": one_by_one}


def main() -> None:
    """Measure and print."""
    args = arguments()
    threads = in_process.prepare(args.threads)
    rounds, seconds = (1, 0.005) if args.quick else (15, 0.02)
    print(f"Linear({args.features}, {args.features}), float32, {threads} thread(s):\n")
    print("| batch | products, us | fused block, us | block beside products | layers one by one |")
    print("|---:|---:|---:|---:|---:|")
    for batch in BATCHES:
        times = in_process.interleaved(sides(args.features, batch), rounds, seconds)
        median = {name: in_process.median(t) for name, t in times.items()}
        alone = median["products"]
        cost, apart = (median[name] / alone - 1 for name in ("fused", "one by one"))
        micros = f"{alone * 1e6:,.0f} | {median['fused'] * 1e6:,.0f}"
        print(f"| {batch} | {micros} | {cost:+.0%} | {apart:+.0%} |", flush=True)


if __name__ == "__main__":
    main()
