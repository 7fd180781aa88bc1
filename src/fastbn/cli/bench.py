"""`fastbn bench`: how fast this machine is with fastbn, with NumPy and with what else there is."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from fastbn.cli.parser import UsageError, at_least_one

if TYPE_CHECKING:
    from fastbn.cli.parser import Parser

_SUITES = ("gemm", "batchnorm", "training", "all")


def add_bench(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "bench", help="compare speeds with NumPy and other installed libraries"
    )
    parser.add_argument(
        "suite", nargs="?", default="all", choices=_SUITES, help="(default: %(default)s)"
    )
    parser.add_argument("--quick", action="store_true", help="a selection: less than two minutes")
    parser.add_argument(
        "--threads", type=at_least_one, metavar="T", help="of each library (default: one per core)"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the report as a page")
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="... as Markdown, with plots beside it"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results")
    parser.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="FILE",
        help="report on results written before, by --json or by pytest-benchmark",
    )
    # For the tests, which want to see that it works and not how fast.
    parser.add_argument("--rounds", type=at_least_one, help=argparse.SUPPRESS)
    parser.add_argument("--only", default="", help=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Compare, or read what was compared, and write what was asked for.

    Parameters
    ----------
    arguments : argparse.Namespace
        What the parser read.

    Raises
    ------
    UsageError
        If a file cannot be written or read, or a plot not be drawn.
    """
    # Here, as the other commands do not need them.
    from fastbn.bench.command import save
    from fastbn.bench.report import write_html, write_markdown
    from fastbn.bench.results import ResultsError, read, results_of

    _check_files(arguments)
    try:
        document = _compare(arguments) if arguments.source is None else read(arguments.source)
        results = results_of(document)
    except (OSError, ResultsError) as error:
        raise UsageError(f"argument --from: {error}") from error
    try:
        if arguments.json is not None:
            save(document, arguments.json)
        if arguments.html is not None:
            write_html(results, arguments.html)
        if arguments.markdown is not None:
            write_markdown(results, arguments.markdown)
    except OSError as error:
        raise UsageError(str(error)) from error


def _check_files(arguments: argparse.Namespace) -> None:
    """Find out before minutes of measuring what could not be written after them."""
    for option in ("html", "markdown", "json"):
        path = getattr(arguments, option)
        if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
            raise UsageError(f"argument --{option}: {path} is no file in an existing folder")
        if path is not None and option != "json" and not importlib.util.find_spec("matplotlib"):
            raise UsageError(
                f"argument --{option}: the plots need matplotlib: pip install 'fastbn[bench]'"
            )


def _compare(arguments: argparse.Namespace) -> dict[str, object]:
    from fastbn.bench.command import Plan, all_suites
    from fastbn.bench.command import run as compare
    from fastbn.bench.environment import cpus_at_hand
    from fastbn.bench.team import WorkerError

    plan = Plan(
        suites=all_suites(arguments.suite),
        threads=arguments.threads or len(cpus_at_hand()),
        quick=arguments.quick,
        rounds=arguments.rounds,
        only=arguments.only,
    )
    words = ["fastbn bench", arguments.suite, *(["--quick"] if arguments.quick else [])]
    if arguments.threads is not None:
        words += ["--threads", str(arguments.threads)]
    try:
        return compare(plan, " ".join(words), lambda line: print(line, flush=True))
    except WorkerError as error:
        raise UsageError(str(error)) from error
