"""One row of a table of benchmarks: candidates of any kind, checked against a reference and timed side by side."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxinfo.bench._errors import relative_error
from jaxinfo.bench._measure import compiled_candidate, prepare, timed
from jaxinfo.bench._measurement import Comparison
from jaxinfo.bench._program import compile_program
from jaxinfo.bench._rounds import Candidate, interleave, rounds_within


def compiled(name: str, f: Callable[..., Any], *args: Any) -> Candidate:
    """Compile `f` for `args` ahead of time; its compile time and temporary bytes go with it."""
    return compiled_candidate(name, compile_program(f, *args), args)


def measure_row(
    case: Mapping[str, Any],
    candidates: Sequence[Candidate],
    reference: Mapping[str, np.ndarray],
    eps: Mapping[str, float],
    *,
    seconds: float,
    peers: Sequence[str] = (),
    least: int = 7,
    most: int = 41,
) -> Comparison:
    """Check every candidate against `reference` (its results in the same order), then time all of them.

    Args:
        case: what distinguishes the row, as printed and stored.
        candidates: they run interleaved.
        reference: float64 results by name; a candidate returns a tuple of the same length. Empty: nothing is checked.
        eps: the unit of each result's error.
        seconds: about how long to time; at least `least` and at most `most` rounds are run.
        peers: candidates to whose time the ratios are taken.
        least: fewest rounds.
        most: most rounds.

    Returns:
        The row.
    """
    errors = {
        c.name: {k: relative_error(got, reference[k]) / eps[k] for k, got in zip(reference, c.run(), strict=True)}
        if reference
        else {}
        for c in candidates
    }
    times = interleave(candidates, rounds_within(candidates, seconds, least=least, most=most))
    rows = [timed(prepare(c.name, c, ())[1], times, peers) for c in candidates]
    return Comparison(dict(case), tuple(dataclasses.replace(row, errors=errors[row.name]) for row in rows))
