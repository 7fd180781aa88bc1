"""What the report says, shows and lists."""

from __future__ import annotations

import math

from fastbn.bench.report import plots
from fastbn.bench.report.model import Plot, Report, Section, Table
from fastbn.bench.results import Result, Results, summarize
from fastbn.bench.shapes import SUITES

_TITLES = {
    "gemm": "Matrix products",
    "batchnorm": "Batch normalization",
    "training": "Training steps",
}
_OPERATIONS = {
    "NN": "NN, forward",
    "NT": "NT, gradient of the input",
    "TN": "TN, gradient of the weights",
    "step": "training step",
}
_RATES = {
    "gemm": ("gflops", "GFLOP/s", "of the multiply-add peak"),
    "batchnorm": ("gb_per_s", "GB/s", "of the bandwidth"),
    "training": ("images_per_s", "images/s", "of the roofline"),
}
_TEXTS = {
    "gemm": "A point is a product of a layer (input x output features) at a batch size. Shares are "
    "of the multiply-adds a second that the same threads reach in registers.",
    "batchnorm": "A point is a normalization of batch x channels. Its speed counts each array "
    "once, which is the least that has to be moved; the limit beside it is the bandwidth of copies "
    "within the level of cache that holds its arrays.",
    "training": "Forward, backward and update of the net {net} with batch normalization and ReLU, "
    "softmax cross-entropy and SGD with momentum, the gathering of shuffled rows included, on "
    "{data}. All start from the same weights, take the same batches, and their first losses are "
    "compared. The roofline is the lower of two limits: multiply-adds at the measured peak, and "
    "five passes over the weights at the measured bandwidth.",
}
_MULTIPLES = "Filled: multiples of 8; hollow: other batch sizes."


def contents(results: Results) -> Report:
    """Return the report on some results."""
    suites = [suite for suite in SUITES if results.of(suite)]
    return Report(
        title="fastbn: a comparison of speed",
        warnings=[str(warning) for warning in results.machine["warnings"]],
        sections=[
            Section("Summary", [_HOW], tables=[summary_table(results)]),
            *(_suite(results, suite) for suite in suites),
            _lost(results),
            _machine(results),
        ],
    )


_HOW = (
    "Ratios above 1 mean that fastbn is faster. Each is of the medians of rounds in which the "
    "libraries take turns, every one in a process of its own with the same number of threads and "
    "the settings that are best for it; every answer is checked against float64 before it is "
    "timed. Arrays start where the large ones of NumPy do, 16 bytes past a cache line. The best "
    "peer is the fastest of the others, case by case."
)


def operation_name(operation: str) -> str:
    """Return what an operation is called in text."""
    return _OPERATIONS.get(operation, operation)


def summary_table(results: Results) -> Table:
    """Return geometric means and worst cases, an operation a row."""
    heading = ("operation", "cases", "to NumPy", "worst", "to the best peer", "worst", "lost")
    rows = []
    for suite in SUITES:
        for operation in results.operations(suite):
            of_operation = results.of(suite, operation)
            for beside in (False, True):
                chosen = [r for r in of_operation if r.beside == beside]
                label = f"{_TITLES[suite]}: {operation_name(operation)}"
                if beside:
                    label += ", not multiples of 8"
                rows += [_summary_row(label, chosen)] if chosen else []
    return Table(heading, rows)


def _summary_row(label: str, results: list[Result]) -> tuple[str, ...]:
    cells: list[str] = [label, str(len(results))]
    for key in ("ratio_to_numpy", "ratio_to_best"):
        found = summarize(results, key)
        cells += ["-", "-"] if found is None else [_ratio(found.mean), _ratio(found.worst)]
    lost = sum(r.lost for r in results)
    return (*cells, str(lost))


def _suite(results: Results, suite: str) -> Section:
    data = {"Fashion-MNIST": "Fashion-MNIST", "noise": "noise of the shape of Fashion-MNIST"}
    text = _TEXTS[suite].format(
        net=results.of(suite)[0].case.curve,
        data=data.get(results.notes.get("data", ""), "unknown data"),
    )
    drawn = training_plots(results) if suite == "training" else _plots(results, suite)
    return Section(_TITLES[suite], [text], drawn, [_table(results, suite)])


def _plots(results: Results, suite: str) -> list[Plot]:
    """Three plots an operation: the ratios to NumPy and to the best peer, and the share."""
    drawn = []
    share = _RATES[suite][2]
    for operation in results.operations(suite):
        points = results.of(suite, operation)
        name, title = f"{suite}-{operation}".lower(), operation_name(operation)
        for key, peer in (("ratio_to_numpy", "NumPy"), ("ratio_to_best", "the best peer")):
            drawn += plots.drawing(
                f"{name}-{key.rpartition('_')[2]}",
                f"{title}: speed as a multiple of {peer}'s, by batch size. {_MULTIPLES}",
                plots.by_batch(points, _ratio_to(key), ratio=True),
            )
        drawn += plots.drawing(
            f"{name}-share",
            f"{title}: fastbn's share {share}, by batch size. {_MULTIPLES}",
            plots.by_batch(points, lambda r: results.rates(r)["share"]),
        )
    return drawn


def training_plots(results: Results) -> list[Plot]:
    """Return the plots of training steps: speeds beside the roofline, and ratios."""
    points = results.of("training")
    drawn = plots.drawing(
        "training-speed",
        f"Images trained a second, by batch size, and the roofline of this machine. {_MULTIPLES}",
        plots.speeds(results, points),
    )
    for key, peer in (("ratio_to_numpy", "NumPy"), ("ratio_to_best", "the best peer")):
        drawn += plots.drawing(
            f"training-{key.rpartition('_')[2]}",
            f"Training steps: speed as a multiple of {peer}'s, by batch size. {_MULTIPLES}",
            plots.by_batch(points, _ratio_to(key), ratio=True),
        )
    return drawn


def _table(results: Results, suite: str) -> Table:
    """Every figure with its spread."""
    rate, unit, share = _RATES[suite]
    found = results.of(suite)
    names = [n for n in results.libraries if any(n in r.figures for r in found)]
    limit = ["limit"] if suite != "gemm" else []
    heading = (unit, *names, *limit, f"share {share}", "to NumPy", "to the best", "best peer")
    rows = [
        (
            result.case.name,
            *(_speed(results, result, name, rate) for name in names),
            *([_limit(results, result)] if limit else []),
            f"{results.rates(result)['share']:.0%}",
            _ratio(result.ratios.get("ratio_to_numpy", math.nan)),
            _ratio(result.ratios.get("ratio_to_best", math.nan)),
            str(result.ratios.get("best_peer", "-")),
        )
        for result in found
    ]
    folded = f"All {len(rows)} cases: medians, and the distance between the quartiles"
    return Table(heading, rows, folded=folded)


def _speed(results: Results, result: Result, library: str, rate: str) -> str:
    if library not in result.figures:
        return "-"
    value = results.rates(result, library)[rate]
    return f"{number(value)} \u00b1{result.figures[library].spread / 2:.0%}"


def _limit(results: Results, result: Result) -> str:
    found = results.rates(result)
    if "level" in found:
        return f"{number(found['level_gb_per_s'])} ({found['level']})"
    return number(found["roofline_images_per_s"])


def number(value: float) -> str:
    """Return two digits at least."""
    return f"{value:,.{0 if value >= 10 else 1}f}"


def _ratio_to(key: str) -> plots.Value:
    return lambda result: result.ratios.get(key)


def _ratio(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def _lost(results: Results) -> Section:
    """Every case in which a peer was faster."""
    lost = results.lost()
    if not lost:
        return Section("Cases lost", ["In no case was a peer faster."])
    clearly = sum(r.clearly_lost for r in lost)
    text = (
        f"In {len(lost)} of {len(results.results)} cases a peer was faster; in {clearly} of them "
        "in more than three quarters of the rounds: clearly."
    )
    rows = [
        (
            result.case.name,
            _ratio(result.ratios["ratio_to_best"]),
            str(result.ratios["best_peer"]),
            "yes" if result.clearly_lost else "within the spread",
        )
        for result in lost
    ]
    heading = ("case", "to the best peer", "best peer", "clearly")
    return Section("Cases lost", [text], tables=[Table(heading, rows)])


def _machine(results: Results) -> Section:
    """Everything that is needed to make the report again."""
    machine, limits = results.machine, results.limits
    versions = [str(library["version"]) for library in machine["libraries"].values()]
    rows = [
        ("command", str(machine["command"])),
        ("date", results.date),
        ("processor", str(machine["cpu"])),
        ("system", str(machine["system"])),
        ("Python", str(machine["python"])),
        ("compiler of fastbn", str(machine["compiler"])),
        ("instruction set of fastbn", str(machine["target"])),
        ("threads of each library", str(machine["threads"])),
        ("rounds", str(machine["rounds"])),
        ("libraries", "; ".join(versions)),
        *(
            (f"multiply-adds, {dtype}, measured", f"{peak / 1e9:,.0f} GFLOP/s")
            for dtype, peak in limits.fma.items()
        ),
        *(
            (f"copies in {level.name}, measured", f"{level.bandwidth / 1e9:,.0f} GB/s")
            for level in limits.levels
        ),
    ]
    return Section("The machine", tables=[Table(("", ""), rows, left=2)])
