"""`fastbn info`: what the library found on this machine."""

from __future__ import annotations

import argparse
import platform
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

import fastbn
from fastbn.cli.output import print_table

if TYPE_CHECKING:
    from fastbn.cli.parser import Parser


def add_info(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "info", help="show version, instruction set, caches, threads and compiler"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the table."""
    info = fastbn.info()
    print_table(
        [
            ("version", str(info["version"])),
            ("target", f"{info['target']}  (available: {', '.join(info['available_targets'])})"),
            ("CPU features", " ".join(info["cpu_features"]) or "none"),
            ("caches", _caches(info["cache_sizes"])),
            ("threads", str(info["threads"])),
            ("compiler", str(info["compiler"])),
            ("OpenMP", "yes" if info["openmp"] else "no: threads of its own"),
            ("Python, NumPy", f"{platform.python_version()}, {np.__version__}"),
        ]
    )


def _caches(sizes: Sequence[int]) -> str:
    """Return sizes from level 1 up in a form such as "L1 48 KiB, L2 2 MiB"."""
    return ", ".join(f"L{i} {_bytes(size)}" for i, size in enumerate(sizes, 1)) or "unknown"


def _bytes(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:g} {unit}"
        size /= 1024
    return f"{size:g} GiB"
