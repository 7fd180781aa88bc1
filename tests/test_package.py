"""The package as it is installed: what it exports, ships, imports and leaves alone."""

import ast
import importlib.metadata
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fastbn
from fastbn import _core

FOLDER = Path(fastbn.__file__).parent


def test_all_names_can_be_imported() -> None:
    assert len(set(fastbn.__all__)) == len(fastbn.__all__)
    for name in fastbn.__all__:
        assert getattr(fastbn, name) is not None
    assert set(fastbn.__all__) <= set(dir(fastbn))


def test_unknown_names_are_no_attributes() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = fastbn.no_such_name


def test_version_is_that_of_the_distribution() -> None:
    assert fastbn.__version__ == importlib.metadata.version("fastbn") == fastbn.info()["version"]


def test_types_are_shipped() -> None:
    assert (FOLDER / "py.typed").is_file()
    assert (FOLDER / "_core.pyi").is_file()


def test_licences_are_named() -> None:
    metadata = importlib.metadata.metadata("fastbn")
    assert metadata["License-Expression"] == "BSD-3-Clause AND CC-BY-4.0"
    names = {Path(name).name for name in metadata.get_all("License-File", [])}
    assert names == {"LICENSE", "LICENSE-digits.txt"}


def test_numpy_is_the_only_third_party_import() -> None:
    # NumPy's own compiled modules register helpers of Cython under other names: they count as its.
    code = """
import sys, numpy, numpy.random
before = set(sys.modules)
import fastbn, fastbn.datasets, fastbn.train
assert fastbn.Trainer and fastbn.datasets.load_digits()
new = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(new - sys.stdlib_module_names - {"fastbn", "numpy"}))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


def test_importing_the_kernels_does_not_import_training() -> None:
    code = """
import sys, fastbn
fastbn.matmul
rarely_needed = ("train", "datasets", "cli", "compat", "interop", "capi")
print(*(name for name in rarely_needed if f"fastbn.{name}" in sys.modules))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


# -- docstrings ------------------------------------------------------------------------------------


def takes_arrays(thing: Any) -> bool:
    annotations = [str(p.annotation) for p in inspect.signature(thing).parameters.values()]
    return any("Array" in text for text in annotations)


@pytest.mark.parametrize("name", [n for n in fastbn.__all__ if n != "__version__"])
def test_shapes_are_documented(name: str) -> None:
    thing = getattr(fastbn, name)
    if inspect.isfunction(thing) and takes_arrays(thing):
        assert "shape" in (inspect.getdoc(thing) or "")
    elif inspect.isclass(thing):
        for method in ("forward", "backward", "fit", "step", "evaluate", "predict"):
            if takes_arrays(getattr(thing, method, lambda: None)):
                texts = [inspect.getdoc(thing), *(inspect.getdoc(c) for c in thing.__mro__)]
                texts += [inspect.getdoc(getattr(c, method, None)) for c in thing.__mro__]
                assert any("shape" in (text or "") for text in texts), method


# -- the stub of the compiled module ---------------------------------------------------------------

Signature = list[tuple[str, str, Any]]


def signature(function: ast.FunctionDef) -> Signature:
    """List the name, kind and default of each parameter."""
    a = function.args
    kinds = ["positional only"] * len(a.posonlyargs) + ["positional"] * len(a.args)
    defaults = [None] * (len(kinds) - len(a.defaults)) + a.defaults
    listed = [
        (kind, p.arg, default)
        for kind, p, default in zip(kinds, a.posonlyargs + a.args, defaults, strict=True)
    ]
    listed += [("keyword", p.arg, d) for p, d in zip(a.kwonlyargs, a.kw_defaults, strict=True)]
    return [
        (kind, name, "required" if default is None else ast.literal_eval(default))
        for kind, name, default in listed
    ]


def stub_functions() -> dict[str, Signature]:
    tree = ast.parse((FOLDER / "_core.pyi").read_text())
    return {node.name: signature(node) for node in tree.body if isinstance(node, ast.FunctionDef)}


def compiled_functions() -> dict[str, Signature]:
    """Read the signatures that are the first line of each docstring."""
    functions = {}
    for name, thing in vars(_core).items():
        if inspect.isbuiltin(thing):
            first_line = str(thing.__doc__).splitlines()[0]
            (node,) = ast.parse(f"def {first_line}: ...").body
            assert isinstance(node, ast.FunctionDef)
            functions[name] = signature(node)
    return functions


def test_stub_has_the_signatures_of_the_compiled_module() -> None:
    assert stub_functions() == compiled_functions()


# What stubtest cannot see rightly: aliases that only the stub has, and the metaclass and the
# constructor that pybind11 gives to every class.
STUBTEST_ALLOWLIST = r"""
fastbn\._core\.(ActivationName|Array|Matmul|Out|Result|Update|Watched)
fastbn\._core\.(\w+Cache|Tape|Workspace)(\.__init__)?
"""


def test_stub_agrees_with_the_compiled_module_for_stubtest(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed: the extra `lint` has it")
    allowlist = tmp_path / "allowlist"
    allowlist.write_text(STUBTEST_ALLOWLIST)
    command = [sys.executable, "-m", "mypy.stubtest", "fastbn._core", "--concise"]
    command += ["--allowlist", str(allowlist)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
