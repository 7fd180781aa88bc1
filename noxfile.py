"""Sessions of nox: `nox` runs all of them, `nox -s lint types` some."""

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
