"""The table of docs/gemm.md, from runs of gemm_ratios.py.

    python benchmarks/gemm_ratios.py --threads 1 --json one.json
    python benchmarks/gemm_ratios.py --threads 2 --json two.json
    python benchmarks/gemm_table.py one.json two.json

Geometric means of fastbn's ratio to the best peer and to NumPy, and the worst case of each.
"The peak itself" is the ratio to the best peer of a library that ran every shape at the measured
multiply-add peak.
"""

import sys
from pathlib import Path

from fastbn.bench.ratios import geometric_mean
from fastbn.bench.results import Result, Results, read, results_of


def _row(label: str, run: Results, chosen: list[Result]) -> str:
    cells = []
    for key in ("ratio_to_best", "ratio_to_numpy"):
        found = {r.case.name: r.ratios[key] for r in chosen}
        worst = min(found, key=found.__getitem__)
        mean = geometric_mean([*found.values()])
        cells += [f"{mean:.2f}", f"{found[worst]:.2f} ({worst})"]
    headroom = [r.ratios["ratio_to_best"] / run.rates(r)["share"] for r in chosen]
    return f"| {label} | {len(chosen)} | {' | '.join(cells)} | {geometric_mean(headroom):.2f} |"


def table(run: Results) -> list[str]:
    """Return the lines of one run."""
    peak = run.limits.fma[run.of("gemm")[0].case.dtype] / 1e9
    libraries = ", ".join(str(v["version"]) for v in run.machine["libraries"].values())
    lines = [
        f"{run.machine['threads']} threads, {run.machine['cpu']}, {run.date}, multiply-add peak "
        f"{peak:.0f} GFLOP/s; {libraries}:",
        "",
        "| product | cases | best peer | worst | NumPy | worst | the peak itself |",
        "|---|---|---|---|---|---|---|",
    ]
    regular = [r for r in run.of("gemm") if not r.beside]
    for layout in run.operations("gemm"):
        chosen = [r for r in regular if r.case.operation == layout]
        lines.append(_row(layout, run, chosen))
    lines.append(_row("all", run, regular))
    beside = [r for r in run.of("gemm") if r.beside]
    if beside:
        lines.append(_row("batches beside multiples of 8", run, beside))
    return [*lines, ""]


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print("\n".join(table(results_of(read(Path(name))))))
