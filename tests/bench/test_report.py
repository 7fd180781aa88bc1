"""The report: contents, plots and tables, in the files and as a browser shows them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bench import documents
from fastbn.bench.report import readme, write_html, write_markdown
from fastbn.bench.results import Results, ResultsError, results_of
from fastbn.bench.shapes import Case

pytest.importorskip("matplotlib", reason="matplotlib is not installed: the extra `bench` has it")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PLOTS = 3 * 3 + 3 * 3 + 3  # ratios and shares of six operations, and three of training
WARNING = "OPENBLAS_CORETYPE=<Haswell>"


def factor(case: Case, library: str) -> float:
    if library == "torch":
        return 0.5 if case.batch == 7 else 3.0
    return 1.0 if library == "fastbn" else 2.0


@pytest.fixture(scope="module")
def results() -> Results:
    return results_of(documents.make(factor, scatter=0.1, warnings=[WARNING]))


@pytest.fixture(scope="module")
def page(results: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_html(results, path)
    return path


class Elements(HTMLParser):
    """Counts of elements, and what they refer to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}
        self.references: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        names = ("src", "href", "xlink:href")
        self.references += [value or "" for name, value in attrs if name in names]


def test_the_page_needs_no_other_file(page: Path) -> None:
    elements = Elements(page.read_text())
    assert elements.counts["svg"] == PLOTS
    assert "script" not in elements.counts
    assert "link" not in elements.counts
    assert all(reference.startswith("#") for reference in elements.references)
    assert "@import" not in page.read_text()
    assert not re.search(r"url\((?!#)", page.read_text())


def test_the_page_says_what_a_sceptic_asks(page: Path) -> None:
    text = page.read_text()
    for said in (
        "OPENBLAS_CORETYPE=&lt;Haswell&gt;",  # the warning, and escaped
        "fastbn bench --quick",
        "torch 1.0",
        "400 GFLOP/s",
        "avx2",
        "more than three quarters of the rounds: clearly",
        "not multiples of 8",
        "\u00b15%",  # the quartiles of a scatter of 10 % are 5 % to either side
        "roofline",
    ):
        assert said in text, said


def test_lost_cases_are_listed_the_worst_first(page: Path) -> None:
    text = page.read_text()
    listed = text[text.index("Cases lost") :]
    assert listed.count("b=7") == 3 * 3 + 1
    assert "0.50" in listed


def test_the_same_results_give_the_same_page(results: Results, tmp_path: Path, page: Path) -> None:
    again = tmp_path / "again.html"
    write_html(results, again)
    assert again.read_text() == page.read_text()


def test_markdown_shows_plots_that_are_there(results: Results, tmp_path: Path) -> None:
    path = tmp_path / "report.md"
    write_markdown(results, path)
    text = path.read_text()
    links = re.findall(r"!\[.+?\]\((.+?)\)", text)
    assert len(links) == PLOTS
    for link in links:
        ElementTree.parse(tmp_path / link)  # well-formed
    for table in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        assert len({line.count(" | ") for line in table.splitlines()}) == 1
    assert f"**WARNING:** {WARNING}" in text


def test_hollow_points_are_the_neighbours(results: Results) -> None:
    from fastbn.bench.report import plots

    (plot,) = plots.drawing(
        "x", "", plots.by_batch(results.of("training"), lambda r: 1.0, ratio=True)
    )
    # Matplotlib writes the fill of a marker where it is used: white for batches 7 and 100.
    used = re.findall(r"<use [^>]*style=\"fill: (#\w+)", plot.svg)
    assert used.count("#ffffff") == 2


def test_nothing_to_draw_is_no_plot(results: Results) -> None:
    from fastbn.bench.report import plots

    assert plots.drawing("x", "", plots.by_batch([], lambda r: 1.0)) == []


# -- the README ------------------------------------------------------------------------------------


def test_the_readme_section_is_replaced_between_its_marks(results: Results, tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(f"before\n\n{readme.BEGIN}\nold figures\n{readme.END}\n\nafter\n")
    readme.write(results, [path])
    first = path.read_text()
    assert first.startswith("before\n")
    assert first.endswith("\nafter\n")
    assert "old figures" not in first
    links = re.findall(r"!\[.+?\]\((.+?)\)", first)
    assert len(links) == 2
    assert all((tmp_path / link).is_file() for link in links)
    readme.write(results, [path])
    assert path.read_text() == first


def test_a_readme_without_marks_and_results_without_a_suite_are_refused(
    results: Results, tmp_path: Path
) -> None:
    path = tmp_path / "README.md"
    path.write_text("nothing\n")
    with pytest.raises(ResultsError, match="no section"):
        readme.write(results, [path])
    with pytest.raises(ResultsError, match="training"):
        readme.section(results_of(documents.make(suites=["gemm"])))
    assert readme.main([]) == 2
    assert readme.main([str(tmp_path / "none.json"), str(path)]) == 2


# -- in a browser ----------------------------------------------------------------------------------


def browse(page: Path, folder: Path, *options: str) -> str:
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"]
    command += ["--no-first-run", "--disable-background-networking", "--disable-sync"]
    command += ["--disable-component-update", f"--user-data-dir={folder}", *options]
    run = subprocess.run(
        [*command, page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env={**os.environ, "HOME": str(folder)},
    )
    return run.stdout


# Run in the page once it is laid out: what has been drawn, and where.
PROBE = """
<script>
addEventListener("load", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
  const box = (e) => e.getBoundingClientRect();
  const seen = (e) => box(e).width > 100 && box(e).height > 20;
  const plots = [...document.querySelectorAll("figure svg")];
  const report = {
    plots: plots.filter(seen).length,
    curves: plots.filter((p) => p.querySelectorAll("path").length > 5).length,
    words: plots.filter((p) => p.textContent.includes("batch size")).length,
    tables: [...document.querySelectorAll("table")].filter(seen).length,
    rows: document.querySelectorAll("tr").length,
    alerts: [...document.querySelectorAll("[role=alert]")].filter(seen).length,
    overflow: document.documentElement.scrollWidth - innerWidth,
    columns: new Set(plots.map((p) => Math.round(box(p).left))).size,
  };
  document.body.dataset.probe = Object.entries(report).map(([k, v]) => k + "=" + v).join(" ");
});
</script>
"""


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.parametrize(("width", "least_columns"), [(1280, 2), (500, 1)])
def test_a_browser_shows_plots_and_tables(
    page: Path, tmp_path: Path, width: int, least_columns: int
) -> None:
    probed = tmp_path / "probed.html"
    probed.write_text(page.read_text().replace("</body>", PROBE + "</body>"))
    dom = browse(probed, tmp_path / "profile", f"--window-size={width},900", "--dump-dom")
    found = re.search(r'data-probe="([^"]*)"', dom)
    assert found is not None
    seen: dict[str, Any] = {k: int(v) for k, v in (pair.split("=") for pair in found[1].split())}
    assert seen["plots"] == seen["curves"] == seen["words"] == PLOTS
    assert seen["tables"] == 6  # summary, three suites, lost cases, the machine
    assert seen["rows"] > 80
    assert seen["alerts"] == 1
    assert seen["overflow"] <= 0  # nothing sticks out to the side
    assert seen["columns"] >= least_columns
