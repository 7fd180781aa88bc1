"""Tables for a terminal and for a file: by rich where it is there, else as plain aligned text."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable

from fastbn.train.progress import terminal_has_bar

_WIDTH = 80  # of plain text


def print_table(rows: Iterable[tuple[str, str]], *, title: str = "") -> None:
    """Print names and values side by side.

    Parameters
    ----------
    rows : iterable of (name, value)
        Long values are wrapped.
    title : str
        A heading; none if empty.
    """
    if terminal_has_bar():
        _print_rich(list(rows), title)
    else:
        _print_plain(list(rows), title)


def _print_rich(rows: list[tuple[str, str]], title: str) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", box=box.ROUNDED, show_header=False)
    table.add_column(style="bold cyan", no_wrap=True)
    table.add_column()
    for name, value in rows:
        table.add_row(name, value)
    Console(highlight=False, markup=False).print(table)


def _print_plain(rows: list[tuple[str, str]], title: str) -> None:
    if title:
        print(title)
    left = max(len(name) for name, _ in rows) + 2
    for name, value in rows:
        lines = textwrap.wrap(value, _WIDTH - left, break_on_hyphens=False) or [""]
        print(f"{name:{left}}{lines[0]}")
        for line in lines[1:]:
            print(" " * left + line)
    print(flush=True)


def warn(message: str) -> None:
    """Print one line to stderr."""
    sys.stdout.flush()
    print(f"fastbn: warning: {' '.join(message.split())}", file=sys.stderr)
