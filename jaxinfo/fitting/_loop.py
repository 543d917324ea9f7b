"""The pure core: one loop for every method, made of evaluate, judge, step."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from jaxinfo import _checks
from jaxinfo.fitting._line_search import NewtonState
from jaxinfo.fitting._methods import Method, choose_method, default_tolerance
from jaxinfo.fitting._newton_cg import NewtonCGState
from jaxinfo.fitting._objective import Loss, Parts, Penalty, float_params, make_objective
from jaxinfo.fitting._result import History, Reason
from jaxinfo.fitting._stopping import Evidence, certify, judge, rounding_floor
from jaxinfo.fitting._trees import choose
from jaxinfo.fitting._trees import norm as norm_of

_RUNAWAY = 1e3  # an objective this many times its starting size above its start has run away
_FIRST_PATIENCE = 5  # turns without gain after which a method without a decrement is looked at


class Point(NamedTuple):
    """Parameters and what is known of the objective there."""

    params: Any
    value: jax.Array
    parts: Parts
    gradient_norm: jax.Array
    decrement: jax.Array


class FitState(NamedTuple):
    """The loop's whole state, a pytree.

    Attributes:
        params: where the next turn evaluates.
        best: the best point so far; the estimate.
        optimizer: state of the optax transformation.
        step: updates made.
        evaluations: evaluations of the objective, of its gradient, and Hessian-vector products.
        reason: a `Reason` as an integer, RUNNING until the loop stops.
        history: objective, gradient norm and decrement at every turn, nan beyond the last.
        first_value: the objective at the start.
        last_decrement: the decrement at the turn before.
        last_norm: the norm of the parameters at the turn before.
        stale: turns since the objective last fell by more than the tolerance.
        patience: turns of that kind to wait before the next look.
    """

    params: Any
    best: Point
    optimizer: Any
    step: jax.Array
    evaluations: jax.Array
    reason: jax.Array
    history: History
    first_value: jax.Array
    last_decrement: jax.Array
    last_norm: jax.Array
    stale: jax.Array
    patience: jax.Array


def minimize(
    loss: Loss,
    params: Any,
    data: Any,
    *,
    method: str = "auto",
    weights: ArrayLike | None = None,
    penalty: Penalty | None = None,
    optimizer: optax.GradientTransformation | None = None,
    max_steps: int | None = None,
    tolerance: float | None = None,
) -> tuple[Any, FitState]:
    """Minimise ``sum(weights * loss(params, data)) + penalty(params)``, in nats.

    The pure core of `fit`, with the same arguments: it can be jitted, and vmapped over starting points.

    Returns:
        The best parameters, and the final state; its `reason` is a `Reason` as an integer.
    """
    options = Options(method, penalty, optimizer, max_steps, tolerance)
    problem = make_problem(loss, params, data, weights, options)
    final = advance(problem, start(problem, float_params(params)), problem.max_steps)
    return final.best.params, final


class Options(NamedTuple):
    """The options of a fit, as given."""

    method: str
    penalty: Penalty | None
    optimizer: optax.GradientTransformation | None
    max_steps: int | None
    tolerance: float | None


class Problem(NamedTuple):
    """What does not change during a fit."""

    objective: Callable[[Any], tuple[jax.Array, Parts]]
    method: Method
    max_steps: int
    tolerance: float


def make_problem(loss: Loss, params: Any, data: Any, weights: ArrayLike | None, options: Options) -> Problem:
    """Check the options of a fit and fill in those left to us."""
    params = float_params(params)
    objective = make_objective(loss, data, weights, options.penalty)
    method = choose_method(options.method, options.optimizer, params)
    max_steps = method.max_steps if options.max_steps is None else options.max_steps
    _checks.check_number(max_steps, "max_steps", low=0, wanted="an integer of at least 0")
    tolerance = options.tolerance
    if tolerance is None:
        tolerance = default_tolerance(jax.eval_shape(objective, params)[0].dtype)
    _checks.check_number(tolerance, "tolerance", low=0, wanted="a number of nats, at least 0")
    return Problem(objective, method, int(max_steps), float(tolerance))


def start(problem: Problem, params: Any) -> FitState:
    """Return the state before the first turn: nothing is evaluated yet."""
    value, parts = jax.eval_shape(problem.objective, params)

    def scalar(x: float) -> jax.Array:
        return jnp.full((), x, value.dtype)

    nowhere = jax.tree.map(lambda p: jnp.full(p.shape, jnp.nan, p.dtype), parts)
    best = Point(params, scalar(jnp.inf), nowhere, scalar(jnp.nan), scalar(jnp.nan))
    zero = jnp.asarray(0, jnp.int32)
    return FitState(
        params=params,
        best=best,
        optimizer=jax.tree.map(lambda x: jnp.asarray(x, dtype=x.dtype), problem.method.transform.init(params)),
        step=zero,
        evaluations=zero,
        reason=zero,
        history=History(*(jnp.full((problem.max_steps + 1,), jnp.nan, value.dtype) for _ in range(3))),
        first_value=scalar(jnp.inf),
        last_decrement=scalar(jnp.inf),
        last_norm=scalar(-jnp.inf),
        stale=zero,
        patience=jnp.asarray(_FIRST_PATIENCE, jnp.int32),
    )


def advance(problem: Problem, state: FitState, until: jax.Array | int) -> FitState:
    """Turn the loop until it has a reason to stop, or the point after `until` steps has been judged."""

    def unfinished(state: FitState) -> jax.Array:
        return (state.reason == Reason.RUNNING) & (state.step <= until)

    def turn(state: FitState) -> FitState:
        # an optimizer may return another dtype, or a weak type: the loop's carry keeps those it began with
        return jax.tree.map(lambda old, new: jnp.asarray(new).astype(old.dtype), state, _turn(problem, state))

    return jax.lax.while_loop(unfinished, turn, state)


def _turn(problem: Problem, state: FitState) -> FitState:
    """Evaluate the objective where the last step led, judge the point, and step on if nothing stops it."""
    params, tolerance = state.params, problem.tolerance

    def value_fn(params: Any) -> jax.Array:
        return problem.objective(params)[0]

    (value, grads, parts), second_order = _evaluate(problem, params)
    gradient_norm = norm_of(grads).astype(value.dtype)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):  # optax's lbfgs needs both
        updates, optimizer = problem.method.transform.update(
            grads, state.optimizer, params, value=value, grad=grads, value_fn=value_fn, **second_order
        )
    newton = optimizer.newton if isinstance(optimizer, NewtonCGState) else optimizer
    newton = newton if isinstance(newton, NewtonState) else None
    finite = jnp.isfinite(value) & jnp.isfinite(gradient_norm)
    norm = norm_of(params).astype(value.dtype)
    slack = 16 * jnp.finfo(value.dtype).eps * jnp.abs(value)
    decrement = jnp.full_like(value, jnp.nan) if newton is None else newton.decrement
    point = Point(params, value, parts, gradient_norm, decrement)
    # within rounding the later point wins: its gradient is the smaller, and that can be seen when the gain cannot
    best = choose(finite & (value <= state.best.value + slack), point, state.best)

    if newton is not None:
        floor = rounding_floor(value_fn, params, value, grads, newton.decrement)
        stalled = newton.accepted == 0
        evidence = Evidence(newton.decrement, state.last_decrement, norm, norm - state.last_norm, stalled)
        reason, stale, patience = judge(evidence, tolerance, floor), state.stale, state.patience
        evaluations = newton.evaluations + 2 * (state.step + 1)
    else:
        gained = value < state.best.value - jnp.maximum(tolerance, slack)
        stale = jnp.where(gained, 0, state.stale + 1)
        look = finite & ((stale >= state.patience) | (state.step >= problem.max_steps))
        reason, decrement = jax.lax.cond(
            look,
            lambda: certify(value_fn, best.params, tolerance),
            lambda: (jnp.zeros_like(state.reason), best.decrement),
        )
        best = best._replace(decrement=decrement)
        patience = jnp.where(look, 2 * state.patience, state.patience)
        evaluations = state.evaluations + 2

    first = jnp.where(state.step == 0, value, state.first_value)
    reason = _overrule(reason, value, finite, first, out_of_steps=state.step >= problem.max_steps)
    running = reason == Reason.RUNNING
    decrement = point.decrement if newton is not None else best.decrement
    entry = History(value, gradient_norm, decrement)
    return FitState(
        params=choose(running, optax.apply_updates(params, updates), params),
        best=best,
        optimizer=optimizer,
        step=state.step + running.astype(jnp.int32),
        evaluations=evaluations,
        reason=reason,
        history=jax.tree.map(lambda series, x: series.at[state.step].set(x), state.history, entry),
        first_value=first,
        last_decrement=point.decrement,
        last_norm=norm,
        stale=stale,
        patience=patience,
    )


def _evaluate(problem: Problem, params: Any) -> tuple[tuple[jax.Array, Any, Parts], dict[str, Callable]]:
    """Return the objective, its gradient and its parts, and for a Newton method the Hessian-vector product `hvp`."""

    def value_grads_parts(params: Any) -> tuple[jax.Array, Any, Parts]:
        (value, parts), grads = jax.value_and_grad(problem.objective, has_aux=True)(params)
        return value, grads, parts

    if not problem.method.second_order:
        return value_grads_parts(params), {}
    out, linear = jax.linearize(value_grads_parts, params)
    return out, {"hvp": lambda v: linear(v)[1]}


def _overrule(
    reason: jax.Array, value: jax.Array, finite: jax.Array, first: jax.Array, *, out_of_steps: jax.Array
) -> jax.Array:
    """Return `reason` unless the objective ran away or is not finite; without any, whether the steps ran out."""
    bound = 1 + jnp.abs(first)
    away = (value > first + _RUNAWAY * bound) | (value < -bound / jnp.finfo(value.dtype).eps)
    reason = jnp.where((reason == Reason.RUNNING) & out_of_steps, int(Reason.MAX_STEPS), reason)
    reason = jnp.where(away, int(Reason.DIVERGED), reason)
    return jnp.where(finite, reason, jnp.where(value == -jnp.inf, int(Reason.DIVERGED), int(Reason.NONFINITE)))
