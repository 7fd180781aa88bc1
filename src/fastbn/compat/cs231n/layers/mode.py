"""The key ``mode`` of the parameters of batch normalization and dropout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["is_training"]


def is_training(name: str, param: Mapping[str, Any]) -> bool:
    """Whether ``param["mode"]`` is 'train' rather than 'test'; ValueError for anything else."""
    mode = param.get("mode")
    if mode not in ("train", "test"):
        raise ValueError(f"{name}['mode'] must be 'train' or 'test', got {mode!r}")
    return bool(mode == "train")
