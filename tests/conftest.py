"""Fixtures that every test may ask for."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

SEED = 20150211


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for `target` once on every target that this CPU can run.

    One that asks for `core` too runs on AVX-512 three times, as on each kind of core, and on the
    others as on one kind, whatever this machine's is.
    """
    if "target" not in metafunc.fixturenames:
        return
    from fastbn import _core

    targets = _core.available_targets()
    if "core" not in metafunc.fixturenames:
        metafunc.parametrize("target", targets, indirect=True)
        return
    kinds = {"avx2": "whole"}
    pairs = [(name, kinds.get(name, "deep")) for name in targets if name != "avx512"]
    pairs += [("avx512", core) for core in ("half", "whole", "deep") if "avx512" in targets]
    metafunc.parametrize(("target", "core"), pairs, indirect=True)


@pytest.fixture
def target(request: pytest.FixtureRequest) -> Iterator[str]:
    """Put the target in force for one test."""
    from fastbn import _core

    before = _core.get_target()
    _core.set_target(request.param)
    yield request.param
    _core.set_target(before)


@pytest.fixture
def core(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let the CPU's cores pass for those of a kind, if one is named."""
    from fastbn import _core

    _core.assume_core(getattr(request, "param", None))
    yield
    _core.assume_core(None)


@pytest.fixture(params=[False, True], ids=["near", "far"])
def distance(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let threads pass for near to one another, and for far apart."""
    from fastbn import _core

    _core.assume_far_apart(request.param)
    yield
    _core.assume_far_apart(None)


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> Any:
    """Both dtypes that the kernels know."""
    return request.param


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Set the number of threads; it may exceed the number of CPUs.  Restored after the test."""
    from fastbn import _core

    before = _core.get_num_threads()
    yield _core.set_num_threads
    _core.set_num_threads(before)


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in every run."""
    return np.random.default_rng(SEED)


@pytest.fixture(autouse=True)
def seeds() -> Iterator[None]:
    """What a test leaves without a seed draws the same numbers in every run of that test.

    Without it a net of a few units is born dead now and then, and the test fails once in 35 runs.
    """
    np.random.seed(SEED)  # noqa: NPY002 (the courses draw from it)
    sequence, make = np.random.SeedSequence(SEED), np.random.default_rng

    def default_rng(seed: Any = None) -> np.random.Generator:
        return make(sequence.spawn(1)[0] if seed is None else seed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np.random, "default_rng", default_rng)
        yield
