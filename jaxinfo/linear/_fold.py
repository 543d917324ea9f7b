"""The statistics of each row, folded over blocks of classes.

Sums are kept relative to the largest logit seen so far and rescaled when a larger one comes. Within a block
they are XLA's, blocks are added with compensation.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxinfo._rows import centre
from jaxinfo.linear._blocks import fold
from jaxinfo.linear._head import affine, is_at, least, like, put, shaped, take, within
from jaxinfo.linear._rows import Fixed, Inputs, Kept, Plan, Rows, log_sum, moved, times, weighted_targets


class Sums(NamedTuple):
    """What is carried from block to block; `off` are rounding errors of `rest_sum`."""

    rest_max: jax.Array
    rest_sum: jax.Array
    off: jax.Array
    at: jax.Array
    infinite: jax.Array
    finite: jax.Array
    top: jax.Array | None = None
    best: jax.Array | None = None
    mass: jax.Array | None = None
    level: jax.Array | None = None
    share: jax.Array | None = None
    spread: jax.Array | None = None
    picked: jax.Array | None = None
    whole: jax.Array | None = None
    heat: jax.Array | None = None


def statistics(plan: Plan, inputs: Inputs, fixed: Fixed) -> tuple[Rows, Kept]:
    """Return the statistics of each row, and what their derivatives need; without a derivative of their own."""

    def body(sums: Sums, start: Any, size: int) -> Sums:
        block, place = inputs.block(start, size), fixed.block(start, size)
        x = shaped(unshaped(plan, block, place), block.head.temperature, block.head.soft_cap)
        return add_block(plan, sums, x, block, place, start)

    classes = inputs.head.classes
    return close(plan, fold(body, empty(plan, inputs, fixed), classes, plan.size), fixed, classes)


def empty(plan: Plan, inputs: Inputs, fixed: Fixed) -> Sums:
    """Return the sums before the first block."""
    hidden = inputs.head.hidden
    row = hidden[:, 0] if hidden.shape[1] else like(0, hidden, hidden.shape[:1])
    zero, low = like(0, row, dtype=plan.dtype), like(least(plan.dtype), row, dtype=plan.dtype)
    at = zero if plan.apart == "label" else like(-jnp.inf, row, dtype=plan.dtype)
    sums = Sums(low, zero, zero, at, zero, zero)
    if inputs.targets is not None or plan.smooth or plan.entropy or plan.apart == "top":
        sums = sums._replace(top=low)
    if inputs.targets is not None:
        sums = sums._replace(mass=zero, level=zero)
    if plan.smooth:
        sums = sums._replace(share=zero, spread=zero)
    if fixed.labels is not None and plan.apart == "top":
        sums = sums._replace(picked=zero)
    if plan.entropy:
        sums = sums._replace(whole=zero, heat=zero, best=like(0, row, dtype=jnp.int32))
    return sums


def unshaped(plan: Plan, inputs: Inputs, fixed: Fixed, products: jax.Array | None = None) -> jax.Array:
    """Return the logits of a block before temperature and soft cap, -inf where they are not included."""
    return fixed.masked(affine(inputs.head, plan.dtype, products), -jnp.inf)


def add_block(plan: Plan, sums: Sums, x: jax.Array, inputs: Inputs, fixed: Fixed, start: Any) -> Sums:
    """Return the sums with one more block, whose logits are `x`."""
    if plan.apart == "label":
        return _beside_labels(plan, sums, x, inputs, fixed)
    return _beside_top(plan, sums, x, inputs, fixed, start)


def _beside_labels(plan: Plan, sums: Sums, x: jax.Array, inputs: Inputs, fixed: Fixed) -> Sums:
    assert fixed.labels is not None
    at = take(x, fixed.labels)
    rest = put(x, fixed.labels, -jnp.inf)
    low = least(x.dtype)
    peak = jnp.max(rest, axis=1, initial=low)
    new = jnp.maximum(sums.rest_max, peak)
    base = jnp.expand_dims(jnp.minimum(new, -low), 1)
    sums = _rescaled(sums, new, jnp.sum(jnp.exp(rest - base), axis=1))
    infinite = jax.lax.cond(jnp.any(peak == jnp.inf), _infinities, lambda r: like(0, r, r.shape[:1]), rest)
    sums = sums._replace(at=sums.at + at, infinite=sums.infinite + infinite)
    if sums.top is None:
        return sums
    return _weighted(plan, sums, x, _highest(peak, at, within(fixed.labels, x.shape[1])), inputs, fixed)


def _beside_top(plan: Plan, sums: Sums, x: jax.Array, inputs: Inputs, fixed: Fixed, start: Any) -> Sums:
    """The largest of each block is told from the rest; of the two largest the smaller one joins the rest."""
    assert sums.top is not None
    low = least(x.dtype)
    best = jax.lax.argmax(x, 1, jnp.int32)
    at = take(x, best)
    rest = jnp.where(is_at(x, best), -jnp.inf, x)
    first = (at > sums.at) | jnp.isnan(at)
    loser = jnp.where(first, sums.at, at)
    new = jnp.maximum(jnp.maximum(sums.rest_max, jnp.max(rest, axis=1, initial=low)), loser)
    terms = jnp.sum(jnp.exp(centre(rest, jnp.expand_dims(new, 1))), axis=1) + jnp.exp(centre(loser, new))
    valid = at - at  # nan for a nan, which a minimum may step over, and for an infinity
    sums = _rescaled(sums, new, terms + jnp.where(jnp.isinf(at), 0, valid))
    sums = sums._replace(at=jnp.where(first, at, sums.at))
    if sums.best is not None:
        sums = sums._replace(best=jnp.where(first, best + jnp.asarray(start, jnp.int32), sums.best))
    if sums.picked is not None:
        assert fixed.labels is not None
        sums = sums._replace(picked=sums.picked + take(x, fixed.labels))
    return _weighted(plan, sums, x, jnp.maximum(at, low), inputs, fixed)


def _infinities(x: jax.Array) -> jax.Array:
    """Return how many elements of each row are +inf, in its dtype; a nan makes the count nan."""
    return jnp.sum(jnp.where(jnp.isnan(x), jnp.nan, (x == jnp.inf).astype(x.dtype)), axis=1)


def _rescaled(sums: Sums, new: jax.Array, terms: jax.Array) -> Sums:
    """Return the sum over the rest, relative to its new maximum, with `terms`: blocks are added with compensation."""
    scale = jnp.exp(centre(sums.rest_max, new))
    old, off = sums.rest_sum * scale, sums.off * scale
    total = old + terms
    back = total - old
    error = (old - (total - back)) + (terms - back)
    finite = jnp.abs(total) < jnp.inf
    return sums._replace(rest_max=new, rest_sum=total, off=jnp.where(finite, off + error, 0))


def _weighted(plan: Plan, sums: Sums, x: jax.Array, peak: jax.Array, inputs: Inputs, fixed: Fixed) -> Sums:
    """Return the sums of targets, class weights and exponentials with one more block, relative to a new top."""
    assert sums.top is not None
    top = jnp.maximum(sums.top, peak)
    step = centre(sums.top, top)
    d = centre(x, jnp.expand_dims(top, 1))
    sums = sums._replace(top=top)
    if sums.mass is not None and sums.level is not None:
        mass = weighted_targets(inputs, fixed)
        level = moved(sums.level, sums.mass, step) + jnp.sum(times(mass, d), axis=1)
        sums = sums._replace(mass=sums.mass + jnp.sum(mass, axis=1), level=level)
    if sums.share is not None and sums.spread is not None:
        finite = (x > -jnp.inf).astype(x.dtype)
        share = finite if inputs.weights is None else finite * inputs.weights
        spread = moved(sums.spread, sums.share, step) + jnp.sum(times(share, d), axis=1)
        sums = sums._replace(
            share=sums.share + jnp.sum(share, axis=1), spread=spread, finite=sums.finite + jnp.sum(finite, axis=1)
        )
    if sums.whole is not None and sums.heat is not None:
        e, scale = jnp.exp(d), jnp.exp(step)
        heat = times(scale, sums.heat - times(sums.whole, step)) - jnp.sum(times(e, d), axis=1)
        sums = sums._replace(whole=sums.whole * scale + jnp.sum(e, axis=1), heat=heat)
    return sums


def _highest(rest: jax.Array, at: jax.Array, here: jax.Array) -> jax.Array:
    """Return the largest of the rest and of the label where it is here; elsewhere it is 0, above negative logits."""
    return jnp.where(here, jnp.maximum(rest, at), rest)


def close(plan: Plan, sums: Sums, fixed: Fixed, classes: int) -> tuple[Rows, Kept]:
    """Return the statistics after the last block of the classes."""
    low = least(plan.dtype)
    rest_sum = sums.rest_sum + sums.off
    if plan.apart == "label":
        several = sums.infinite + (sums.at == jnp.inf).astype(plan.dtype) > 1
        rest_sum = jnp.where(sums.infinite == 1, 1, rest_sum)
        rest_sum = jnp.where(several | jnp.isnan(sums.infinite), jnp.nan, rest_sum)
        assert fixed.labels is not None
        here = within(fixed.labels, classes)
        top = jnp.maximum(_highest(sums.rest_max, sums.at, here), low)
        relative = jnp.where(here, centre(sums.at, top), 0)
    else:
        top = jnp.maximum(sums.at, low)
        relative = centre(sums.at, top)
        rest_sum = jnp.where(sums.rest_max == jnp.inf, jnp.nan, rest_sum)
    rest = centre(sums.rest_max, top) + jnp.log(rest_sum)
    rows = Rows(top, mass=sums.mass, level=sums.level, share=sums.share, spread=sums.spread)
    # an int32 as bits: a float has a tangent, as the rest has
    best = None if sums.best is None else jax.lax.bitcast_convert_type(sums.best, jnp.float32)
    kept = Kept(sums.rest_max, rest_sum, sums.finite, best)
    if plan.apart == "label":
        return rows._replace(at=relative, rest=rest), kept
    rows = rows._replace(lse=log_sum(relative, rest))
    if sums.picked is not None:
        rows = rows._replace(picked=centre(sums.picked, top))
    if sums.whole is not None and sums.heat is not None:
        rows = rows._replace(entropy=rows.lse + sums.heat / sums.whole)
    return rows, kept
