"""The report: one content, as a self-contained page, as Markdown, and as a section of the README.

contents    what is said, shown and listed
plots       its drawings, by matplotlib, as SVG
page        its form as HTML
markdown    its form as Markdown
readme      the short form
"""

from __future__ import annotations

from pathlib import Path

from fastbn.bench.report.contents import contents
from fastbn.bench.report.markdown import as_markdown
from fastbn.bench.report.page import as_page
from fastbn.bench.results import Results

__all__ = ["write_html", "write_markdown"]


def write_html(results: Results, path: Path) -> None:
    """Write one page that needs no other file."""
    path.write_text(as_page(contents(results)), encoding="utf-8")


def write_markdown(results: Results, path: Path) -> None:
    """Write a Markdown page, and its plots into the folder <name>-plots beside it."""
    folder = path.with_name(f"{path.stem}-plots")
    folder.mkdir(exist_ok=True)
    report = contents(results)
    for plot in report.plots():
        (folder / f"{plot.name}.svg").write_text(plot.svg, encoding="utf-8")
    path.write_text(as_markdown(report, folder.name), encoding="utf-8")
