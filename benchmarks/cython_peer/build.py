"""Builds a Cython module of this folder in the way that any project would, and imports it.

Two commands: Cython makes C of it, finding fastbn's capi.pxd in the installed package; the C
compiler makes a library of that.
"""

import importlib.util
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parent


def build(name: str) -> ModuleType:
    """Build and import ``<name>.pyx``; a failing command raises CalledProcessError."""
    with tempfile.TemporaryDirectory() as folder:
        c_file = Path(folder) / f"{name}.c"
        library = Path(folder) / f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}"
        cython = [sys.executable, "-m", "cython", "-3", str(FOLDER / f"{name}.pyx")]
        # -O3 -march=native: the best that a compiler makes of plain loops for this very machine.
        compiler = ["cc", "-O3", "-march=native", "-shared", "-fPIC"]
        include = f"-I{sysconfig.get_path('include')}"
        subprocess.run([*cython, "-o", str(c_file)], check=True)
        subprocess.run([*compiler, include, str(c_file), "-o", str(library)], check=True)
        spec = importlib.util.spec_from_file_location(name, library)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
