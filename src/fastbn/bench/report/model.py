"""The parts of a report, without a form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Plot:
    """A drawing.

    Attributes
    ----------
    name : str
        Of its file.
    caption : str
    svg : str
    """

    name: str
    caption: str
    svg: str


@dataclass(frozen=True)
class Table:
    """Rows of text; the first `left` columns are words, the others numbers.

    Attributes
    ----------
    heading : tuple of str
    rows : sequence of tuple of str
    left : int
    folded : str
        What a reader clicks on to see a long table; it is in sight if empty.
    """

    heading: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    left: int = 1
    folded: str = ""


@dataclass(frozen=True)
class Section:
    """A heading, and what stands below it in this order: text, plots, tables."""

    title: str
    text: list[str] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)


@dataclass(frozen=True)
class Report:
    """A title, warnings that cannot be missed, and sections."""

    title: str
    warnings: list[str]
    sections: list[Section]

    def plots(self) -> Iterator[Plot]:
        """All plots."""
        for section in self.sections:
            yield from section.plots
