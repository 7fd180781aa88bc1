"""What counts as a machine that gives what it has, and what becomes of rounds when it does not."""

from __future__ import annotations

import pytest

from fastbn.bench import ratios, team, watch
from fastbn.bench.environment import HELD_BACK_BY, THREAD_VARIABLES
from fastbn.bench.record import extra_info
from fastbn.bench.shapes import Product
from fastbn.bench.team import Settings, Team, WorkerError
from fastbn.bench.watch import UNDISTURBED, Look, Watch

SMALL = Product("NN", 8, 8, 8, "8x8", 8)
QUIET, HALVED, APART = Look(100.0, 30e-9), Look(50.0, 30e-9), Look(100.0, 170e-9)
LATE = Look(100.0, 1.0)


def shares(*looks: Look | None) -> list[float]:
    following = iter(looks)
    watched = Watch(lambda: next(following))
    return [watched.share() for _ in looks]


def test_a_share_is_of_the_most_there_was() -> None:
    assert shares(QUIET, HALVED, QUIET) == [1, 0.5, 1]
    assert shares(HALVED, QUIET, HALVED) == [1, 1, 0.5]


def test_what_scatters_is_undisturbed_and_what_halves_is_not() -> None:
    scattered = shares(QUIET, Look(96.0, 50e-9), Look(100.0, 27e-9), QUIET)
    assert min(scattered) > UNDISTURBED
    assert shares(QUIET, HALVED)[-1] < UNDISTURBED
    assert shares(QUIET, APART)[-1] < UNDISTURBED
    assert shares(QUIET, Look(100.0, 75e-9))[-1] < UNDISTURBED
    assert shares(QUIET, LATE)[-1] < UNDISTURBED


def test_one_thread_hands_nothing_over() -> None:
    alone = Look(100.0, 0.0)
    assert shares(alone, alone, Look(50.0, 0.0)) == [1, 1, 0.5]


def test_what_cannot_be_seen_is_undisturbed() -> None:
    assert shares(QUIET, None, HALVED) == [1, 1, 0.5]


def test_a_machine_that_stays_slower_is_taken_for_what_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watch, "_REMEMBERED", 5)
    assert shares(QUIET, *[HALVED] * 5) == [1, 0.5, 0.5, 0.5, 0.5, 1]
    assert shares(QUIET, *[APART] * 9)[-1] < UNDISTURBED


# -- rounds ----------------------------------------------------------------------------------------


def see(small_team: Team, monkeypatch: pytest.MonkeyPatch, *looks: Look) -> None:
    """Let the team see these, and a quiet machine from then on."""
    following = iter([QUIET, *looks])
    found = Watch(lambda: next(following, QUIET))
    found.share()
    monkeypatch.setattr(small_team, "_watch", found)


def test_a_disturbed_round_is_taken_again(
    small_team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Three looks a try: before the first turn and after each of the two.
    see(small_team, monkeypatch, QUIET, QUIET, QUIET, QUIET, HALVED, QUIET, APART)
    measurement = small_team.measure(SMALL)
    assert measurement.tries == [1, 3, 1]
    assert measurement.disturbed == 0
    assert {len(seconds) for seconds in measurement.seconds.values()} == {3}


def test_of_disturbed_tries_the_least_so_counts(
    small_team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    worst, better = Look(20.0, 30e-9), Look(60.0, 30e-9)
    others = team._TRIES - 2
    assert others <= small_team.settings.rounds
    see(small_team, monkeypatch, *[HALVED] * 3, *[better] * 3, *[worst] * 3 * others)
    times = iter(range(100))
    monkeypatch.setattr(
        small_team, "_ask", lambda *_: {"seconds": float(next(times))}, raising=True
    )
    measurement = team.Measurement(SMALL, {"fastbn": [], "numpy": []})
    small_team._round(["fastbn", "numpy"], measurement)
    assert measurement.seconds == {"fastbn": [2.0], "numpy": [3.0]}
    assert (measurement.tries, measurement.least) == ([team._TRIES], [0.6])
    assert measurement.disturbed == 1


def test_it_is_recorded_and_told(small_team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    see(small_team, monkeypatch, HALVED)
    measurement = small_team.measure(SMALL)
    info = extra_info(measurement, "fastbn", small_team)
    assert info["tries"] == [2, 1, 1]
    assert info["least_share_of_machine"] == [1, 1, 1]
    (line,) = (text for text in ratios.summary([measurement], small_team) if "rounds" in text)
    assert line.startswith("3 rounds, taken 4 times in all; 0 are kept from a disturbed")


def test_a_case_has_no_more_tries_than_rounds(
    small_team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    see(small_team, monkeypatch, *[HALVED] * 100)
    measurement = small_team.measure(SMALL)
    assert measurement.tries == [4, 1, 1]
    assert measurement.disturbed == 3


def test_without_a_watcher_all_counts(small_team: Team) -> None:
    small_team.measure(SMALL)
    assert small_team._watcher is not None
    small_team._watcher._process.kill()
    measurement = small_team.measure(SMALL)
    assert measurement.tries == [1, 1, 1]
    assert measurement.disturbed == 0
    assert small_team._watcher is None
    assert "disturbed rounds are taken for others" in small_team.warnings[-1]


def test_what_is_forced_on_fastbn_does_not_change_the_machine(known_limits: None) -> None:
    forced = {"fastbn": {"FASTBN_TARGET": "scalar"}}
    with Team(["fastbn"], Settings(1, rounds=1, seconds=1e-4, environ=forced)) as made:
        assert made.target == "scalar"
        assert made._watcher is not None
        assert "scalar" not in made._watcher.description["version"]


def test_the_watcher_ends_with_the_team(known_limits: None) -> None:
    with Team(["fastbn"], Settings(1, rounds=1, seconds=1e-4)) as made:
        assert made._watcher is not None
        process = made._watcher._process
        assert process.poll() is None
    assert process.poll() is not None


def test_a_library_that_fails_meanwhile_is_left_out(
    small_team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    see(small_team, monkeypatch, QUIET, QUIET, QUIET, QUIET, HALVED)
    asked = small_team._ask

    def fails_once(name, request, measurement):
        if name == "numpy" and request["do"] == "run" and measurement.tries:
            small_team._workers.pop(name).close()
            measurement.failed[name] = str(WorkerError("ended"))
            return None
        return asked(name, request, measurement)

    monkeypatch.setattr(small_team, "_ask", fails_once)
    measurement = small_team.measure(SMALL)
    assert [*measurement.seconds] == ["fastbn"]
    assert len(measurement.seconds["fastbn"]) == 3


def test_one_thread_is_a_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether two threads are ever slower can be asked, with no word of unequal threads."""
    for name in (*HELD_BACK_BY, *THREAD_VARIABLES):  # of which there would be a word
        monkeypatch.delenv(name, raising=False)
    with Team(["fastbn", "fastbn-1"], Settings(2, rounds=1, seconds=1e-4)) as made:
        assert [library["threads"] for library in made.libraries.values()] == [2, 1]
        assert not made.warnings
        assert [*made.measure(SMALL).seconds] == ["fastbn", "fastbn-1"]
