"""Products of one row and of a vector: `fastbn.matmul` beside `numpy.matmul`, as ratios of one run.

    python benchmarks/vector_ratios.py [--threads N] [--dtype float64] [--quick]

Prints a Markdown table: how many times as fast fastbn is, and the GB/s at which it reads W, of
medians of rounds in which both take turns.  A sample goes through a layer as `x @ W`, x of one row,
its gradient back as `dy @ W.T`; `W @ v` is what other programs ask for.
"""

import argparse

import in_process

SIZES = ((64, 64), (128, 128), (256, 128), (512, 256), (784, 256), (784, 512), (512, 512))
LARGER = ((100, 1000), (2048, 320), (1000, 1000), (1024, 1024))
COLUMNS = ("x @ W", "dy @ W.T", "v @ W", "W @ v")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--quick", action="store_true", help="one round: does it run?")
    return parser.parse_args()


def products(shape, dtype):
    """Return W and the operands of each column's product."""
    import numpy as np

    rng = np.random.default_rng(0)
    w = rng.standard_normal(shape).astype(dtype)
    x, dy = (rng.standard_normal((1, n)).astype(dtype) for n in shape)
    return w, dict(zip(COLUMNS, ((x, w), (dy, w.T), (x[0], w), (w, dy[0])), strict=True))


def calls(a, b):
    """Both libraries' calls, after a check that they agree."""
    import numpy as np

    import fastbn

    out, other = (np.empty_like(a @ b) for _ in range(2))
    fastbn.matmul(a, b, out=out)
    np.matmul(a, b, out=other)
    # Each sum is off by half an epsilon a term at most, relative to the terms' sizes.
    bound = a.shape[-1] * np.finfo(a.dtype).eps * (np.abs(a) @ np.abs(b))
    assert np.all(np.abs(out - other) <= bound)
    return {
        "fastbn": lambda: fastbn.matmul(a, b, out=out),
        "numpy": lambda: np.matmul(a, b, out=other),
    }


def main() -> None:
    """Measure and print."""
    args = arguments()
    threads = in_process.prepare(args.threads)
    import fastbn

    fastbn.set_num_threads(threads)
    rounds, seconds = (1, 0.001) if args.quick else (7, 0.02)
    print(f"{args.dtype}, {threads} threads each, times as fast as NumPy, and GB/s\n")
    print(f"| W | {' | '.join(f'`{name}`' for name in COLUMNS)} |")
    print("|---|" + "---:|" * len(COLUMNS))
    for shape in SIZES[:2] if args.quick else SIZES + LARGER:
        w, operands = products(shape, args.dtype)
        cells = []
        for a, b in operands.values():
            times = in_process.interleaved(calls(a, b), rounds, seconds)
            ours, theirs = (in_process.median(times[name]) for name in ("fastbn", "numpy"))
            cells.append(f"{theirs / ours:.2f}, {w.nbytes / ours / 1e9:.0f}")
        print(f"| {shape[0]} x {shape[1]} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
