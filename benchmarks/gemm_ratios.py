"""fastbn's products beside every peer that is installed: ratios of one run.

    python benchmarks/gemm_ratios.py [--threads N] [--dtype float64] [--quick] [--json FILE]

For each shape: GFLOP/s of each implementation (from the median time of interleaved rounds), and
the ratio to the best peer and to NumPy.  Last, the geometric means, the worst cases, and the share
of the multiply-add peak that was measured in the same run.
"""

import argparse
import json
import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import environment


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--target", help="force an instruction set")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", help="shapes whose name contains this")
    parser.add_argument("--peers", help="comma-separated; default all installed")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.004, help="a turn of one implementation")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def geometric_mean(values: list[float]) -> float:
    """Return the geometric mean."""
    return math.exp(sum(map(math.log, values)) / len(values))


def measure(args: argparse.Namespace) -> list[dict]:
    """Time all shapes; print a line for each."""
    import operands
    import peers
    from rounds import interleaved, median
    from shapes import products

    names = ["fastbn", *(args.peers.split(","))] if args.peers else peers.available()
    print(f"{'GFLOP/s':24}" + "".join(f"{name:>8}" for name in names) + "    best   numpy")
    results = []
    for product in products(args.quick):
        if args.only and args.only not in product.name:
            continue
        a, b, c = operands.make(product, args.dtype)
        runs = {name: peers.IMPLEMENTATIONS[name](a, b, c) for name in names}
        for run in filter(None, runs.values()):
            c.fill(float("nan"))
            run()
            operands.check(a, b, c)
        times = interleaved({n: r for n, r in runs.items() if r}, args.rounds, args.seconds)
        speed = {name: product.flop / median(t) / 1e9 for name, t in times.items()}
        best = max(speed[name] for name in speed if name != "fastbn")
        row = {"name": product.name, "gflops": speed, "best": speed["fastbn"] / best}
        row["numpy"] = speed["fastbn"] / speed["numpy"] if "numpy" in speed else math.nan
        results.append(row)
        cells = "".join(f"{speed.get(name, math.nan):8.0f}" for name in names)
        print(f"{product.name:24}{cells}{row['best']:8.2f}{row['numpy']:8.2f}", flush=True)
    return results


def summarize(results: list[dict]) -> None:
    """Print geometric means and worst cases."""
    for key, label in (("best", "the best peer"), ("numpy", "NumPy")):
        ratios = {row["name"]: row[key] for row in results if row[key] == row[key]}
        worst = sorted(ratios, key=ratios.__getitem__)[:5]
        print(f"\nagainst {label}: geometric mean {geometric_mean(list(ratios.values())):.3f}")
        print("  worst: " + ", ".join(f"{name} {ratios[name]:.2f}" for name in worst))
        print(f"  below 1.0: {sum(r < 1 for r in ratios.values())} of {len(ratios)}")


def main() -> None:
    """Run the comparison."""
    args = arguments()
    threads = environment.prepare(args.threads)

    import peers

    import fastbn

    if args.target:
        fastbn._core.set_target(args.target)
    fastbn.set_num_threads(threads)
    info = fastbn.info()
    print(f"{threads} threads, {args.dtype}, target {info['target']}, NumPy on {peers.blas_core()}")
    results = measure(args)
    summarize(results)
    if args.json:
        args.json.write_text(json.dumps({"info": info, "results": results}, indent=1))


if __name__ == "__main__":
    main()
