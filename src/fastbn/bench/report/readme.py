"""The section on performance in a README: two plots, a table and the machine, from results alone.

    python -m fastbn.bench.report.readme RESULTS.json README.md ...

It stands between two comments, which stay; the plots go to docs/images beside the README.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from fastbn.bench.report.contents import summary_table, training_plots
from fastbn.bench.report.markdown import as_table, image
from fastbn.bench.report.model import Plot
from fastbn.bench.report.plots import by_batch, drawing
from fastbn.bench.results import Results, ResultsError, read, results_of

BEGIN, END = "<!-- performance: written by a command -->", "<!-- /performance -->"
_FOLDER = "docs/images"


def section(results: Results) -> tuple[str, list[Plot]]:
    """Return the text of the section and its plots.

    Parameters
    ----------
    results : Results

    Raises
    ------
    ResultsError
        If they are not of products and of training steps.
    """
    drawn = _plots(results)
    parts = [
        _sentence(results),
        *(image(plot, _FOLDER) for plot in drawn),
        as_table(summary_table(results)),
        _machine(results),
    ]
    return "\n\n".join(parts), drawn


def _plots(results: Results) -> list[Plot]:
    products = drawing(
        "performance-products",
        "Matrix products of the forward pass: speed as a multiple of NumPy's, by batch size",
        by_batch(results.of("gemm", "NN"), lambda r: r.ratios.get("ratio_to_numpy"), ratio=True),
    )
    steps = [plot for plot in training_plots(results) if plot.name == "training-speed"]
    if not products or not steps:
        raise ResultsError("the section needs results of products and of training steps")
    return [Plot("performance-training", steps[0].caption, steps[0].svg), *products]


def _sentence(results: Results) -> str:
    machine = results.machine
    return (
        f"Measured by `{machine['command']}` on {results.date}: ratios of medians of "
        f"{machine['rounds']} rounds in which the libraries take turns, {machine['threads']} "
        f"threads each; above 1 fastbn is faster. {len(results.lost())} of "
        f"{len(results.results)} cases are lost to the best peer; the full report lists them."
    )


def _machine(results: Results) -> str:
    machine, limits = results.machine, results.limits
    versions = ", ".join(str(library["version"]) for library in machine["libraries"].values())
    peak = limits.fma["float32"] / 1e9
    levels = ", ".join(f"{level.name} {level.bandwidth / 1e9:,.0f}" for level in limits.levels)
    return (
        f"The machine: {machine['cpu']}, {machine['system']}; {machine['threads']} threads do "
        f"{peak:,.0f} GFLOP/s of float32 multiply-adds in registers and copy {levels} GB/s. "
        f"{versions}; Python {machine['python']}."
    )


def write(results: Results, readmes: Sequence[Path]) -> None:
    """Replace the section in each README.

    Raises
    ------
    ResultsError
        If a README lacks the two comments, or the results a suite.
    """
    text, drawn = section(results)
    for readme in readmes:
        before, begin, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
        _, end, after = rest.partition(END)
        if not (begin and end):
            raise ResultsError(f"{readme} has no section between {BEGIN} and {END}")
        readme.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")
        folder = readme.parent / _FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        for plot in drawn:
            (folder / f"{plot.name}.svg").write_text(plot.svg, encoding="utf-8")


def main(arguments: Sequence[str]) -> int:
    """Run the command; 2 after a mistake, which costs one line."""
    if len(arguments) < 2:
        print("usage: readme RESULTS.json README.md ...", file=sys.stderr)
        return 2
    try:
        write(results_of(read(Path(arguments[0]))), [Path(name) for name in arguments[1:]])
    except (OSError, ResultsError) as error:
        print(f"readme: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
