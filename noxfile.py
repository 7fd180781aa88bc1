"""Sessions of nox: `nox` runs all of them, `nox -s lint types` some."""

import pathlib

import nox

nox.options.default_venv_backend = "venv"


@nox.session(python=["3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    """Install the library and run its tests."""
    session.install(".[test]")
    session.run("pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check the style of Python and C++."""
    session.install(".[lint]")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    sources = session.run("git", "ls-files", "*.cpp", "*.h", external=True, silent=True)
    session.run("clang-format", "--dry-run", "-Werror", *str(sources).split())


@nox.session
def types(session: nox.Session) -> None:
    """Check the types, and the stub of the compiled module against it."""
    session.install(".[lint]")
    session.run("mypy")
    session.run("pytest", "tests/test_package.py")


@nox.session
def build(session: nox.Session) -> None:
    """Build the source distribution, and from it the wheel."""
    session.install("build")
    session.run("python", "-m", "build", "--outdir", "dist")


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Run the benchmarks against all peers, and write the report; `-- --quick` for less."""
    session.install(".[test,peers]")
    results = "benchmark.json"
    session.run("pytest", "benchmarks/", f"--benchmark-json={results}", *session.posargs)
    session.run("fastbn", "bench", "--from", results, "--html", "benchmark.html")


@nox.session(name="bench-compare", default=False)
def bench_compare(session: nox.Session) -> None:
    """Fail if the ratio to NumPy fell by more than 10 %: `-- BEFORE.json [AFTER.json]`.

    Without the second file this checkout is measured, by the quick set, and what looks like a loss
    a second time.
    """
    if not 1 <= len(session.posargs) <= 2:
        session.error("usage: nox -s bench-compare -- BEFORE.json [AFTER.json]")
    session.install(".[test]")
    files = [str(pathlib.Path(name).resolve()) for name in session.posargs]
    if len(files) == 1:
        session.run("python", "benchmarks/compare_with.py", *files)
    else:
        session.run("python", "-m", "fastbn.bench.compare", *files)
