"""The documentation: its examples run, its commands are those of CI, its links lead somewhere."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest

import fastbn
from fastbn.cli.output import print_table
from fastbn.compat import cs231n, dlfs
from fastbn.interop import torch
from fastbn.train import Accounting

ROOT = Path(__file__).parent.parent
PAGES = sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").glob("*.md"))
README, CHINESE_README = ROOT / "README.md", ROOT / "README.zh-CN.md"


class Block(NamedTuple):
    """A fenced block: the comment right before it, if there is one, its language and contents."""

    marker: str
    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    fences = re.finditer(
        r"^(?:<!-- ([\w-]+) -->\n)?```(\w*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL
    )
    return [Block(*(group or "" for group in fence.groups())) for fence in fences]


# -- examples --------------------------------------------------------------------------------------


class Example(NamedTuple):
    """Code, and what it must print if the page promises that to the letter."""

    code: str
    output: str | None


def examples() -> list[Any]:
    found = []
    for page in PAGES:
        of_page = blocks(page)
        for place, block in enumerate(of_page):
            if block.language != "python":
                continue
            after = of_page[place + 1] if place + 1 < len(of_page) else Block("", "", "")
            output = after.text if after.marker == "output" else None
            name = f"{page.relative_to(ROOT)}:{place}"
            found.append(pytest.param(Example(block.text, output), id=name))
    return found


@pytest.mark.parametrize("example", examples())
def test_example_runs(example: Example, tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", example.code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert run.returncode == 0, run.stderr
    if example.output is not None:
        assert run.stdout == example.output


def test_every_promised_output_belongs_to_an_example() -> None:
    promised = sum(block.marker == "output" for page in PAGES for block in blocks(page))
    assert promised == sum(example.values[0].output is not None for example in examples())
    assert promised > 0


def test_changed_lines_of_a_numpy_net() -> None:
    """The README's change from NumPy to fastbn gives the same results up to rounding."""
    (diff,) = [block.text for block in blocks(README) if block.language == "diff"]
    before, after = (
        "\n".join(line[1:] for line in diff.splitlines() if line.startswith(sign)) for sign in "-+"
    )
    assert len(before.splitlines()) == len(after.splitlines()) == 2
    rng = np.random.default_rng(0)
    n, k, m = 96, 50, 30
    given = {
        "np": np,
        "fastbn": fastbn,
        "x": rng.standard_normal((n, k)),
        "w": rng.standard_normal((k, m)),
        "gamma": rng.standard_normal(m),
        "beta": rng.standard_normal(m),
    }
    theirs, ours = dict(given), dict(given)
    exec(before, theirs)
    exec(after, ours)
    u = np.finfo(np.float64).eps / 2
    x, w, z = abs(given["x"]), abs(given["w"]), theirs["z"]
    assert (abs(ours["z"] - z) <= 2 * (k + 2) * u * (x @ w)).all()
    # Errors of z and of sums over n rows, relative to the deviation, times gamma.
    condition = ((x @ w).max() + abs(z).max()) / z.std(axis=0)
    bound = 4 * (k + n) * u * condition * (abs(given["gamma"]) + abs(given["beta"]))
    assert (abs(ours["h"] - theirs["h"]) <= bound * (1 + abs(theirs["h"]))).all()


def test_accounting_of_the_readme_is_what_the_command_prints(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (shown,) = [block.text for block in blocks(README) if block.text.startswith("samples ")]
    print_table(Accounting(60_000, 100, 600, 10, "none: the batch size divides the samples").rows())
    assert capsys.readouterr().out.strip() == shown.strip()


# -- commands --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["main", "test"])
def test_set_up_is_one_command_and_ci_runs_it(name: str) -> None:
    (command,) = [block for block in blocks(README) if block.marker == f"{name}-command"]
    assert command.language == "sh"
    assert len(command.text.splitlines()) == 1
    assert re.fullmatch(
        r'python3 -m venv \.venv && \.venv/bin/pip install "\.\[\w+\]" && \.venv/bin/.+\n',
        command.text,
    )
    assert command.text in [block.text for block in blocks(CHINESE_README)]
    assert f"{name}-command" in (ROOT / ".ci" / "run").read_text()


def test_both_languages_show_the_same_code() -> None:
    def code(page: Path) -> list[str]:
        return [
            ast.dump(ast.parse(block.text)) if block.language == "python" else block.text
            for block in blocks(page)
        ]

    assert code(README) == code(CHINESE_README)


# -- links -----------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """Names that headings have on GitHub: lower case, without punctuation, hyphens for spaces."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        goal = page.parent / path if path else page
        assert goal.exists(), link
        if anchor:
            assert anchor in anchors(goal), link


# -- docstrings ------------------------------------------------------------------------------------


def public_objects() -> list[Any]:
    objects = [
        (f"{module.__name__}.{name}", getattr(module, name))
        for module in (fastbn, cs231n, dlfs, torch)
        for name in module.__all__
        if name != "__version__"
    ]
    return [pytest.param(o, id=name) for name, o in objects if not isinstance(o, ModuleType)]


def sections(docstring: str) -> dict[str, str]:
    parts = re.split(r"^([A-Z]\w+)\n-{3,}\n", docstring, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def parameters(thing: Any) -> list[str]:
    """Names of what a function or a class is called with."""
    if inspect.isclass(thing) and all("__init__" not in vars(c) for c in thing.__mro__[:-1]):
        return []
    names = inspect.signature(thing.__init__ if inspect.isclass(thing) else thing).parameters
    return [name for name in names if name != "self"]


@pytest.mark.parametrize("thing", public_objects())
def test_docstring_names_parameters_result_and_errors(thing: Any) -> None:
    docstring = inspect.getdoc(thing)
    assert docstring
    found = sections(docstring)
    described = found.get("Parameters", "") + found.get("Attributes", "")
    for name in parameters(thing):
        assert re.search(rf"\b{name}\b", described), f"{name} is not described"
    if inspect.isclass(thing):
        return
    returned = inspect.signature(thing).return_annotation
    if returned not in (None, "None") and not inspect.isgeneratorfunction(inspect.unwrap(thing)):
        assert "Returns" in found
    if parameters(thing):
        assert "Raises" in found


@pytest.mark.parametrize("thing", public_objects())
def test_public_methods_have_docstrings(thing: Any) -> None:
    if not inspect.isclass(thing):
        return
    for name, member in inspect.getmembers(thing):
        called = inspect.isfunction(member) or isinstance(member, property)
        if called and not name.startswith("_"):
            assert inspect.getdoc(member), name
