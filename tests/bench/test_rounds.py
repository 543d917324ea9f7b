"""Timing side by side, on a clock that the test turns."""

from typing import Any

import numpy as np
import pytest

from jaxinfo.bench import Candidate
from jaxinfo.bench._errors import relative_error
from jaxinfo.bench._rounds import interleave, ratio, rounds_within
from jaxinfo.bench._rows import measure_row


class Clock:
    """Stands still but when a candidate runs, or somebody sleeps; `drift` is how slow the machine is."""

    def __init__(self) -> None:
        self.now = 0.0
        self.drift = 1.0

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += round(64 * seconds) / 64  # sums of such numbers are exact

    def taking(self, name: str, seconds: float, log: list[str] | None = None) -> Candidate:
        def run() -> tuple[np.ndarray]:
            if log is not None:
                log.append(name)
            self.now += seconds * self.drift
            return (np.zeros(3),)

        return Candidate(name, run)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("jaxinfo.bench._rounds.time", clock)
    return clock


def test_each_round_runs_every_candidate_once_in_changing_order(clock: Clock) -> None:
    log: list[str] = []
    times = interleave([clock.taking(name, 1.0, log) for name in "abc"], 12)
    rounds = [tuple(log[i : i + 3]) for i in range(0, 36, 3)]
    assert all(sorted(r) == ["a", "b", "c"] for r in rounds)
    assert len(set(rounds)) > 1
    assert {k: v.shape for k, v in times.items()} == {"a": (12,), "b": (12,), "c": (12,)}


def test_a_pause_before_each_run_is_not_timed(clock: Clock) -> None:
    times = interleave([clock.taking("a", 1.0)], 4, pause=0.5)
    assert clock.now == 4 * 1.5
    assert list(times["a"]) == [1.0] * 4


def test_ratios_are_taken_round_by_round(clock: Clock) -> None:
    """A drift that hits a whole round leaves the ratio alone, though the spread of the times is threefold."""
    a, b = clock.taking("a", 2.0), clock.taking("b", 1.0)

    def slower(done: int, times: Any) -> None:
        clock.drift = 1 + done / 4

    times = interleave([a, b], 9, after=slower)
    assert times["b"].max() == 3 * times["b"].min()
    r = ratio(times, "a", "b")
    assert (r.median, r.low, r.high, r.minima, r.peer) == (2, 2, 2, 2, "b")
    assert str(r) == "2.00 [2.00 2.00]"


def test_quartiles_of_a_ratio() -> None:
    times = {"a": np.array([1.0, 2.0, 3.0, 4.0, 5.0]), "b": np.array([1.0, 1.0, 1.0, 1.0, 2.0])}
    r = ratio(times, "a", "b")  # 1 2 3 4 2.5
    assert (r.low, r.median, r.high, r.minima) == (2.0, 2.5, 3.0, 1.0)


@pytest.mark.parametrize(("budget", "rounds"), [(0.0, 5), (30.1, 10), (1e6, 21)])
def test_rounds_that_fit(clock: Clock, budget: float, rounds: int) -> None:
    candidates = [clock.taking("a", 1.99), clock.taking("b", 0.99)]  # with the pauses 3 seconds a round
    assert rounds_within(candidates, budget, least=5, most=21) == rounds


def test_a_row_holds_times_ratios_and_errors(clock: Clock) -> None:
    row = measure_row(
        {"what": "sleep"},
        [clock.taking("long", 3.0), clock.taking("short", 1.5)],
        {"value": np.array([0.0, 0.0, 1.0])},
        {"value": 0.5},
        seconds=0.0,
        peers=("short", "absent"),
        least=3,
    )
    long = row["long"]
    assert (long.runs, long.minimum, long.low, long.median, long.high) == (3, 3.0, 3.0, 3.0, 3.0)
    assert [(r.peer, r.median) for r in long.ratios] == [("short", 2.0)]
    assert long.errors == {"value": 2.0}  # a zero for a one is off by all of it: 2 halves
    assert row.faster_of(["long", "absent"]).name == "long"
    assert row.faster_of(["long", "short"]).name == "short"
    with pytest.raises(KeyError):
        row["absent"]


@pytest.mark.parametrize(
    ("got", "reference", "expected"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([1.0, 3.0], [1.0, 2.0], 0.5),
        ([1.0, np.nan], [1.0, 2.0], np.inf),
        ([1.0, np.inf], [1.0, 2.0], np.inf),
        ([1.0, np.inf], [1.0, np.inf], 0.0),
        ([1.0, -np.inf], [1.0, np.inf], np.inf),
        ([0.0, 0.0], [0.0, 1.0], 1.0),
        ([[3.0, 4.0], [1.0, 0.0]], [[3.0, 4.0], [2.0, 0.0]], 0.5),  # a small row counts as much as a large one
        (np.zeros((100, 1)), np.r_[np.zeros((99, 1)), np.ones((1, 1))], 1.0),  # the last of several slices
    ],
)
def test_relative_error(got: Any, reference: Any, expected: float) -> None:
    assert relative_error(np.asarray(got), np.asarray(reference)) == expected


def test_relative_error_refuses_another_shape() -> None:
    with pytest.raises(ValueError, match=r"`got` must have the reference's shape \(2,\), got \(1,\)"):
        relative_error(np.zeros(1), np.zeros(2))
