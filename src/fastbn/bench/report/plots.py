"""Drawings by matplotlib, as SVG with text that stays text."""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from fastbn.bench.report.model import Plot
from fastbn.bench.results import OURS, Result, Results

# Told apart by the colour-blind too: M. Okabe and K. Ito, "Color Universal Design".
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_OTHERS = "#999999"
_SIZE = (4.6, 3.5)  # inches: half of a page, or a whole phone
_STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
}
Value = Callable[[Result], float | None]
Draw = Callable[[Any], None]


def drawing(name: str, caption: str, draw: Draw | None) -> list[Plot]:
    """Return a plot in a list; an empty one if there is nothing to draw."""
    if draw is None:
        return []
    matplotlib: Any = importlib.import_module("matplotlib")
    figure_module: Any = importlib.import_module("matplotlib.figure")
    # The salt settles the identifiers in the file: else every run would write another one.
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = figure_module.Figure(figsize=_SIZE, layout="constrained")
        draw(figure)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    return [Plot(name, caption, svg[svg.index("<svg") :])]


def by_batch(results: Sequence[Result], value: Value, *, ratio: bool = False) -> Draw | None:
    """Return what draws a value against the batch size, a curve a layer.

    Parameters
    ----------
    results : sequence of Result
        Those without a batch size are passed over.
    value : callable
        None for a result that has none.
    ratio : bool
        On a logarithmic axis with a line at 1; else as a percentage from 0.
    """
    curves: dict[str, list[tuple[int, float]]] = {}
    for result in results:
        found = value(result)
        if result.case.batch is not None and found is not None:
            curves.setdefault(result.case.curve, []).append((result.case.batch, found))
    if not curves:
        return None
    # Layers with few batch sizes are there for comparison: one grey for all of them.
    full = max(map(len, curves.values())) // 2

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        colours = iter(_COLOURS)
        others = "other layers"
        for name, points in curves.items():
            if len(points) > full:
                _curve(axes, points, next(colours, _OTHERS), name)
            else:
                _curve(axes, points, _OTHERS, others)
                others = ""
        _batch_axis(axes, [batch for points in curves.values() for batch, _ in points])
        if ratio:
            _ratio_axis(axes)
        else:
            axes.set_ylim(bottom=0)
            axes.yaxis.set_major_formatter(_ticker().PercentFormatter(1, decimals=0))
        _legend(figure)

    return draw


def speeds(results: Results, points: Sequence[Result]) -> Draw | None:
    """Return what draws images a second of every library, and the roofline."""
    if not points:
        return None

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for name, colour in zip(results.libraries, _COLOURS, strict=False):
            curve = [
                (r.case.batch, results.rates(r, name)["images_per_s"])
                for r in points
                if name in r.figures and r.case.batch is not None
            ]
            if curve:
                _curve(axes, curve, colour, name, width=2.2 if name == OURS else 1.3)
        ordered = sorted(points, key=lambda r: r.case.batch or 0)
        axes.plot(
            [r.case.batch for r in ordered],
            [results.rates(r)["roofline_images_per_s"] for r in ordered],
            color="black",
            linestyle="--",
            linewidth=1,
            label="roofline",
        )
        _batch_axis(axes, [r.case.batch or 0 for r in points])
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(_ticker().StrMethodFormatter("{x:,.0f}"))
        _legend(figure)

    return draw


def _curve(
    axes: Any, points: Iterable[tuple[int, float]], colour: str, label: str, width: float = 1.5
) -> None:
    """Multiples of 8 as filled points on a line, their neighbours as hollow points beside it."""
    ordered = sorted(points)
    multiples = [(b, v) for b, v in ordered if b % 8 == 0]
    beside = [(b, v) for b, v in ordered if b % 8]
    style = {"color": colour, "linewidth": width, "marker": "o", "markersize": 4}
    if multiples:
        axes.plot(*zip(*multiples, strict=True), **style, label=label or "_")
    if beside:
        hollow = {"linestyle": "none", "markerfacecolor": "white", "markeredgewidth": 1.2}
        axes.plot(*zip(*beside, strict=True), **style | hollow, label="_")


def _batch_axis(axes: Any, batches: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    shown = [b for b in (8, 32, 128, 512, 2048) if min(batches) <= b <= max(batches)]
    axes.set_xticks(shown or sorted(set(batches)))
    axes.xaxis.set_major_formatter(_ticker().StrMethodFormatter("{x:.0f}"))
    axes.xaxis.set_minor_locator(_ticker().NullLocator())
    axes.set_xlabel("batch size")


def _ratio_axis(axes: Any) -> None:
    ticker = _ticker()
    axes.set_yscale("log", base=2)
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, 0.9), max(high, 1.15))
    axes.yaxis.set_major_locator(ticker.LogLocator(base=2, subs=(1.0, 1.5)))
    axes.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_locator(ticker.NullLocator())
    axes.axhline(1, color="black", linewidth=1)


def _legend(figure: Any) -> None:
    # Narrow gaps: a browser's font may be wider than the one that the room was measured with.
    figure.legend(
        loc="outside lower center",
        ncols=4,
        frameon=False,
        fontsize=9,
        columnspacing=1.0,
        handlelength=1.5,
    )


def _ticker() -> Any:
    return importlib.import_module("matplotlib.ticker")
