"""Nets in the styles of two courses, in plain NumPy and with the import changed: ratios of one run.

    python benchmarks/compat_speed.py [--threads N] [--batch-size N] [--quick]

Prints a Markdown table, the README's.  The nets are those of the tests (tests/compat/nets), at the
size 784-512-256-10 on random images; their modules differ in one line, the import.  A step is the
gradient of one batch and the update of all parameters; both sides have the same number of threads.
"""

import argparse
import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import in_process

SIZES = [784, 512, 256, 10]


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--batch-size", type=int, default=100, help="100 is the default of both")
    parser.add_argument("--quick", action="store_true", help="one round: does it run?")
    return parser.parse_args()


def cs231n_step(module, package, dtype, x, y):
    """A training step in the first style, by momentum, and the parameters that it changes."""
    net = module.Net(SIZES, dtype)
    configs = {name: {"learning_rate": 0.01} for name in net.params}

    def step():
        _, grads = net.loss(x, y)
        for name, w in net.params.items():
            updated = package.sgd_momentum(w, grads[name], configs[name])
            net.params[name], configs[name] = updated

    return step, net.params


def dlfs_step(module, package, dtype, x, y):
    """A training step in the second style, by momentum, and the parameters that it changes."""
    net = module.Net(SIZES, dtype)
    optimizer = package.Momentum(lr=0.01)
    return lambda: optimizer.update(net.params, net.gradient(x, y)), net.params


STYLES = {"cs231n": cs231n_step, "dlfs": dlfs_step}


def steps_of(style, dtype, batch_size):
    """Both sides' steps, after a first one that must have given the same parameters."""
    import numpy as np
    from compat import change_import

    rng = np.random.default_rng(0)
    x, y = rng.random((batch_size, SIZES[0])).astype(dtype), rng.integers(0, 10, batch_size)
    steps, params = {}, {}
    for side, package in (("numpy", f"compat.plain_{style}"), ("fastbn", f"fastbn.compat.{style}")):
        np.random.seed(0)
        module = change_import.load(style, package)
        made = STYLES[style](module, importlib.import_module(package), dtype, x, y)
        steps[side], params[side] = made
        steps[side]()
    for name, value in params["numpy"].items():
        np.testing.assert_allclose(params["fastbn"][name], value, rtol=1e-3, atol=1e-4)
    return steps


def main() -> None:
    """Measure and print."""
    args = arguments()
    threads = in_process.prepare(args.threads)
    import numpy as np
    from in_process import interleaved, median

    rounds, seconds = (1, 0.01) if args.quick else (9, 0.1)
    print(f"Batch size {args.batch_size}, {threads} thread(s), images a second:\n")
    print("| import | dtype | plain NumPy | import changed | speed-up |")
    print("|---|---|---:|---:|---:|")
    for style in STYLES:
        for dtype in (np.float32, np.float64):
            times = interleaved(steps_of(style, dtype, args.batch_size), rounds, seconds)
            speed = {name: args.batch_size / median(t) for name, t in times.items()}
            cells = f"{speed['numpy']:,.0f} | {speed['fastbn']:,.0f}"
            ratio = speed["fastbn"] / speed["numpy"]
            name = f"`fastbn.compat.{style}`"
            print(f"| {name} | {dtype.__name__} | {cells} | {ratio:.1f} |", flush=True)


if __name__ == "__main__":
    main()
