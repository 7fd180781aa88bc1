"""The report as Markdown, its plots in files."""

from __future__ import annotations

from fastbn.bench.report.model import Plot, Report, Section, Table


def as_markdown(report: Report, folder: str) -> str:
    """Return the page.

    Parameters
    ----------
    report : Report
    folder : str
        Where the plots are, seen from the page.
    """
    parts = [f"# {report.title}"]
    parts += [f"> **WARNING:** {text}" for text in report.warnings]
    for section in report.sections:
        parts += _section(section, folder)
    return "\n\n".join(parts) + "\n"


def _section(section: Section, folder: str) -> list[str]:
    parts = [f"## {section.title}", *section.text]
    parts += [image(plot, folder) for plot in section.plots]
    for table in section.tables:
        if table.folded:
            parts += [f"<details><summary>{table.folded}</summary>", as_table(table), "</details>"]
        else:
            parts.append(as_table(table))
    return parts


def image(plot: Plot, folder: str) -> str:
    """Return a plot as a picture with its caption."""
    return f"![{plot.caption}]({folder}/{plot.name}.svg)"


def as_table(table: Table) -> str:
    """Return a table, words to the left and numbers to the right."""
    rule = [":--" if place < table.left else "--:" for place in range(len(table.heading))]
    lines = [table.heading, tuple(rule), *table.rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
