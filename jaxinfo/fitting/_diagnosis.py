"""What is wrong where a fit found no maximum: the direction, the parameter or the value that explains it.

A density that shrinks onto data points grows without bound; the optimiser follows until the width of the
distribution is no longer than the rounding of the data. That is the sign: moving the data by a few of their
own roundings changes a log-density by a nat or more, which it does for no distribution that data in this
precision could tell from a point. It needs no knowledge of which parameter is a variance. The parameter to
blame is then the one that has to be moved furthest until the sign vanishes: a location off by its own
rounding misses the point already.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from jaxinfo.fitting._information import EXACT_UP_TO, hessian_matrix
from jaxinfo.fitting._newton import newton_step
from jaxinfo.fitting._problem import Problem
from jaxinfo.fitting._result import Reason
from jaxinfo.fitting._state import FitState
from jaxinfo.fitting._summary import parameter_names

_SHARP = -5.0  # nats: no example this likely, no density that has collapsed
_REACTION = 1.0  # nats
_CANDIDATES = 64  # parameters that may be to blame, those that moved most
_EXAMPLES = 32  # examples that the blame is found with


class Diagnosis(NamedTuple):
    """The reason after a closer look, a sentence on what was found, and the direction of recession if any."""

    reason: Reason
    detail: str = ""
    direction: Any = None


def diagnose(problem: Problem, state: FitState, lowest: float) -> Diagnosis:
    """Look closer at the point where a fit stopped; `lowest` is the smallest NLL of an example there."""
    reason = Reason(int(state.reason))
    degenerate = _degenerate(problem, state) if lowest < _SHARP or lowest == -np.inf else ""
    if degenerate and reason != Reason.EARLY_STOPPED:
        return Diagnosis(Reason.DEGENERATE, degenerate)
    if reason == Reason.SEPARATED:
        return _recession(problem, state)
    if reason == Reason.NONFINITE:
        return Diagnosis(reason, _first_bad(problem, state))
    return Diagnosis(reason)


def lowest_loss(problem: Problem, params: Any) -> jax.Array:
    """Return the smallest NLL of an example that counts; inf on minibatches, where all at once may be too many."""
    if problem.method.batch_size:
        value = jax.eval_shape(problem.objective, params)[0]
        return jnp.full((), jnp.inf, value.dtype)
    losses = problem.loss(params, problem.inputs.data)
    if problem.inputs.weights is not None:
        losses = jnp.where(problem.inputs.weights == 0, jnp.inf, losses)
    return jnp.min(jnp.where(jnp.isnan(losses), jnp.inf, losses), initial=jnp.inf)


def _recession(problem: Problem, state: FitState) -> Diagnosis:
    """Return the direction in which the likelihood grows for ever: that of the Newton step, or of the last step."""
    params = state.best.params
    flat, unravel = ravel_pytree(params)

    def step(params: Any) -> jax.Array:
        gradient = ravel_pytree(jax.grad(lambda p: problem.objective(p)[0])(params))[0]
        return newton_step(hessian_matrix(lambda p: problem.objective(p)[0], params), gradient)

    along = jax.jit(step)(params) if flat.size <= EXACT_UP_TO else flat - ravel_pytree(state.previous)[0]
    length = jnp.linalg.norm(along)
    if not (bool(jnp.isfinite(length)) and float(length) > 0):
        return Diagnosis(Reason.SEPARATED)
    along = along / length
    names, share = parameter_names(params), np.asarray(along)
    leaders = [f"{names[i]} {share[i]:+.2g}" for i in np.argsort(-np.abs(share))[:4] if abs(share[i]) > 0.05]
    return Diagnosis(
        Reason.SEPARATED,
        f"The likelihood grows for ever along the direction of recession {', '.join(leaders)}.",
        unravel(along),
    )


def _first_bad(problem: Problem, state: FitState) -> str:
    """Name the first example and the first leaf that are not finite at the point the last step led to."""
    params = state.params
    losses = np.asarray(jax.jit(problem.loss)(params, problem.inputs.data)).ravel()
    counted = np.ones(len(losses), bool) if problem.inputs.weights is None else np.asarray(problem.inputs.weights) != 0
    bad = np.flatnonzero(~np.isfinite(losses) & counted.ravel())
    found = [f"the loss of example {bad[0]} is {losses[bad[0]]}"] if len(bad) else []
    gradient = jax.jit(jax.grad(lambda p: problem.objective(p)[0]))(params)
    for what, tree in (("", params), ("the gradient to ", gradient)):
        values = np.asarray(ravel_pytree(tree)[0])
        wrong = np.flatnonzero(~np.isfinite(values))
        if len(wrong):
            found.append(f"the first bad leaf is {what}{parameter_names(params)[wrong[0]]}, {values[wrong[0]]}")
            break
    return f"At step {int(state.step)} {' and '.join(found) or 'a derivative is not finite'}."


def _degenerate(problem: Problem, state: FitState) -> str:
    """Say which parameter degenerates and on which examples; nothing where none does."""
    params, data = state.best.params, problem.inputs.data
    losses = np.asarray(jax.jit(problem.loss)(params, data)).ravel()
    reaction = np.asarray(jax.jit(_reaction, static_argnums=0)(problem.loss, params, data)).ravel()
    if problem.inputs.weights is not None:
        reaction = np.where(np.asarray(problem.inputs.weights).ravel() == 0, 0, reaction)
    sharp = np.flatnonzero((losses < _SHARP) & ((reaction > _REACTION) | ~np.isfinite(losses)))
    if not len(sharp):
        return ""
    name = parameter_names(params)[_to_blame(problem.loss, params, state.previous, *_few(data, sharp, len(losses)))]
    if len(sharp) == 1:
        return f"{name} degenerates: the density of example {sharp[0]} grows without bound."
    return f"{name} degenerates: the density of {len(sharp)} examples, the first {sharp[0]}, grows without bound."


def _reaction(loss: Callable, params: Any, data: Any) -> jax.Array:
    """Return by how many nats each loss changes when the data move by some of their roundings."""

    def nudge(key: jax.Array, leaf: jax.Array) -> jax.Array:
        leaf = jnp.asarray(leaf)
        if not jnp.issubdtype(leaf.dtype, jnp.floating) or leaf.size == 0:
            return leaf
        size = jnp.max(jnp.abs(leaf), axis=0, keepdims=True) if leaf.ndim else jnp.abs(leaf)
        signs = jax.random.rademacher(key, leaf.shape, leaf.dtype)
        return leaf + jnp.finfo(leaf.dtype).eps ** 0.75 * size * signs

    leaves, structure = jax.tree.flatten(data)
    moved = [nudge(jax.random.fold_in(jax.random.key(4), i), leaf) for i, leaf in enumerate(leaves)]
    change = jnp.abs(loss(params, jax.tree.unflatten(structure, moved)) - loss(params, data))
    return jnp.where(jnp.isnan(change), jnp.inf, change)


def _few(data: Any, sharp: np.ndarray, count: int) -> tuple[Any, np.ndarray]:
    """Return the sharp examples alone where `data` can be cut by examples, and where the sharp ones are then."""
    if any(jnp.ndim(leaf) == 0 or len(leaf) != count for leaf in jax.tree.leaves(data)):
        return data, sharp
    chosen = sharp[:_EXAMPLES]
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[chosen], data), np.arange(len(chosen))


def _to_blame(loss: Callable, params: Any, previous: Any, data: Any, sharp: np.ndarray) -> int:
    """Return the number of the parameter that has to move furthest before the densities are no longer sharp."""
    flat, unravel = ravel_pytree(params)
    size = jnp.maximum(jnp.abs(flat), 1)
    moved = np.nan_to_num(np.asarray(jnp.abs(flat - ravel_pytree(previous)[0]) / size))
    candidates = np.argsort(-moved, kind="stable")[:_CANDIDATES]
    least = -np.finfo(flat.dtype).nmant - 60  # a width may be far below the rounding of 1
    reaches = jnp.asarray([sign * 2.0**k for k in range(least, 4) for sign in (1, -1)], flat.dtype)

    def cured(reach: jax.Array, number: jax.Array) -> jax.Array:
        there = flat.at[number].add(reach * size[number])
        losses, reaction = loss(unravel(there), data).ravel(), _reaction(loss, unravel(there), data).ravel()
        return jnp.all((reaction[sharp] < _REACTION) & jnp.isfinite(losses[sharp]))

    def distance(number: jax.Array) -> jax.Array:
        where = jax.lax.map(lambda reach: cured(reach, number), reaches)
        return jnp.min(jnp.where(where, jnp.abs(reaches), jnp.inf))

    distances = np.asarray(jax.jit(lambda numbers: jax.lax.map(distance, numbers))(jnp.asarray(candidates)))
    curable = np.isfinite(distances)
    return int(candidates[np.argmax(np.where(curable, distances, -1))] if curable.any() else candidates[0])
