"""Measure everything, and write the README's section on performance from the results.

python benchmarks/update_readme.py [options of pytest benchmarks/, such as --quick]
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmark.json"


def main() -> None:
    """Run the two commands."""
    measure = ["pytest", "benchmarks/", *sys.argv[1:], f"--benchmark-json={RESULTS}"]
    write = ["fastbn.bench.report.readme", str(RESULTS), "README.md"]
    for command in (measure, write):
        subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
