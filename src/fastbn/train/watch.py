"""What a tape holds for."""

from __future__ import annotations

from typing import Any

from fastbn import _core


def watch(*objects: tuple[object, dict[str, Any]]) -> _core.Watched:
    """Objects with their attributes, as `Tape.run` compares them, by identity.

    Those of a dict are what it holds.  An attribute that may be another has `...` for its value.
    """
    return tuple(
        (part, type(part), tuple(attributes), tuple(attributes.values()))
        for part, attributes in objects
    )
