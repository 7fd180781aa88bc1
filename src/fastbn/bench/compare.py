"""Whether a change lost speed: the ratios to NumPy of two runs, not their times.

    python -m fastbn.bench.compare BEFORE.json AFTER.json [AFTER_AGAIN.json ...]

Times of two machines cannot be compared, nor those of two days on one; the ratio to NumPy, measured
in turns within each run, can.  Exit code 1 if there is a loss of more than 10 %.  Another process
on the machine can take a case's speed for all of its rounds; such a loss is gone when measured
again.  With several later runs, a loss is one that all of them show.
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
    rounds from the lower one of the earlier: one that only scatters has not.  The same holds for an
    operation and the geometric mean of its cases.

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
    rounds = (run.ratios_by_round("numpy") for run in (old, new))
    return Change(new.case.name, before, after, _lost(before, after, *rounds))


def _of_operations(pairs: Sequence[tuple[Result, Result]]) -> list[Change]:
    found = []
    for kind in dict.fromkeys((new.case.suite, new.case.operation) for _, new in pairs):
        chosen = [p for p in pairs if (p[1].case.suite, p[1].case.operation) == kind]
        runs = [*zip(*chosen, strict=True)]
        before, after = (geometric_mean([_known_ratio(r) for r in run]) for run in runs)
        rounds = (_means_by_round(run) for run in runs)
        lost = _lost(before, after, *rounds)
        found.append(Change(f"{' '.join(kind)}, geometric mean", before, after, lost))
    return found


def _means_by_round(run: Sequence[Result]) -> list[float]:
    """Return the geometric mean of all cases in the first round, in the second, and so on."""
    rounds = zip(*(result.ratios_by_round("numpy") for result in run), strict=False)
    return [geometric_mean(one) for one in rounds]


def _lost(before: float, after: float, earlier: Sequence[float], later: Sequence[float]) -> bool:
    """Whether a ratio fell too far, and the rounds agree on it."""
    allowed = 1 - ALLOWED_LOSS
    upper, lower = quartiles(later)[2], quartiles(earlier)[0]
    return after < allowed * before and upper < allowed * lower


def _ratio(result: Result) -> float | None:
    return result.ratios.get("ratio_to_numpy")


def _known_ratio(result: Result) -> float:
    return float(result.ratios["ratio_to_numpy"])


def main(arguments: Sequence[str]) -> int:
    """Run the command: 0 without a loss, 1 with one, 2 after a mistake."""
    if len(arguments) < 2:
        print("usage: compare BEFORE.json AFTER.json [AFTER_AGAIN.json ...]", file=sys.stderr)
        return 2
    try:
        before, *later = (results_of(read(Path(name))) for name in arguments)
        runs = [changes(before, after) for after in later]
    except (OSError, ResultsError) as error:
        print(f"compare: error: {error}", file=sys.stderr)
        return 2
    lost = set.intersection(*({c.name for c in run if c.lost} for run in runs))
    for change in runs[-1]:
        if change.name in lost or "geometric mean" in change.name:
            print(f"{'LOST ' if change.name in lost else '     '}{change}")
    print(f"{len(lost)} losses of more than {ALLOWED_LOSS:.0%} in the ratio to NumPy")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
