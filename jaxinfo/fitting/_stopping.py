"""When a fit stops, and what it says then.

The measure is half the squared Newton decrement, ``g H^-1 g / 2``: the objective's estimated distance
from its minimum, in nats, whatever the parameterisation. It is also the squared distance of the
parameters from the optimum in standard errors, halved, so a small one means that both are found, with
one exception: where the likelihood has no maximum it flattens out towards infinity, the decrement falls
below any tolerance, and the parameters still run. There each of Newton's steps makes the parameters longer
by the same amount and the decrement falls by a constant factor, while at a maximum that exists both
collapse. That tells the two apart. (The length of the step would not: along a direction that changes
nothing, such as the common shift of a softmax, rounding alone can make it long.)
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxinfo.fitting._newton_cg import cg_step
from jaxinfo.fitting._result import Reason
from jaxinfo.fitting._trees import inner, random_signs
from jaxinfo.fitting._trees import norm as norm_of

_CONTRACTING = 0.01  # the decrement fell at least tenfold (its square a hundredfold) in one step
_AT_REST = 1e-3  # parameters that grow by less than this share in one Newton step do not flee to infinity
_RUNAWAY = 1e3  # an objective this many times its starting size above its start has run away
_NEAR_FLOOR = 1e4  # the floor is measured once the decrement is within this many roundings of the objective


class Evidence(NamedTuple):
    """What the stopping rule knows of a point.

    Attributes:
        decrement: half the squared Newton decrement.
        last_decrement: the same one Newton step before; inf where there was none.
        norm: norm of the parameters.
        growth: by how much the last step lengthened them; inf where there was none.
        stalled: whether the last step had to be refused.
    """

    decrement: jax.Array
    last_decrement: jax.Array
    norm: jax.Array
    growth: jax.Array
    stalled: jax.Array


def judge(evidence: Evidence, tolerance: float, floor: jax.Array, doubt: float) -> jax.Array:
    """Return the reason to stop here, as an integer; RUNNING if there is none.

    A point within `tolerance` whose decrement does not collapse may be on its way to infinity, or only at the end of
    the first, slow part of a Newton iteration. Further steps tell: it is left to them as long as the decrement is
    above `doubt`, and neither rounding nor a refused step keeps them from it.
    """
    decrement, last, norm, growth, stalled = evidence
    eps = jnp.finfo(decrement.dtype).eps
    small = decrement <= tolerance
    collapsing = (decrement <= _CONTRACTING * last) & jnp.isfinite(last)
    found = collapsing | (growth <= _AT_REST * norm) | (decrement <= eps * tolerance)
    on_floor = (decrement <= floor) & (stalled | (decrement > last / 4))
    running_off = small & ~found & jnp.isfinite(last) & ((decrement <= doubt) | on_floor | stalled)
    return jnp.select(
        [~jnp.isfinite(decrement), small & found, running_off, on_floor, stalled],
        [Reason.NONFINITE, Reason.CONVERGED, Reason.SEPARATED, Reason.FLOAT_FLOOR, Reason.DIVERGED],
        Reason.RUNNING,
    ).astype(jnp.int32)


def conclusive(last_decrement: jax.Array, tolerance: float) -> jax.Array:
    """Return the decrement from which on `judge` says CONVERGED, whatever else it hears; 0 if it never does."""
    return jnp.where(jnp.isfinite(last_decrement), jnp.minimum(_CONTRACTING * last_decrement, tolerance), 0)


def rounding_floor(
    value_fn: Callable,
    params: Any,
    value: jax.Array,
    grads: Any,
    decrement: jax.Array,
    enough: jax.Array | float = -jnp.inf,
) -> jax.Array:
    """Measure how far rounding moves the objective: its change under nudges of a few units in the last place.

    The part of the change that the gradient explains is taken off.

    Returns:
        The floor, at least one unit in the last place; 0 where nobody needs to know: the decrement is far above any
        rounding, or not above `enough`.
    """
    eps = jnp.finfo(value.dtype).eps

    def nudged(salt: jax.Array) -> jax.Array:
        signs = random_signs(params, salt)
        nudge = jax.tree.map(lambda x, s: 2 * jnp.finfo(x.dtype).eps * jnp.maximum(jnp.abs(x), 1) * s, params, signs)
        moved = value_fn(jax.tree.map(jnp.add, params, nudge)) - value
        return jnp.abs(moved - inner(grads, nudge).astype(value.dtype))

    def measure() -> jax.Array:
        return jnp.maximum(jnp.max(jax.lax.map(nudged, jnp.arange(4, dtype=jnp.int32))), eps * jnp.abs(value))

    asked = (decrement > enough) & (decrement <= _NEAR_FLOOR * eps * jnp.abs(value))
    return jax.lax.cond(asked, measure, lambda: jnp.zeros_like(value))


def certify(value_fn: Callable, params: Any, tolerance: float) -> tuple[jax.Array, jax.Array]:
    """Judge a point that a method without a Newton decrement has come to.

    One Newton step is solved for there, and one more behind it to see whether the decrement collapses.
    The steps are not taken: the estimate stays the method's own.

    Returns:
        The reason to stop there, RUNNING if there is none, and the decrement.
    """

    def newton_step(at: Any) -> tuple[jax.Array, Any, jax.Array, Any]:
        (value, grads), linear = jax.linearize(jax.value_and_grad(value_fn), at)
        step = cg_step(lambda v: linear(v)[1], grads, jnp.full_like(value, 0.02), 1).step
        return -inner(grads, step).astype(value.dtype) / 2, step, value, grads

    def look(at: Any, _: None) -> tuple[Any, tuple]:
        decrement, step, value, grads = newton_step(at)
        return jax.tree.map(jnp.add, at, step), (decrement, rounding_floor(value_fn, at, value, grads, decrement))

    behind, ((decrement, decrement_behind), (floor, _)) = jax.lax.scan(look, params, length=2)
    norm = norm_of(behind).astype(decrement.dtype)
    growth = norm - norm_of(params).astype(decrement.dtype)
    evidence = Evidence(jnp.maximum(decrement_behind, 0), decrement, norm, growth, jnp.zeros_like(decrement, bool))
    near = (decrement <= tolerance) | (decrement <= floor)
    reason = judge(evidence, tolerance, floor, doubt=tolerance)  # there is one look only
    reason = jnp.where(near & (decrement >= 0), reason, int(Reason.RUNNING))
    only_by_floor = (reason == Reason.CONVERGED) & (decrement > tolerance)
    return jnp.where(only_by_floor, int(Reason.FLOAT_FLOOR), reason).astype(jnp.int32), decrement


def overrule(
    reason: jax.Array, value: jax.Array, finite: jax.Array, first: jax.Array, *, out_of_steps: jax.Array
) -> jax.Array:
    """Return `reason` unless the objective ran away or is not finite; without any, whether the steps ran out."""
    bound = 1 + jnp.abs(first)
    away = (value > first + _RUNAWAY * bound) | (value < -bound / jnp.finfo(value.dtype).eps)
    reason = jnp.where((reason == Reason.RUNNING) & out_of_steps, int(Reason.MAX_STEPS), reason)
    reason = jnp.where(away, int(Reason.DIVERGED), reason)
    return jnp.where(finite, reason, jnp.where(value == -jnp.inf, int(Reason.DIVERGED), int(Reason.NONFINITE)))
