"""The command `fastbn`: `fastbn train`, `fastbn bench`, `fastbn info`, `fastbn --version`.

Wrong arguments and unreadable data get one line on stderr and exit code 2; an interruption by the
user exits with 130, as a shell would report it.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from typing import TextIO

from fastbn._core import __version__
from fastbn.cli.bench import add_bench
from fastbn.cli.info import add_info
from fastbn.cli.output import warn
from fastbn.cli.parser import Parser, UsageError
from fastbn.cli.train import add_train

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; None takes those of the process.

    Returns
    -------
    int
        The exit code: 0, or 2 after a wrong argument, 130 after an interruption, 1 if nobody reads
        the output any more.
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            arguments.run(arguments)
        sys.stdout.flush()
    except UsageError as error:
        parser.exit_with(f"fastbn {arguments.command}", str(error))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # as in `fastbn train | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="fastbn",
        description="Trains small neural nets with batch normalization at the speed of the CPU.",
    )
    parser.add_argument("--version", action="version", version=f"fastbn {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    add_train(commands)
    add_bench(commands)
    add_info(commands)
    return parser


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning of the library as one line, without the line of code that it came from."""
    warn(str(message))
