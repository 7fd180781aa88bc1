"""Reading and checking of state dictionaries, of nets and of optimizers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastbn.functional import Array

__all__ = ["staged"]


def staged(live: Mapping[str, Array], given: Mapping[str, Any]) -> dict[str, Array]:
    """Copy the arrays of `given`, all of which must fit those of `live`.

    Everything is read and checked before the caller writes anything: a file that breaks off or an
    array that does not fit leaves the old state whole.  Copies, as `given` may hold views of
    `live`.

    Raises
    ------
    ValueError
        If names are missing or unknown, or a shape differs.
    TypeError
        If a dtype differs.
    """
    missing = [name for name in live if name not in given]
    unknown = [name for name in given if name not in live]
    if missing or unknown:
        raise ValueError(f"state does not fit: missing {missing}, unknown {unknown}")
    arrays = {name: np.array(given[name]) for name in live}
    for name, array in arrays.items():
        if array.dtype != live[name].dtype:
            raise TypeError(f"{name} is {live[name].dtype}, got {array.dtype}")
        if array.shape != live[name].shape:
            raise ValueError(f"{name} has shape {live[name].shape}, got {array.shape}")
    return arrays
