"""The options that the three ratio commands share."""

import argparse
import sys
from pathlib import Path

from fastbn.bench.command import Plan, run, save
from fastbn.bench.environment import cpus_at_hand


def main(suite: str, description: str) -> None:
    """Compare one suite."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=len(cpus_at_hand()))
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--target", help="force an instruction set on fastbn")
    parser.add_argument("--blas-core", help="force OpenBLAS in NumPy to the kernels of a CPU")
    parser.add_argument("--quick", action="store_true", help="few cases")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--peers", help="comma-separated; default all installed")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, default=0.004, help="a turn of one library")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    environ = {}
    if args.target:
        environ["fastbn"] = {"FASTBN_TARGET": args.target}
    if args.blas_core:
        environ["numpy"] = {"OPENBLAS_CORETYPE": args.blas_core}
    plan = Plan(
        suites=[suite],
        threads=args.threads,
        quick=args.quick,
        dtype=args.dtype,
        rounds=args.rounds,
        seconds=args.seconds,
        only=args.only,
        peers=args.peers.split(",") if args.peers else None,
        environ=environ,
    )
    results = run(plan, " ".join(["python", *sys.argv]), lambda line: print(line, flush=True))
    if args.json:
        save(results, args.json)
