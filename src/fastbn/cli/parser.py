"""A parser of arguments whose complaints are one line, and the kinds of arguments there are."""

from __future__ import annotations

import argparse
import math
import sys
from typing import Any, NoReturn

_LARGEST_LAYER = 1 << 16


class UsageError(Exception):
    """What the user asked for cannot be done; the message is one line for him."""


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` that answers a wrong argument by one line on stderr and exit code 2."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Print the message without the usage, and exit."""
        self.exit_with(self.prog, message)

    @staticmethod
    def exit_with(prog: str, message: str) -> NoReturn:
        """Print one line, and exit with code 2."""
        print(f"{prog}: error: {' '.join(message.split())}", file=sys.stderr)
        sys.exit(2)


def at_least_one(text: str) -> int:
    """Read an integer of 1 or more."""
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer") from None
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {number}")
    return number


def at_least_zero(text: str) -> float:
    """Read a finite number of 0 or more."""
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not (math.isfinite(number) and number >= 0):
        raise argparse.ArgumentTypeError(f"must be finite and at least 0, not {text}")
    return number


def above_zero(text: str) -> float:
    """Read a finite number above 0."""
    number = at_least_zero(text)
    if number == 0:
        raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
    return number


def seed(text: str) -> int:
    """Read an integer of 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer of 0 or more")
    return int(text)


def layer_sizes(text: str) -> tuple[int, ...]:
    """Read sizes of layers, separated by commas."""
    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a list of sizes such as 512,256"
        ) from None
    for size in sizes:
        if not 1 <= size <= _LARGEST_LAYER:
            raise argparse.ArgumentTypeError(f"a layer has 1 to {_LARGEST_LAYER:,}, not {size}")
    return sizes
