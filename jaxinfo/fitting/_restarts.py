"""Fits from several starting points: the best is returned, degenerate ones are ranked out, all are listed.

On accelerators a number of lanes run side by side, a few turns at a time; then those that are finished leave
and others take their places, so that no lane waits for the slowest. On CPUs lanes side by side share no
work and would each pay for the branches the others take, so that a number of 1 is the fastest.
"""

import itertools
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from jaxinfo.fitting._diagnosis import Diagnosis, Physician
from jaxinfo.fitting._lanes import Finished, run_lanes
from jaxinfo.fitting._objective import float_params
from jaxinfo.fitting._progress import Reporter
from jaxinfo.fitting._result import Reason, Restart
from jaxinfo.fitting._run import Runner, run_loop
from jaxinfo.fitting._state import FitState, start

_LANES = 32


def starts(params: Any, count: int, key: jax.Array) -> Iterator[Any]:
    """Yield `count` starting points: `params` and noise about it, or what the function `params` draws."""
    keys = jax.random.split(jax.random.fold_in(key, 1), count)
    if callable(params):
        yield from (float_params(params(k)) for k in keys)
        return
    params = float_params(params)
    yield params
    for k in keys[1:]:
        leaves, structure = jax.tree.flatten(params)
        parts = jax.random.split(k, len(leaves))
        noise = [jax.random.normal(part, leaf.shape, leaf.dtype) for part, leaf in zip(parts, leaves, strict=True)]
        yield jax.tree.unflatten(structure, [x + e for x, e in zip(leaves, noise, strict=True)])


def best_of(
    runner: Runner, points: Iterator[Any], width: int, reporter: Reporter
) -> tuple[FitState, Diagnosis, tuple[Restart, ...], float]:
    """Run a fit from each of `points`, the runner's own first, `width` side by side.

    Returns:
        The best fit, what was found of it, all of them from best to worst, and the seconds.
    """
    began = time.perf_counter()
    begin = jax.jit(lambda params: start(runner.problem, params))
    states = itertools.chain([runner.first], (runner.place(begin(point)) for point in points))
    run = run_lanes(runner, states, width) if width > 1 else _one_by_one(runner, states, reporter)
    finished = []
    for number, state, lowest in run:
        if width > 1:
            reporter.begin()
            reporter.report(state, time.perf_counter() - began)
        finished.append((number, state, lowest))
    seconds = time.perf_counter() - began
    physician, lanes = Physician(runner.problem), []
    for number, state, lowest in finished:
        found = physician.diagnose(state, lowest)
        listed = Restart(number, float(state.best.value), found.reason, int(state.step), found.detail)
        lanes.append((_rank(listed), state, found, listed))
    lanes.sort(key=lambda lane: lane[0])
    _, state, found, _ = lanes[0]
    return state, found, tuple(lane[3] for lane in lanes), seconds


def _rank(entry: Restart) -> tuple[bool, bool, bool, float]:
    """Sort maxima before other points, and degenerate ones last of all."""
    degenerate = entry.reason == Reason.DEGENERATE
    stopped = not (entry.reason.found or entry.reason == Reason.EARLY_STOPPED)
    return degenerate, not np.isfinite(entry.objective), stopped, entry.objective


def _one_by_one(runner: Runner, states: Iterator[FitState], reporter: Reporter) -> Iterator[Finished]:
    for number, state in enumerate(states):
        reporter.begin()
        state, lowest, _ = run_loop(runner, state, reporter)
        yield number, state, lowest


def lane_count(runner: Runner) -> int:
    """Return how many fits run side by side.

    Lanes take the branches of one another, and of a method without a decrement each turn would be certified.
    """
    accelerated = jax.default_backend() != "cpu" and runner.problem.method.second_order
    return _LANES if accelerated else 1
