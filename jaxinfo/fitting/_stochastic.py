"""Minibatches: steps on a part of the examples, and at the end of each pass a look at all of them.

Every pass goes through all rows once, in a new random order; the last batch is filled up with rows of
weight 0. A batch stands for the whole: its NLL is scaled by the number of batches, so that every row has
the same say in a pass and the steps of a pass add up to the gradient over all data.

Losses of batches are noisy, and with a constant learning rate so are the parameters. Progress is judged in
stages: the mean objective over the passes of the later half against that of the earlier, in units of the
scatter between passes. Where nothing is gained beyond it, the next stage is twice as long and its updates
half as large, so that a slow progress is told from none in the end and the learning rates still add up to
infinity, as Robbins and Monro ask. The mean of the parameters over a later half (Polyak and Ruppert's) is
then held against the same Newton decrement as any other method's point.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxinfo.fitting._newton_cg import row_norms
from jaxinfo.fitting._objective import Parts, make_objective, take
from jaxinfo.fitting._problem import Problem
from jaxinfo.fitting._result import History, Reason
from jaxinfo.fitting._state import Epoch, FitState, Point, early, validated
from jaxinfo.fitting._stopping import certify, overrule
from jaxinfo.fitting._trees import choose
from jaxinfo.fitting._trees import norm as norm_of

_NOISE = 2.0  # a gain of fewer standard errors is none


def stochastic_turn(problem: Problem, state: FitState) -> FitState:
    """Step on the next batch; at the end of a pass look at all data, and stop if there is a reason."""
    epoch = state.epoch
    assert epoch is not None
    at = state.step % problem.batches
    order = jax.lax.cond(at == 0, lambda: _shuffle(problem, state.step), lambda: epoch.order)
    objective = _batch_objective(problem, order[at])
    (value, parts), grads = jax.value_and_grad(objective, has_aux=True)(state.params)
    gradient_norm = norm_of(grads).astype(value.dtype)
    finite = jnp.isfinite(value) & jnp.isfinite(gradient_norm)
    first = jnp.where(state.step == 0, value, state.first_value)
    out_of_steps = state.step >= problem.max_steps
    reason = overrule(jnp.zeros_like(state.reason), value, finite, first, out_of_steps=out_of_steps)

    weight = jnp.where(parts.weight > 0, parts.weight, 1)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        updates, optimizer = problem.method.transform.update(
            jax.tree.map(lambda g: g / weight.astype(g.dtype), grads),
            state.optimizer,
            state.params,
            value=value / weight,
            grad=grads,
            value_fn=lambda params: objective(params)[0] / weight,
        )
    updates = jax.tree.map(lambda u: u * epoch.scale.astype(u.dtype), updates)
    running = reason == Reason.RUNNING
    first_pass = epoch.stage // 2  # of the later half
    share = jnp.where(epoch.passes >= first_pass, 1 / ((epoch.stage - first_pass) * problem.batches), 0)
    average = jax.tree.map(lambda a, p: a + share.astype(p.dtype) * p, epoch.average, state.params)
    entry = History(value, gradient_norm, jnp.full_like(value, jnp.nan))
    stepped = state._replace(
        params=choose(running, optax.apply_updates(state.params, updates), state.params),
        previous=choose(running, state.params, state.previous),
        optimizer=choose(running, optimizer, state.optimizer),
        step=state.step + running.astype(jnp.int32),
        evaluations=state.evaluations + 2,
        reason=reason,
        history=jax.tree.map(lambda series, x: series.at[state.step].set(x), state.history, entry),
        first_value=first,
        epoch=epoch._replace(order=order, total=epoch.total + value, average=average),
    )
    ended = (running & (at == problem.batches - 1)) | (reason == Reason.MAX_STEPS)
    return jax.lax.cond(ended, lambda: _end_of_pass(problem, stepped, at), lambda: stepped)


def _shuffle(problem: Problem, step: jax.Array) -> jax.Array:
    """Return the rows of each batch of the pass that begins at `step`; numbers beyond the last row are padding."""
    size = problem.method.batch_size or 1
    key = jax.random.fold_in(problem.inputs.key, step)
    rows = jax.random.permutation(key, jnp.arange(problem.examples, dtype=jnp.int32))
    padding = jnp.full((problem.batches * size - problem.examples,), problem.examples, jnp.int32)
    return jnp.concatenate([rows, padding]).reshape(problem.batches, size)


def _batch_objective(problem: Problem, rows: jax.Array) -> Callable[[Any], tuple[jax.Array, Parts]]:
    """Return the estimate of the objective from these rows."""
    data, weights = take(problem.inputs.data, problem.inputs.weights, rows, problem.examples)

    def loss(params: Any, data: Any) -> jax.Array:
        return problem.loss(params, data) * problem.batches

    def objective(params: Any) -> tuple[jax.Array, Parts]:
        dtype = jax.eval_shape(problem.loss, params, data).dtype
        value, parts = make_objective(loss, data, weights.astype(dtype), problem.penalty)(params)
        return value, Parts(parts.nll, parts.weight * problem.batches)

    return objective


def _end_of_pass(problem: Problem, state: FitState, at: jax.Array) -> FitState:
    """Look at all data from where the pass led; at the end of a stage from the mean of the parameters too."""
    epoch = state.epoch
    assert epoch is not None
    epoch = _count_pass(epoch, epoch.total / (at + 1).astype(epoch.total.dtype))
    complete = epoch.passes == epoch.stage
    plateau = complete & _plateau(epoch)
    last = _look(problem, state.params)
    mean = jax.lax.cond(complete, lambda: _look(problem, epoch.average), lambda: last)
    point = choose(mean.value < last.value, mean, last)
    finite = jnp.isfinite(point.value)
    seen = validated(problem, state, point, finite & (point.value <= state.best.value), finite)

    candidate = seen.best if problem.validate is None else point
    stopping = state.reason == Reason.MAX_STEPS
    reason, decrement = jax.lax.cond(
        (plateau | stopping) & jnp.isfinite(candidate.value),
        lambda: _certified(problem, candidate.params),
        lambda: (jnp.zeros_like(state.reason), candidate.decrement),
    )
    reason = early(problem, jnp.where(stopping & (reason == Reason.RUNNING), state.reason, reason), seen)
    return state._replace(
        best=seen.best._replace(decrement=jnp.where(seen.worse, seen.best.decrement, decrement)),
        evaluations=state.evaluations + problem.batches,
        reason=reason,
        validation=seen.loss,
        waited=seen.waited,
        epoch=choose(complete, _next_stage(epoch, plateau), epoch),
    )


def _count_pass(epoch: Epoch, objective: jax.Array) -> Epoch:
    """Enter the mean objective of a pass into the running mean and spread of its half of the stage."""
    half = (epoch.passes >= epoch.stage // 2).astype(jnp.int32)
    number = epoch.passes - half * (epoch.stage // 2) + 1
    off = objective - epoch.mean[half]
    mean = epoch.mean[half] + off / number.astype(off.dtype)
    return epoch._replace(
        total=jnp.zeros_like(epoch.total),
        passes=epoch.passes + 1,
        mean=epoch.mean.at[half].set(mean),
        spread=epoch.spread.at[half].add(off * (objective - mean)),
    )


def _plateau(epoch: Epoch) -> jax.Array:
    """Return whether the later half of the stage is lower by no more than the scatter between passes explains."""
    half = (epoch.stage // 2).astype(epoch.mean.dtype)
    error = jnp.sqrt(jnp.sum(epoch.spread) / (half * (half - 1)))
    rounding = 16 * jnp.finfo(error.dtype).eps * jnp.abs(epoch.mean[1])
    return epoch.mean[0] - epoch.mean[1] <= jnp.maximum(_NOISE * error, rounding)


def _next_stage(epoch: Epoch, plateau: jax.Array) -> Epoch:
    return epoch._replace(
        passes=jnp.zeros_like(epoch.passes),
        stage=jnp.where(plateau, 2 * epoch.stage, epoch.stage),
        mean=jnp.zeros_like(epoch.mean),
        spread=jnp.zeros_like(epoch.spread),
        average=jax.tree.map(jnp.zeros_like, epoch.average),
        scale=jnp.where(plateau, epoch.scale / 2, epoch.scale),
    )


def _look(problem: Problem, params: Any) -> Point:
    value, parts = problem.objective(params)
    unknown = jnp.full_like(value, jnp.nan)
    return Point(params, value, parts, unknown, unknown)


def _certified(problem: Problem, params: Any) -> tuple[jax.Array, jax.Array]:
    """Return the reason to stop at `params`, and the decrement there.

    Conjugate gradients over all data are dear: first their first iterate, whose gain the decrement exceeds.
    """

    def value_fn(params: Any) -> jax.Array:
        return problem.objective(params)[0]

    grads, linear = jax.linearize(jax.grad(value_fn), params)
    scale = row_norms(linear, grads, 2)
    ascent = jax.tree.map(lambda g, s: g / s, grads, scale)
    power = sum(jnp.vdot(a, g) for a, g in zip(jax.tree.leaves(ascent), jax.tree.leaves(grads), strict=True))
    curvature = sum(
        jnp.vdot(a, h) for a, h in zip(jax.tree.leaves(ascent), jax.tree.leaves(linear(ascent)), strict=True)
    )
    gain = jnp.where(curvature > 0, power**2 / (2 * jnp.where(curvature > 0, curvature, 1)), jnp.inf)
    gain = jnp.where(power > 0, gain, 0)
    dtype = jax.eval_shape(value_fn, params).dtype
    return jax.lax.cond(
        gain <= problem.tolerance,
        lambda: certify(value_fn, params, problem.tolerance),
        lambda: (jnp.zeros((), jnp.int32), gain.astype(dtype)),
    )
