"""Several fits side by side: finished lanes leave, others take their places, and none waits for the slowest."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxinfo.fitting._diagnosis import lowest_loss
from jaxinfo.fitting._loop import advance
from jaxinfo.fitting._problem import Inputs
from jaxinfo.fitting._result import Reason
from jaxinfo.fitting._run import Runner, run_loop
from jaxinfo.fitting._state import FitState

_TURNS = 4  # between two looks at which lanes are finished

Finished = tuple[int, FitState, float]


def run_lanes(runner: Runner, states: Iterator[FitState], width: int) -> Iterator[Finished]:
    """Yield number, last state and smallest NLL of an example of each fit, in the order in which they finish.

    `width` of them run side by side, some turns at a time. When there are no more to take the places of the
    finished and a quarter of the lanes is left, these are run one after another.
    """
    queue = enumerate(states)
    lanes = list(itertools.islice(queue, width))
    numbers = [number for number, _ in lanes]
    filled = [state for _, state in lanes]
    block = jax.tree.map(lambda *leaves: jnp.stack(leaves), *filled, *[filled[-1]] * (width - len(filled)))
    numbers += [-1] * (width - len(numbers))
    turn = _side_by_side(runner)
    while True:
        block, lowest = turn(block, runner.inputs)
        running = np.asarray(block.reason) == Reason.RUNNING
        for i in np.flatnonzero(~running):
            if numbers[i] < 0:
                continue
            yield numbers[i], _lane(block, int(i)), float(lowest[i])
            numbers[i], state = next(queue, (-1, None))
            if state is not None:
                block = _put(block, int(i), state)
        left = [i for i, number in enumerate(numbers) if number >= 0]
        if len(left) <= width // 4:
            break
    for i in left:
        state, low, _ = run_loop(runner, _lane(block, i))
        yield numbers[i], state, low


def _side_by_side(runner: Runner) -> Callable[[FitState, Inputs], tuple[FitState, jax.Array]]:
    problem = runner.problem

    def turns(state: FitState, inputs: Inputs) -> tuple[FitState, jax.Array]:
        there = problem.at(inputs)
        until = jnp.minimum(state.step + _TURNS - 1, problem.max_steps)
        state = advance(there, state, until)
        return state, lowest_loss(there, state.best.params)

    return jax.jit(jax.vmap(turns, in_axes=(0, None)))


@jax.jit
def _lane(block: Any, i: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[i], block)


@jax.jit
def _put(block: Any, i: Any, state: Any) -> Any:
    return jax.tree.map(lambda leaf, x: leaf.at[i].set(x), block, state)
