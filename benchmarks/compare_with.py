"""Measure this checkout by the quick set, and compare it with an earlier run.

    python benchmarks/compare_with.py BEFORE.json

Fails on a loss of over 10 % in the ratio to NumPy (fastbn.bench.compare): exit code 1.  What looks
like one is measured a second time, and is one only if it is there again.
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


def compared(before: str, folder: Path) -> int:
    """Measure once or twice; the exit code of `compare`."""
    runs = [before, measured(folder / "after.json")]
    code = compare.main(runs)
    if code != 1:
        return code
    print("measured again, since another process may have had the machine:")
    return compare.main([*runs, measured(folder / "after-again.json")])


def main() -> int:
    """Run the command: 0 without a loss, 1 with one, 2 after a mistake."""
    if len(sys.argv) != 2:
        print("usage: compare_with.py BEFORE.json", file=sys.stderr)
        return 2
    before = sys.argv[1]
    if compare.main([before, before]) == 2:  # it cannot be read, which is better known at once
        return 2
    try:
        with tempfile.TemporaryDirectory() as folder:
            return compared(before, Path(folder))
    except subprocess.CalledProcessError as error:
        print(f"compare_with: error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
