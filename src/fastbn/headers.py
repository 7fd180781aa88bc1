"""Where the C header is."""

from __future__ import annotations

import os

from fastbn import _core

__all__ = ["get_include"]


def get_include() -> str:
    """Return the folder of the C header: compile with ``-I`` and ``#include "fastbn/capi.h"``.

    Cython code needs no header: ``from fastbn cimport capi`` finds the installed package.

    Returns
    -------
    str
        Absolute path.
    """
    # In an editable install the header lies with the compiled modules, not beside this file.
    return os.path.join(os.path.dirname(os.path.abspath(_core.__file__)), "include")
