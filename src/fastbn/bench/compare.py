"""Whether a change lost speed: the ratios to NumPy of two runs, not their times.

    python -m fastbn.bench.compare BEFORE.json AFTER.json

Times of two machines cannot be compared, nor those of two days on one; the ratio to NumPy, measured
in turns within each run, can.  Exit code 1 if there is a loss of more than 10 %.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fastbn.bench.ratios import geometric_mean
from fastbn.bench.record import quartiles
from fastbn.bench.results import Result, Results, ResultsError, read, results_of

ALLOWED_LOSS = 0.10


@dataclass(frozen=True)
class Change:
    """Ratios to NumPy of one case, or geometric means of an operation, before and after."""

    name: str
    before: float
    after: float
    lost: bool

    def __str__(self) -> str:
        return f"{self.name}: {self.before:.2f} -> {self.after:.2f}"


def changes(before: Results, after: Results) -> list[Change]:
    """Return the changes of all cases that both runs have, then of their operations.

    A case has lost if its ratio fell by more than 10 %, and so did the upper quartile of the later
    rounds from the lower one of the earlier: one that only scatters has not.  An operation has lost
    if the geometric mean of its cases fell so far.

    Raises
    ------
    ResultsError
        If the runs have no case in common, or differ in threads.
    """
    if before.machine["threads"] != after.machine["threads"]:
        raise ResultsError(
            f"the runs differ in threads: {before.machine['threads']} and "
            f"{after.machine['threads']}"
        )
    earlier = {result.case: result for result in before.results if _ratio(result) is not None}
    pairs = [
        (earlier[result.case], result)
        for result in after.results
        if result.case in earlier and _ratio(result) is not None
    ]
    if not pairs:
        raise ResultsError("the runs have no case in common")
    return [*(_of_case(*pair) for pair in pairs), *_of_operations(pairs)]


def _of_case(old: Result, new: Result) -> Change:
    before, after = _known_ratio(old), _known_ratio(new)
    allowed = 1 - ALLOWED_LOSS
    lower = quartiles(old.ratios_by_round("numpy"))[0]
    upper = quartiles(new.ratios_by_round("numpy"))[2]
    lost = after < allowed * before and upper < allowed * lower
    return Change(new.case.name, before, after, lost)


def _of_operations(pairs: Sequence[tuple[Result, Result]]) -> list[Change]:
    found = []
    for kind in dict.fromkeys((new.case.suite, new.case.operation) for _, new in pairs):
        chosen = [p for p in pairs if (p[1].case.suite, p[1].case.operation) == kind]
        before = geometric_mean([_known_ratio(old) for old, _ in chosen])
        after = geometric_mean([_known_ratio(new) for _, new in chosen])
        lost = after < (1 - ALLOWED_LOSS) * before
        found.append(Change(f"{' '.join(kind)}, geometric mean", before, after, lost))
    return found


def _ratio(result: Result) -> float | None:
    return result.ratios.get("ratio_to_numpy")


def _known_ratio(result: Result) -> float:
    return float(result.ratios["ratio_to_numpy"])


def main(arguments: Sequence[str]) -> int:
    """Run the command: 0 without a loss, 1 with one, 2 after a mistake."""
    if len(arguments) != 2:
        print("usage: compare BEFORE.json AFTER.json", file=sys.stderr)
        return 2
    try:
        found = changes(*(results_of(read(Path(name))) for name in arguments))
    except (OSError, ResultsError) as error:
        print(f"compare: error: {error}", file=sys.stderr)
        return 2
    losses = [change for change in found if change.lost]
    for change in found:
        if change in losses or "geometric mean" in change.name:
            print(f"{'LOST ' if change.lost else '     '}{change}")
    print(f"{len(losses)} losses of more than {ALLOWED_LOSS:.0%} in the ratio to NumPy")
    return 1 if losses else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
