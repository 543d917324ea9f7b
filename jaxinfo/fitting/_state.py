"""What the loop carries from turn to turn."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxinfo.fitting._objective import Parts
from jaxinfo.fitting._problem import Problem
from jaxinfo.fitting._result import History, Reason
from jaxinfo.fitting._trees import choose

FIRST_LOOK = 5  # turns without gain after which a method without a decrement is looked at
FIRST_STAGE = 8  # passes through the data before the first plateau test


class Point(NamedTuple):
    """Parameters and what is known of the objective there."""

    params: Any
    value: jax.Array
    parts: Parts
    gradient_norm: jax.Array
    decrement: jax.Array


class Epoch(NamedTuple):
    """What minibatches remember of their passes through the data.

    Attributes:
        order: [batches, batch_size], the rows of each batch of this pass; beyond the last row: padding.
        total: sum of the batches' objectives in this pass.
        passes: passes made in this stage.
        stage: passes in this stage.
        mean: [2], mean over the passes of each half of the stage of their objectives.
        spread: [2], the sum of their squared distances from it.
        average: mean of the parameters over the passes of the later half.
        scale: factor of the optimizer's updates.
    """

    order: jax.Array
    total: jax.Array
    passes: jax.Array
    stage: jax.Array
    mean: jax.Array
    spread: jax.Array
    average: Any
    scale: jax.Array


class FitState(NamedTuple):
    """The loop's whole state, a pytree.

    Attributes:
        params: where the next turn evaluates.
        previous: the parameters before the last step.
        best: the best point so far; the estimate. By the validation loss where there is one.
        optimizer: state of the optax transformation.
        step: updates made.
        evaluations: evaluations of the objective, of its gradient, and Hessian-vector products.
        reason: a `Reason` as an integer, RUNNING until the loop stops.
        history: objective, gradient norm and decrement at every turn, nan beyond the last.
        first_value: the objective at the start.
        last_decrement: the decrement at the turn before.
        stale: turns since the objective last fell by more than the tolerance.
        next_look: turns of that kind to wait before the next look.
        validation: the lowest validation loss.
        waited: validations since then.
        epoch: what minibatches remember; None on all of the data.
    """

    params: Any
    previous: Any
    best: Point
    optimizer: Any
    step: jax.Array
    evaluations: jax.Array
    reason: jax.Array
    history: History
    first_value: jax.Array
    last_decrement: jax.Array
    stale: jax.Array
    next_look: jax.Array
    validation: jax.Array
    waited: jax.Array
    epoch: Epoch | None


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
        previous=params,
        best=best,
        optimizer=jax.tree.map(lambda x: jnp.asarray(x, dtype=x.dtype), problem.method.transform.init(params)),
        step=zero,
        evaluations=zero,
        reason=zero,
        history=History(*(jnp.full((problem.max_steps + 1,), jnp.nan, value.dtype) for _ in range(3))),
        first_value=scalar(jnp.inf),
        last_decrement=scalar(jnp.inf),
        stale=zero,
        next_look=jnp.asarray(FIRST_LOOK, jnp.int32),
        validation=scalar(jnp.inf),
        waited=zero,
        epoch=_first_epoch(problem, params, scalar(0)) if problem.method.batch_size else None,
    )


def _first_epoch(problem: Problem, params: Any, zero: jax.Array) -> Epoch:
    return Epoch(
        order=jnp.zeros((problem.batches, problem.method.batch_size or 0), jnp.int32),
        total=zero,
        passes=jnp.asarray(0, jnp.int32),
        stage=jnp.asarray(FIRST_STAGE, jnp.int32),
        mean=jnp.zeros((2,), zero.dtype),
        spread=jnp.zeros((2,), zero.dtype),
        average=jax.tree.map(jnp.zeros_like, params),
        scale=jnp.ones_like(zero),
    )


class Validated(NamedTuple):
    """What the validation data say of a point.

    Attributes:
        best: the best point now.
        loss: the lowest validation loss.
        waited: validations since it last fell by more than rounding.
        worse: whether this point validates worse than the best.
    """

    best: Point
    loss: jax.Array
    waited: jax.Array
    worse: jax.Array


def validated(problem: Problem, state: FitState, point: Point, better: jax.Array, finite: jax.Array) -> Validated:
    """Choose the best point: the one that validates best, or without validation data `point` where it is `better`.

    Returns:
        That point, the `better` one too as long as no validation loss was finite, and what was seen.
    """
    if problem.validate is None:
        best = choose(better, point, state.best)
        return Validated(best, state.validation, state.waited, jnp.zeros_like(finite))
    loss = problem.validate(point.params).astype(state.validation.dtype)
    slack = 16 * jnp.finfo(loss.dtype).eps * jnp.abs(loss)
    unknown = ~jnp.isfinite(state.validation) & ~jnp.isfinite(loss)
    no_worse = finite & jnp.where(unknown, better, loss <= state.validation + slack)
    waited = jnp.where(finite & (loss < state.validation - slack), 0, state.waited + 1)
    lowest = jnp.where(finite & (loss < state.validation), loss, state.validation)
    return Validated(choose(no_worse, point, state.best), lowest, waited, ~no_worse)


def early(problem: Problem, reason: jax.Array, seen: Validated) -> jax.Array:
    """Return EARLY_STOPPED where patience has run out, or where a maximum is not the point that validates best.

    NONFINITE where there is none to stop at: no validation loss was finite.
    """
    if problem.validate is None:
        return reason
    maximum = (reason == Reason.CONVERGED) | (reason == Reason.FLOAT_FLOOR)
    stopped = ((reason == Reason.RUNNING) & (seen.waited >= problem.patience)) | (maximum & seen.worse)
    why = jnp.where(jnp.isfinite(seen.loss), int(Reason.EARLY_STOPPED), int(Reason.NONFINITE))
    return jnp.where(stopped, why, reason)
