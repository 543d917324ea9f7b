"""Time several candidates side by side.

Machines are noisy and drift: the same program runs 30 % slower a minute later. So all candidates run interleaved,
in a new random order each round, and the figure to read is the *ratio* to a named peer, taken round by round.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

PAUSE = 0.01  # OpenMP threads of a peer spin for some milliseconds after their work; let them go to sleep


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One way to compute a quantity that is no JAX function, or is compiled already.

    Attributes:
        name: what it is called in the row.
        run: returns the result when it is there, not before.
        compile_seconds: None where nothing is compiled.
        temp_bytes: temporaries of the compiled program; None where they are not known.
    """

    name: str
    run: Callable[[], Any]
    compile_seconds: float | None = None
    temp_bytes: int | None = None


@dataclasses.dataclass(frozen=True)
class Ratio:
    """Time divided by that of `peer`: median and quartiles over the rounds, and the ratio of the fastest runs."""

    peer: str
    median: float
    low: float
    high: float
    minima: float

    def __str__(self) -> str:
        """Return median and quartiles."""
        return f"{self.median:.2f} [{self.low:.2f} {self.high:.2f}]"


def interleave(
    candidates: Sequence[Candidate],
    rounds: int,
    *,
    pause: float = PAUSE,
    after: Callable[[int, Mapping[str, np.ndarray]], None] = lambda done, times: None,
) -> dict[str, np.ndarray]:
    """Return the seconds of each synchronised run, [rounds] by name; each round is in a new order.

    `after` is told how many rounds are done, and the times so far.
    """
    order = np.random.default_rng(0)
    times = {c.name: np.empty(rounds) for c in candidates}
    for i in range(rounds):
        for k in order.permutation(len(candidates)):
            time.sleep(pause)
            times[candidates[k].name][i] = seconds(candidates[k])
        after(i + 1, {name: all_of[: i + 1] for name, all_of in times.items()})
    return times


def rounds_within(candidates: Sequence[Candidate], budget: float, *, least: int, most: int) -> int:
    """Return how many rounds of all `candidates` fit into `budget` seconds; one warm round is run to see."""
    one_round = sum(seconds(c) + PAUSE for c in candidates)
    return int(np.clip(budget / one_round, least, most))


def ratio(times: Mapping[str, np.ndarray], name: str, peer: str) -> Ratio:
    """Return how many times longer `name` takes than `peer`, compared within each round."""
    low, median, high = np.quantile(times[name] / times[peer], (0.25, 0.5, 0.75))
    return Ratio(peer, float(median), float(low), float(high), float(times[name].min() / times[peer].min()))


def seconds(candidate: Candidate) -> float:
    """Return how long one run takes."""
    start = time.perf_counter()
    result = candidate.run()
    elapsed = time.perf_counter() - start
    del result  # freed outside the measured time, and before the next candidate allocates
    return elapsed
