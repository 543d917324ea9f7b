"""Running the compiled loop from the host: in turns of about a tenth of a second, with a look in between."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from jaxinfo.fitting._checkpoint import Saver
from jaxinfo.fitting._diagnosis import lowest_loss
from jaxinfo.fitting._hessian import curvature_of
from jaxinfo.fitting._loop import advance
from jaxinfo.fitting._objective import Loss
from jaxinfo.fitting._problem import Inputs, Options, Problem, make_problem
from jaxinfo.fitting._progress import Reporter
from jaxinfo.fitting._result import Reason
from jaxinfo.fitting._state import FitState, start
from jaxinfo.fitting._unused import without_unused

_CHUNK_SECONDS = 0.1  # the device runs about this long between two looks of the host
_CHUNK_TURNS = 64  # and with several processes, whose clocks differ, at most so many turns


class Runner(NamedTuple):
    """A compiled loop, and where its arrays live."""

    problem: Problem
    inputs: Inputs
    run: Callable[[FitState, Inputs, Any], tuple[FitState, jax.Array]]
    first: FitState
    place: Callable[[Any], Any]
    compile_seconds: float


def compile_loop(loss: Loss, params: Any, inputs: Inputs, options: Options) -> Runner:
    """Check the fit and compile its loop; sharded data bring their mesh, over which the rest is replicated."""
    began = time.perf_counter()
    replicated = _replicated(inputs)

    def place(tree: Any) -> Any:
        if replicated is None:
            return tree
        everywhere = replicated
        return jax.tree.map(lambda leaf: leaf if _on_mesh(leaf) else _copy(leaf, everywhere), tree)

    inputs = jax.tree.map(jnp.asarray, place(inputs))  # the compiled program takes arrays of the device only
    problem = make_problem(loss, params, inputs, options)
    inputs = inputs._replace(data=without_unused(loss, params, inputs.data, inputs.weights))
    problem = problem.at(inputs)
    problem = problem._replace(curvature=curvature_of(problem, params))
    first = place(start(problem, params))
    step = jax.jit(partial(_advance, problem), out_shardings=replicated)
    run = step.lower(first, inputs, 0).compile()
    return Runner(problem, inputs, run, first, place, time.perf_counter() - began)


def _advance(problem: Problem, state: FitState, inputs: Inputs, until: Any) -> tuple[FitState, jax.Array]:
    problem = problem.at(inputs)  # its own are constants, which XLA would fold at length
    state = advance(problem, state, until)
    lowest = partial(lowest_loss, problem)
    unasked = jnp.full((), jnp.inf, jax.eval_shape(lowest, state.best.params).dtype)
    over = state.reason != Reason.RUNNING  # before, nobody asks, and it is one more look at all examples
    return state, jax.lax.cond(over, lowest, lambda _: unasked, state.best.params)


def _on_mesh(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and isinstance(leaf.sharding, NamedSharding) and leaf.sharding.mesh.size > 1


def _replicated(inputs: Inputs) -> NamedSharding | None:
    """Return the sharding that puts a copy on every device of the mesh the data are on; None without one."""
    for leaf in jax.tree.leaves(inputs):
        if _on_mesh(leaf):
            return NamedSharding(leaf.sharding.mesh, PartitionSpec())
    return None


def _copy(leaf: Any, everywhere: NamedSharding) -> jax.Array:
    """Return `leaf` on every device of the mesh; each process holds the same values and puts them on its own."""
    if everywhere.is_fully_addressable:
        return jax.device_put(leaf, everywhere)
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_copy(jax.random.key_data(leaf), everywhere), impl=jax.random.key_impl(leaf))
    value = np.asarray(leaf)
    return jax.make_array_from_callback(value.shape, everywhere, lambda index: value[index])


def run_loop(
    runner: Runner, state: FitState, reporter: Reporter | None = None, saver: Saver | None = None
) -> tuple[FitState, float, float]:
    """Turn the loop until it stops; return the last state, the smallest NLL of an example there, and the seconds."""
    began = time.perf_counter()
    turns, lowest = 1, jnp.inf
    fresh = True
    while fresh or int(state.reason) == Reason.RUNNING:
        fresh, before = False, state
        asked = time.perf_counter()
        until = min(int(state.step) + turns - 1, runner.problem.max_steps)
        stop = None if saver is None else saver.next_stop(int(state.step))
        state, lowest = runner.run(state, runner.inputs, until if stop is None else min(until, stop))
        jax.block_until_ready(state)
        if jax.process_count() > 1:
            turns = min(2 * turns, _CHUNK_TURNS)
        elif time.perf_counter() - asked < _CHUNK_SECONDS:
            turns *= 2
        if reporter is not None:
            reporter.report(state, time.perf_counter() - began)
        if saver is not None:
            over = int(state.reason) != Reason.RUNNING
            saver.save(before if over else state, last=over)
    return state, float(lowest), time.perf_counter() - began
