"""Backtracking along a descent direction, and the state that the Newton methods share."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxinfo.fitting._trees import norm

_SUFFICIENT = 1e-4  # Armijo: the share of the promised decrease that a step must deliver
_MAX_TRIALS = 40


class NewtonState(NamedTuple):
    """What a Newton method knows of the point it was last called at.

    Attributes:
        decrement: half the squared Newton decrement there.
        accepted: share of that step taken, 0 where no share of it lowered the objective.
        evaluations: objective evaluations and Hessian-vector products so far.
    """

    decrement: jax.Array
    accepted: jax.Array
    evaluations: jax.Array


def initial_state(params: Any) -> NewtonState:
    """Return the state before the first step."""
    dtype = norm(params).dtype
    return NewtonState(jnp.asarray(jnp.inf, dtype), jnp.asarray(1, dtype), jnp.asarray(0, jnp.int32))


def rounding_of(value: jax.Array) -> jax.Array:
    """Return what rounding may do to an objective of this value."""
    return 16 * jnp.finfo(value.dtype).eps * jnp.abs(value)


def damped_step(
    value_fn: Callable[[Any], jax.Array],
    params: Any,
    value: jax.Array,
    slope: jax.Array,
    step: Any,
    evaluations: jax.Array,
    tolerance: jax.Array | float = 0.0,
) -> tuple[Any, NewtonState]:
    """Return the largest tried share of `step` that lowers the objective, and the state it leaves.

    `slope` is the derivative of the objective along `step`: minus the squared decrement. With a decrement within
    `tolerance` nobody asks for the step any more: none is tried.
    """
    settled = (slope <= 0) & (-slope / 2 <= tolerance)
    share, trials = backtrack(value_fn, params, value, jnp.where(settled, 0, slope), step)
    share = jnp.where(settled, 1, share)
    state = NewtonState(-slope / 2, share, evaluations + trials)
    # a refused step may hold infinities, and 0 * inf is nan: select, do not multiply
    return jax.tree.map(lambda d: jnp.where(share > 0, share.astype(d.dtype) * d, 0), step), state


def backtrack(
    value_fn: Callable[[Any], jax.Array], params: Any, value: jax.Array, slope: jax.Array, step: Any
) -> tuple[jax.Array, jax.Array]:
    """Return the share of `step` that satisfies Armijo's condition, 0 if none does, and the trials made.

    A trial that is not finite is halved like any other that fails. For the full step the condition is
    loosened by the rounding of the objective, so that the last steps, whose gain cannot be seen, are still
    taken; a shortened one must gain visibly, or any direction would do.
    """
    slack = rounding_of(value)

    def trial(share: jax.Array) -> jax.Array:
        return value_fn(jax.tree.map(lambda x, d: x + share.astype(x.dtype) * d, params, step))

    def fails(share: jax.Array, tried: jax.Array) -> jax.Array:
        enough = tried <= value + _SUFFICIENT * share * slope
        return ~jnp.where(share == 1, enough | (tried <= value + slack), enough & (tried < value))

    def shorten(share: jax.Array, tried: jax.Array) -> jax.Array:
        # the minimum of the parabola through value, slope and tried; kept within [0.1, 0.5] of the last share
        parabola = -slope * share**2 / (2 * (tried - value - share * slope))
        parabola = jnp.where(jnp.isfinite(parabola), parabola, 0.5 * share)
        return jnp.clip(parabola, 0.1 * share, 0.5 * share)

    def again(carry: tuple) -> tuple:
        share, tried, trials = carry
        share = jnp.where(trials == 0, share, shorten(share, tried))
        return share, trial(share), trials + 1

    def unfinished(carry: tuple) -> jax.Array:
        share, tried, trials = carry
        return descends & fails(share, tried) & (trials < _MAX_TRIALS)

    descends = jnp.isfinite(slope) & (slope < 0)
    untried = (jnp.ones_like(value), jnp.full_like(value, jnp.nan), jnp.asarray(0, jnp.int32))
    share, tried, trials = jax.lax.while_loop(unfinished, again, untried)
    return jnp.where(fails(share, tried), 0, share), trials
