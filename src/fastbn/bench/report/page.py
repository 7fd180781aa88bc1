"""The report as one HTML page: styles and drawings inside, no script, readable on a phone."""

from __future__ import annotations

from html import escape

from fastbn.bench.report.model import Plot, Report, Section, Table

_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 75rem; padding: 1rem; background: #fff; color: #1b1b1b;
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccc; font-size: 1.25rem; }
p { max-width: 45rem; }
.warning { padding: .6rem .8rem; border: 3px solid #b00020; background: #fdecea; font-weight: 700;
  overflow-wrap: anywhere; max-width: none; }
.plots { display: grid; gap: 1.5rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); }
figure { margin: 0; min-width: 0; max-width: 38rem; }
figure svg { display: block; width: 100%; height: auto; }
figcaption { font-size: .85rem; color: #444; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #ddd; text-align: right;
  vertical-align: top; }
td { white-space: nowrap; }
th { background: #f4f4f4; }
.word { text-align: left; }
.text td.word { white-space: normal; overflow-wrap: anywhere; }
@media (max-width: 40rem) {
  td.word { white-space: normal; min-width: 8rem; }
  th, td { padding: .25rem .35rem; }
}
summary { cursor: pointer; font-weight: 600; }
"""


def as_page(report: Report) -> str:
    """Return the page."""
    body = [f"<h1>{escape(report.title)}</h1>"]
    body += [f'<p class="warning" role="alert">{escape(text)}</p>' for text in report.warnings]
    body += [_section(section) for section in report.sections]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(report.title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def _section(section: Section) -> str:
    parts = [f"<section>\n<h2>{escape(section.title)}</h2>"]
    parts += [f"<p>{escape(text)}</p>" for text in section.text]
    if section.plots:
        parts.append(f'<div class="plots">\n{"".join(map(_figure, section.plots))}</div>')
    parts += map(_table, section.tables)
    return "\n".join([*parts, "</section>"])


def _figure(plot: Plot) -> str:
    # A name for those who do not see it; and its size from the page, not in points.
    svg = plot.svg.replace(
        "<svg ", f'<svg role="img" aria-label="{escape(plot.caption, quote=True)}" ', 1
    )
    caption = f"<figcaption>{escape(plot.caption)}</figcaption>"
    return f'<figure id="{escape(plot.name, quote=True)}">\n{svg}{caption}\n</figure>\n'


def _table(table: Table) -> str:
    lines = [_row("th", table.heading, table.left)] if any(table.heading) else []
    lines += [_row("td", row, table.left) for row in table.rows]
    kind = ' class="text"' if table.left > 1 else ""
    text = f'<div class="scroll"><table{kind}>\n' + "\n".join(lines) + "\n</table></div>"
    if not table.folded:
        return text
    return f"<details>\n<summary>{escape(table.folded)}</summary>\n{text}\n</details>"


def _row(tag: str, cells: tuple[str, ...], left: int) -> str:
    kinds = [' class="word"' if place < left else "" for place in range(len(cells))]
    texts = (
        f"<{tag}{kind}>{escape(cell)}</{tag}>" for kind, cell in zip(kinds, cells, strict=True)
    )
    return f"<tr>{''.join(texts)}</tr>"
