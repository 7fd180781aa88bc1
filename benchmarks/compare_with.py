"""Measure this checkout by the quick set, and compare it with an earlier run.

    python benchmarks/compare_with.py BEFORE.json

Fails on a loss of over 10 % in the ratio to NumPy (fastbn.bench.compare).  What looks like one is
measured a second time, and is one only if it is there again.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from fastbn.bench import compare

ROOT = Path(__file__).parents[1]


def measured(path: Path) -> str:
    """Measure into a file, and return its name."""
    command = ["pytest", "benchmarks/", "--quick", f"--benchmark-json={path}"]
    subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=True)
    return str(path)


def main() -> int:
    """Measure and compare; the exit code of `compare`."""
    if len(sys.argv) != 2:
        print("usage: compare_with.py BEFORE.json", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        runs = [sys.argv[1], measured(Path(folder, "after.json"))]
        if compare.main(runs) == 1:
            print("measured again, since another process may have had the machine:")
            runs.append(measured(Path(folder, "after-again.json")))
        return compare.main(runs)


if __name__ == "__main__":
    sys.exit(main())
