"""What `import fastbn` costs beside `import numpy`: medians of new processes, taken in turn.

The argument is the number of rounds.
"""

import statistics
import subprocess
import sys

TARGET_MS = 30.0
CODE = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"


def milliseconds(modules: str) -> float:
    """Return what the import of the modules takes in a process of its own."""
    command = [sys.executable, "-c", CODE.format(modules)]
    return 1e3 * float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Print the medians and their difference."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 11
    pairs = []
    for round_ in range(rounds + 1):  # the first fills the file system's cache
        pair = milliseconds("numpy"), milliseconds("numpy, fastbn")
        if round_:
            pairs.append(pair)
    numpy, both = (statistics.median(side) for side in zip(*pairs, strict=True))
    more = statistics.median(both - numpy for numpy, both in pairs)
    print(f"import numpy:          {numpy:6.1f} ms")
    print(f"import numpy, fastbn:  {both:6.1f} ms")
    print(f"fastbn alone:          {more:6.1f} ms  (aim: at most {TARGET_MS:g} ms)")
    print(f"(medians of {rounds} rounds, each a new process for either)")


if __name__ == "__main__":
    main()
