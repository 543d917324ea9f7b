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
from jax.flatten_util import ravel_pytree

from jaxinfo.fitting._line_search import rounding_of
from jaxinfo.fitting._newton import exact_hessian, newton_step
from jaxinfo.fitting._newton_cg import Wanted, cg_step
from jaxinfo.fitting._result import Reason
from jaxinfo.fitting._trees import inner, random_signs
from jaxinfo.fitting._trees import norm as norm_of

_CONTRACTING = 0.01  # the decrement fell at least tenfold (its square a hundredfold) in one step
_FLEEING = 0.2  # and by less than so much towards infinity: e^-1 where a likelihood falls off exponentially
_AT_REST = 1e-3  # parameters that grow by less than this share in one Newton step do not flee to infinity
_EXACT_UP_TO = 50  # parameters: so many products are what conjugate gradients may take
_RUNAWAY = 1e3  # an objective this many times its starting size above its start has run away
_NEAR_FLOOR = 1e4  # the floor is measured once the decrement is within this many roundings of the objective


class Evidence(NamedTuple):
    """What the stopping rule knows of a point.

    Attributes:
        decrement: half the squared Newton decrement.
        last_decrement: the same one Newton step before; inf where there was none.
        growth: `growth` of the parameters in the last step.
        stalled: whether the last step had to be refused.
    """

    decrement: jax.Array
    last_decrement: jax.Array
    growth: jax.Array
    stalled: jax.Array


def judge(evidence: Evidence, tolerance: float, floor: jax.Array, doubt: jax.Array | float) -> jax.Array:
    """Return the reason to stop here, as an integer; RUNNING if there is none.

    A point within `tolerance` whose decrement does not collapse may be on its way to infinity, or only at the end of
    the first, slow part of a Newton iteration. Further steps tell: it is left to them as long as the decrement is
    above `doubt`, and neither rounding nor a refused step keeps them from it.
    """
    decrement, last, growth, stalled = evidence
    eps = jnp.finfo(decrement.dtype).eps
    small = decrement <= tolerance
    known = jnp.isfinite(last)
    collapsing = known & ((decrement <= _CONTRACTING * last) | (stalled & (decrement <= _FLEEING * last)))
    found = collapsing | (growth <= _AT_REST) | (decrement <= eps * tolerance)
    on_floor = (decrement <= floor) & (stalled | (decrement > last / 4))
    running_off = small & ~found & known & (decrement > _FLEEING * last) & ((decrement <= doubt) | on_floor | stalled)
    return jnp.select(
        [~jnp.isfinite(decrement), small & found, running_off, on_floor, stalled],
        [Reason.NONFINITE, Reason.CONVERGED, Reason.SEPARATED, Reason.FLOAT_FLOOR, Reason.DIVERGED],
        Reason.RUNNING,
    ).astype(jnp.int32)


def growth(params: Any, before: Any, step: Any, grads: Any) -> jax.Array:
    """Return by which share of themselves the last step made the parameters longer; inf where there was none.

    All of them together, or each by itself, whichever is more. By itself a parameter counts by its share in what the
    next `step` gains, and only if that is about as long as the last: one that runs to infinity makes all of what is
    left to gain there, in steps of the same length, however short it is beside others in their units. At a maximum
    steps are shorter and shorter, and those that rounding makes are not alike.
    """
    moved = jax.tree.map(jnp.subtract, params, before)
    gained = jax.tree.map(lambda g, d: jnp.abs(g * d), grads, step)

    def longer(x: jax.Array, old: jax.Array, d: jax.Array) -> jax.Array:
        again = d / jnp.where(x == old, jnp.inf, x - old)
        share = 1 - jnp.abs(old) / jnp.where(x == 0, jnp.inf, jnp.abs(x))
        return jnp.where((again > 0.5) & (again < 2), share, 0)

    whole = jax.tree.reduce(jnp.add, jax.tree.map(jnp.sum, gained))
    apart = inner(gained, jax.tree.map(longer, params, before, step)) / jnp.where(whole > 0, whole, 1)
    length = norm_of(params)
    together = (length - norm_of(before)) / jnp.where(length > 0, length, 1)
    return jnp.where(inner(moved, moved) > 0, jnp.maximum(together, apart), jnp.inf)


def conclusive(last_decrement: jax.Array, tolerance: float) -> jax.Array:
    """Return the decrement from which on `judge` says CONVERGED, whatever else it hears; 0 if it never does."""
    return jnp.where(jnp.isfinite(last_decrement), jnp.minimum(_CONTRACTING * last_decrement, tolerance), 0)


def rounding_floor(
    value_fn: Callable,
    params: Any,
    value: jax.Array,
    grads: Any,
    step: Any,
    decrement: jax.Array,
    enough: jax.Array | float = -jnp.inf,
) -> jax.Array:
    """Measure how far rounding moves the objective: its change under nudges of a few units in the last place.

    A parameter near 0 is nudged by as many units of a step that gains as much as the objective is: the Newton `step`,
    lengthened. The part of the change that the gradient explains is taken off.

    Returns:
        The floor, at least one unit in the last place; 0 where nobody needs to know: the decrement is far above any
        rounding, or not above `enough`.
    """
    eps = jnp.finfo(value.dtype).eps
    whole = jnp.sqrt(jnp.abs(value) / jnp.where(decrement > 0, decrement, jnp.inf))

    def nudged(salt: jax.Array) -> jax.Array:
        def nudge_of(x: jax.Array, d: jax.Array, sign: jax.Array) -> jax.Array:
            size = jnp.maximum(jnp.abs(x), whole.astype(x.dtype) * jnp.abs(d))
            return 2 * jnp.finfo(x.dtype).eps * jnp.where(jnp.isfinite(size), size, jnp.abs(x)) * sign

        nudge = jax.tree.map(nudge_of, params, step, random_signs(params, salt))
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

    def look(points: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], tuple]:
        at, before = points
        (value, grads), linear = jax.linearize(jax.value_and_grad(value_fn), at)
        step, gain = _newton_step(lambda v: linear(v)[1], value, grads, tolerance)
        decrement = gain.astype(value.dtype) / 2
        floor = rounding_floor(value_fn, at, value, grads, step, decrement)
        grown = growth(at, before, step, grads).astype(value.dtype)
        return (jax.tree.map(jnp.add, at, step), at), (decrement, floor, grown)

    points = (params, params)
    _, ((decrement, decrement_behind), (floor, _), (_, grown)) = jax.lax.scan(look, points, length=2)
    evidence = Evidence(jnp.maximum(decrement_behind, 0), decrement, grown, jnp.zeros_like(decrement, bool))
    near = (decrement <= tolerance) | (decrement <= floor)
    reason = judge(evidence, tolerance, floor, doubt=tolerance)  # there is one look only
    reason = jnp.where(near & (decrement >= 0), reason, int(Reason.RUNNING))
    only_by_floor = (reason == Reason.CONVERGED) & (decrement > tolerance)
    return jnp.where(only_by_floor, int(Reason.FLOAT_FLOOR), reason).astype(jnp.int32), decrement


def _newton_step(
    product: Callable[[Any], Any], value: jax.Array, grads: Any, tolerance: float
) -> tuple[Any, jax.Array]:
    """Return the Newton step, exact where that is cheap, and the squared decrement."""
    flat, unravel = ravel_pytree(grads)
    if flat.size <= _EXACT_UP_TO:
        hessian = exact_hessian(lambda x: ravel_pytree(product(unravel(x)))[0], flat)
        step, gain = newton_step(hessian, flat, rounding_of(value), tolerance)
        return unravel(step), gain
    tightness = jnp.full_like(value, 0.02)
    solved = cg_step(product, grads, 1, Wanted(tightness, 0.0, tolerance, jnp.inf, rounding_of(value), _EXACT_UP_TO))
    return solved.step, solved.unseen - inner(grads, solved.step)


def overrule(
    reason: jax.Array, value: jax.Array, finite: jax.Array, first: jax.Array, *, out_of_steps: jax.Array
) -> jax.Array:
    """Return `reason` unless the objective ran away or is not finite; without any, whether the steps ran out."""
    bound = 1 + jnp.abs(first)
    away = (value > first + _RUNAWAY * bound) | (value < -bound / jnp.finfo(value.dtype).eps)
    reason = jnp.where((reason == Reason.RUNNING) & out_of_steps, int(Reason.MAX_STEPS), reason)
    reason = jnp.where(away, int(Reason.DIVERGED), reason)
    return jnp.where(finite, reason, jnp.where(value == -jnp.inf, int(Reason.DIVERGED), int(Reason.NONFINITE)))
