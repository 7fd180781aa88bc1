"""What cores are taken for, which decides what pays and no bit."""

import pytest

from fastbn import _core


def test_a_known_kind() -> None:
    assert _core.core() in ("half", "whole", "deep")


@pytest.mark.parametrize("name", ["half", "whole", "deep"])
def test_as_told(name: str) -> None:
    own = _core.core()
    _core.assume_core(name)
    try:
        assert _core.core() == name
    finally:
        _core.assume_core(None)
    assert _core.core() == own


def test_an_unknown_kind() -> None:
    own = _core.core()
    with pytest.raises(ValueError, match="'half', 'whole' or 'deep', got 'zen'"):
        _core.assume_core("zen")
    assert _core.core() == own
