"""Measure several candidates for one quantity side by side, and say in the same row how wrong each is.

Machines are noisy and drift: the same program runs 30 % slower a minute later. So all candidates of a row
run interleaved, in a new random order each round, and the figure to read is the *ratio* to a named peer,
taken round by round; absolute times are for orientation. A time is worth nothing beside a wrong result, so
each measurement carries the error of what was timed against a float64 reference.

Nothing here knows which function is measured.
"""

import dataclasses
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

_PAUSE = 0.01  # OpenMP threads of a peer spin for some milliseconds after their work; let them go to sleep


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One way to compute the quantity: `run` returns when its result is there."""

    name: str
    run: Callable[[], Any]
    compile_seconds: float | None = None
    temp_bytes: int | None = None


@dataclasses.dataclass(frozen=True)
class Ratio:
    """Time divided by the peer's time: median and quartiles over the rounds, and the ratio of the minima."""

    peer: str
    median: float
    low: float
    high: float
    minima: float


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One candidate in one row: times in seconds, quartiles as the spread, errors in eps, inf for a nan."""

    name: str
    runs: int
    minimum: float
    low: float
    median: float
    high: float
    compile_seconds: float | None
    temp_bytes: int | None
    errors: dict[str, float]
    ratios: tuple[Ratio, ...]


@dataclasses.dataclass(frozen=True)
class Row:
    """One case and what every candidate made of it."""

    case: dict[str, str | int]
    measurements: tuple[Measurement, ...]

    def __getitem__(self, name: str) -> Measurement:
        """Return the measurement of the candidate `name`."""
        return next(m for m in self.measurements if m.name == name)

    def faster_of(self, names: Iterable[str]) -> Measurement:
        """Return the fastest by median of those in `names` that were measured."""
        return min((m for m in self.measurements if m.name in set(names)), key=lambda m: m.median)


def compiled(name: str, f: Callable[..., Any], *args: Any) -> Candidate:
    """Compile `f` for `args` ahead of time; its compile time and temporary bytes go with it."""
    start = time.perf_counter()
    executable = jax.jit(f).lower(*args).compile()
    seconds = time.perf_counter() - start
    memory = executable.memory_analysis()
    return Candidate(
        name,
        lambda: jax.block_until_ready(executable(*args)),
        compile_seconds=seconds,
        temp_bytes=None if memory is None else int(memory.temp_size_in_bytes),
    )


def measure(
    case: Mapping[str, str | int],
    candidates: Sequence[Candidate],
    reference: Mapping[str, np.ndarray],
    eps: Mapping[str, float],
    *,
    seconds: float,
    peers: Sequence[str] = (),
    least: int = 7,
    most: int = 41,
) -> Row:
    """Check every candidate against `reference` (its results in the same order), then time all of them.

    Args:
        case: What distinguishes the row, as printed and stored.
        candidates: They run interleaved.
        reference: float64 results by name; a candidate returns a tuple of the same length.
        eps: The unit of each result's error.
        seconds: About how long to time; at least `least` and at most `most` rounds are run.
        peers: Candidates to whose time the ratios are taken.
        least: Fewest rounds.
        most: Most rounds.

    Returns:
        The row.
    """
    errors = {
        c.name: {k: relative_error(got, reference[k]) / eps[k] for k, got in zip(reference, c.run(), strict=True)}
        for c in candidates
    }
    times = interleave(candidates, rounds_within(candidates, seconds, least=least, most=most))
    return Row(dict(case), tuple(_summary(c, times, errors[c.name], peers) for c in candidates))


def interleave(candidates: Sequence[Candidate], rounds: int, *, pause: float = _PAUSE) -> dict[str, np.ndarray]:
    """Return the seconds of each synchronised run, [rounds] by name; each round is in a new order."""
    order = np.random.default_rng(0)
    times = {c.name: np.empty(rounds) for c in candidates}
    for i in range(rounds):
        for k in order.permutation(len(candidates)):
            time.sleep(pause)
            times[candidates[k].name][i] = _seconds(candidates[k])
    return times


def rounds_within(candidates: Sequence[Candidate], seconds: float, *, least: int, most: int) -> int:
    """Return how many rounds of all `candidates` fit into `seconds`; one warm round is run to see."""
    one_round = sum(_seconds(c) + _PAUSE for c in candidates)
    return int(np.clip(seconds / one_round, least, most))


def ratio(times: Mapping[str, np.ndarray], name: str, peer: str) -> Ratio:
    """Return how many times longer `name` takes than `peer`, compared within each round."""
    low, median, high = np.quantile(times[name] / times[peer], (0.25, 0.5, 0.75))
    return Ratio(peer, float(median), float(low), float(high), float(times[name].min() / times[peer].min()))


def relative_error(got: Any, reference: np.ndarray) -> float:
    """Return the largest relative error of `got` over the rows of `reference`.

    A matrix is compared row by row in the Euclidean norm, anything smaller element by element. A result that
    is not finite where the reference is counts as inf.
    """
    got = np.asarray(got)
    if got.shape != reference.shape:
        raise ValueError(f"`got` must have the reference's shape {reference.shape}, got {got.shape}.")
    if reference.ndim < 2:
        got, reference = np.reshape(got, (-1, 1)), np.reshape(reference, (-1, 1))
    worst = 0.0
    for start in range(0, len(reference), 64):  # in slices: float64 copies of a large gradient are several GB
        wanted = reference[start : start + 64]
        off = np.linalg.norm(got[start : start + 64].astype(np.float64) - wanted, axis=-1)
        size = np.linalg.norm(wanted, axis=-1)
        error = np.where(off == 0, 0.0, off / np.where(size == 0, np.finfo(np.float64).tiny, size))
        worst = max(worst, float(np.max(np.where(np.isnan(error), np.inf, error), initial=0.0)))
    return worst


def environment(packages: Sequence[str] = ()) -> dict[str, Any]:
    """Return the device, versions of Python, jax and `packages` (None if absent), and the commit."""
    devices = jax.devices()
    return {
        "device": f"{len(devices)} x {devices[0].device_kind} ({jax.default_backend()})",
        "processor": _processor(),
        "cores": len(available_cores()),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in ("jax", "jaxlib", "numpy", *packages)},
        "commit": _commit(),
    }


def available_cores() -> set[int]:
    """Return the cores this thread may use: jax takes them all, and so may its peers."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def hold_to_cores(cores: set[int]) -> None:
    """Let this thread run on `cores` only, where the system can do that."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


def to_json(environment: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """Return one JSON text with the environment and the rows; infinities are the string "inf"."""
    document = {"environment": dict(environment), "rows": [dataclasses.asdict(row) for row in rows]}
    return json.dumps(_finite(document), indent=1, allow_nan=False)


def from_json(text: str) -> tuple[dict[str, Any], list[Row]]:
    """Return what `to_json` was given."""
    document = json.loads(text)
    return document["environment"], [_row(row) for row in document["rows"]]


def _seconds(candidate: Candidate) -> float:
    start = time.perf_counter()
    result = candidate.run()
    elapsed = time.perf_counter() - start
    del result  # freed outside the measured time, and before the next candidate allocates
    return elapsed


def _summary(
    candidate: Candidate, times: Mapping[str, np.ndarray], errors: dict[str, float], peers: Sequence[str]
) -> Measurement:
    own = times[candidate.name]
    low, median, high = (float(q) for q in np.quantile(own, (0.25, 0.5, 0.75)))
    ratios = tuple(ratio(times, candidate.name, peer) for peer in peers if peer in times)
    return Measurement(
        candidate.name,
        len(own),
        float(own.min()),
        low,
        median,
        high,
        candidate.compile_seconds,
        candidate.temp_bytes,
        errors,
        ratios,
    )


def _finite(value: Any) -> Any:
    """Round floats to five digits and spell infinities, which JSON lacks."""
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if isinstance(value, float):
        return float(f"{value:.5g}") if np.isfinite(value) else "inf"
    return value


def _row(row: Mapping[str, Any]) -> Row:
    measurements = []
    for m in row["measurements"]:
        errors = {k: float(v) for k, v in m["errors"].items()}
        measurements.append(Measurement(**{**m, "errors": errors, "ratios": tuple(Ratio(**r) for r in m["ratios"])}))
    return Row(dict(row["case"]), tuple(measurements))


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _commit() -> str | None:
    """Return the commit this file is at, marked where tracked files differ from it."""
    command = ["git", "describe", "--always", "--dirty=+changes", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def progress(text: str) -> None:
    """Show `text` as the current state on a terminal, and nothing in a log."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[2K{text}")
        sys.stderr.flush()
