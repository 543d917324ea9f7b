"""The pure core: one loop for every method, made of evaluate, judge, step."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxinfo.fitting._hessian import hessian
from jaxinfo.fitting._line_search import NewtonState
from jaxinfo.fitting._methods import default_tolerance
from jaxinfo.fitting._newton_cg import NewtonCGState
from jaxinfo.fitting._objective import Parts
from jaxinfo.fitting._problem import Problem
from jaxinfo.fitting._result import History, Reason
from jaxinfo.fitting._state import FitState, Point, early, validated
from jaxinfo.fitting._stochastic import stochastic_turn
from jaxinfo.fitting._stopping import Evidence, certify, conclusive, growth, judge, overrule, rounding_floor
from jaxinfo.fitting._trees import choose
from jaxinfo.fitting._trees import norm as norm_of


def advance(
    problem: Problem,
    state: FitState,
    until: jax.Array | int,
    tell: Callable[[jax.Array, FitState], None] | None = None,
) -> FitState:
    """Return the state when there is a reason to stop, or the point after `until` steps has been judged.

    `tell` is called within the loop, with the number of the step and the state after its turn.
    """
    turn_once = stochastic_turn if problem.method.batch_size else _turn

    def unfinished(state: FitState) -> jax.Array:
        return (state.reason == Reason.RUNNING) & (state.step <= until)

    def turn(state: FitState) -> FitState:
        # an optimizer may return another dtype, or a weak type: the loop's carry keeps those it began with
        new = jax.tree.map(lambda old, new: jnp.asarray(new).astype(old.dtype), state, turn_once(problem, state))
        if tell is not None:
            tell(state.step, new)
        return new

    return jax.lax.while_loop(unfinished, turn, state)


def _turn(problem: Problem, state: FitState) -> FitState:
    """Evaluate the objective where the last step led, judge the point, and step on if nothing stops it."""
    params = state.params

    def value_fn(params: Any) -> jax.Array:
        return problem.objective(params)[0]

    (value, grads, parts), second_order = _evaluate(problem, state)
    gradient_norm = norm_of(grads).astype(value.dtype)
    updates, optimizer = _update(problem, state, value, grads, parts, second_order)
    newton = optimizer.newton if isinstance(optimizer, NewtonCGState) else optimizer
    newton = newton if isinstance(newton, NewtonState) else None
    finite = jnp.isfinite(value) & jnp.isfinite(gradient_norm)
    slack = 16 * jnp.finfo(value.dtype).eps * jnp.abs(value)
    decrement = jnp.full_like(value, jnp.nan) if newton is None else newton.decrement
    point = Point(params, value, parts, gradient_norm, decrement)
    # within rounding the later point wins: its gradient is the smaller, and that can be seen when the gain cannot
    seen = validated(problem, state, point, finite & (value <= state.best.value + slack), finite)
    best, stale, next_look = seen.best, state.stale, state.next_look

    first = jnp.where(state.step == 0, value, state.first_value)
    if newton is not None:
        enough = conclusive(state.last_decrement, problem.tolerance)
        floor = rounding_floor(value_fn, params, value, grads, updates, newton.decrement, enough)
        grown = growth(params, state.previous, updates, grads).astype(value.dtype)
        evidence = Evidence(newton.decrement, state.last_decrement, grown, stalled=newton.accepted == 0)
        # a small objective, of small weights, starts below any tolerance in nats
        doubt = default_tolerance(problem.method, value.dtype) * jnp.minimum(jnp.abs(first), 1)
        reason = judge(evidence, problem.tolerance, floor, doubt)
        evaluations = newton.evaluations + 2 * (state.step + 1)
    else:
        gained = value < state.best.value - jnp.maximum(problem.tolerance, slack)
        stale = jnp.where(gained, 0, state.stale + 1)
        look = finite & ((stale >= state.next_look) | (state.step >= problem.max_steps))
        candidate = best if problem.validate is None else point
        reason, decrement = jax.lax.cond(
            look,
            lambda: certify(value_fn, candidate.params, problem.tolerance),
            lambda: (jnp.zeros_like(state.reason), candidate.decrement),
        )
        best = best._replace(decrement=jnp.where(seen.worse, best.decrement, decrement))
        next_look = jnp.where(look, 2 * state.next_look, state.next_look)
        evaluations = state.evaluations + 2

    reason = early(problem, reason, seen)
    reason = overrule(reason, value, finite, first, out_of_steps=state.step >= problem.max_steps)
    running = reason == Reason.RUNNING
    entry = History(value, gradient_norm, decrement)
    return FitState(
        params=choose(running, optax.apply_updates(params, updates), params),
        previous=choose(running, params, state.previous),
        best=best,
        optimizer=optimizer,
        step=state.step + running.astype(jnp.int32),
        evaluations=evaluations,
        reason=reason,
        history=jax.tree.map(lambda series, x: series.at[state.step].set(x), state.history, entry),
        first_value=first,
        last_decrement=point.decrement,
        stale=stale,
        next_look=next_look,
        validation=seen.loss,
        waited=seen.waited,
        epoch=state.epoch,
    )


def _evaluate(problem: Problem, state: FitState) -> tuple[tuple[jax.Array, Any, Parts], dict[str, Any]]:
    """Return the objective, its gradient and its parts, and what a Newton method is given beside them."""

    def value_grads_parts(params: Any) -> tuple[jax.Array, Any, Parts]:
        (value, parts), grads = jax.value_and_grad(problem.objective, has_aux=True)(params)
        return value, grads, parts

    if not problem.method.second_order:
        return value_grads_parts(state.params), {}
    wanted = {"tolerance": conclusive(state.last_decrement, problem.tolerance), "small": problem.tolerance}
    if problem.curvature is not None:
        made = partial(hessian, problem, state.params)
        return value_grads_parts(state.params), wanted | {"hessian": made}
    out, linear = jax.linearize(value_grads_parts, state.params)
    return out, wanted | {"hvp": lambda v: linear(v)[1]}


def _update(
    problem: Problem, state: FitState, value: jax.Array, grads: Any, parts: Parts, second_order: dict[str, Any]
) -> tuple[Any, Any]:
    """Return the updates of the method, and its state behind them."""
    weight = jnp.where(parts.weight > 0, parts.weight, 1) if problem.method.per_example else jnp.ones_like(value)

    def value_fn(params: Any) -> jax.Array:
        return problem.objective(params)[0] / weight

    grads = jax.tree.map(lambda g: g / weight.astype(g.dtype), grads)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):  # optax's lbfgs needs both
        return problem.method.transform.update(
            grads, state.optimizer, state.params, value=value / weight, grad=grads, value_fn=value_fn, **second_order
        )
