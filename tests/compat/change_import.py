"""A net's module, as it is and with its import changed: no other line of it differs."""

from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parent / "nets"


def load(name: str, package: str) -> ModuleType:
    """Load ``nets/<name>_net.py``, importing from `package` what it imports from plain NumPy."""
    source = (FOLDER / f"{name}_net.py").read_text()
    plain = f"from compat.plain_{name} import"
    assert source.count(plain) == 1
    module = ModuleType(f"{name}_net_on_{package}")
    exec(compile(source.replace(plain, f"from {package} import"), package, "exec"), vars(module))
    return module
