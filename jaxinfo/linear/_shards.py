"""Statistics of the rows over all shards of the classes, from those of each: vectors of N numbers are sent."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxinfo._rows import centre
from jaxinfo.linear._head import least
from jaxinfo.linear._rows import Rows, instead, log_sum, moved, times


def merge(rows: Rows, here: jax.Array | None, axis_name: Any) -> Rows:
    """Return the rows over all classes; `here` tells where the label lies on this shard.

    Plain sums and maxima, so that the derivative is theirs whichever way `shard_map` differentiates them.
    """
    if axis_name is None:
        return rows
    local = jax.lax.stop_gradient(rows.top)
    top = jax.lax.pmax(local, axis_name)
    step = centre(local, top)
    out = Rows(top)

    def total(x: jax.Array) -> jax.Array:
        return jax.lax.psum(x, axis_name)

    if rows.at is not None and rows.rest is not None and here is not None:
        at = total(jnp.where(here, jnp.where(here, rows.at, 0) + step, 0))
        out = out._replace(at=at, rest=_log_total(rows.rest, step, axis_name))
    if rows.lse is not None:
        out = out._replace(lse=_lse(rows.lse, local, top, step, axis_name))
    if rows.mass is not None and rows.level is not None:
        out = out._replace(mass=total(rows.mass), level=total(moved(rows.level, rows.mass, step)))
    if rows.share is not None and rows.spread is not None:
        out = out._replace(share=total(rows.share), spread=total(moved(rows.spread, rows.share, step)))
    if rows.picked is not None and here is not None:
        out = out._replace(picked=total(jnp.where(here, jnp.where(here, rows.picked, 0) + step, 0)))
    if rows.entropy is not None and rows.lse is not None and out.lse is not None:
        # the entropy of the shards and that within them
        log_p = jnp.where(rows.lse == -jnp.inf, -jnp.inf, rows.lse) + step - out.lse
        p = jnp.exp(log_p)
        out = out._replace(entropy=total(times(p, jnp.where(p == 0, 0, rows.entropy) - log_p)))
    return out


def _log_total(x: jax.Array, step: jax.Array, axis_name: Any) -> jax.Array:
    """Return the log of the sum of exp(x + step) over the shards; -inf with derivative 0 where each x is -inf."""
    absent = x == -jnp.inf
    top = jnp.maximum(jax.lax.pmax(jax.lax.stop_gradient(x + step), axis_name), least(x.dtype))
    relative = instead(x + step - top, absent, 0)
    terms = jax.lax.psum(instead(jnp.exp(relative), absent, 0), axis_name)
    nothing = terms == 0
    return instead(top + jnp.log(instead(terms, nothing, 1)), nothing, -jnp.inf)


def _lse(lse: jax.Array, local: jax.Array, top: jax.Array, step: jax.Array, axis_name: Any) -> jax.Array:
    """Return the log-normaliser over the shards: that of one that holds the largest logit, and the others beside it."""
    index = jax.lax.axis_index(axis_name)
    first = jax.lax.pmin(jnp.where(local == top, index, jnp.iinfo(jnp.int32).max), axis_name)
    best = index == first
    own = jax.lax.psum(jnp.where(best, lse, 0), axis_name)
    others = _log_total(jnp.where(best, -jnp.inf, lse), jnp.where(best, 0, step), axis_name)
    return log_sum(own, others)


def best_class(top: jax.Array, best: jax.Array, classes: int, axis_name: Any) -> jax.Array:
    """Return the likeliest class over all shards, the first of several, from that of each."""
    if axis_name is None:
        return best
    top = jax.lax.stop_gradient(top)
    mine = best + jax.lax.axis_index(axis_name).astype(jnp.int32) * classes
    ahead = (top == jax.lax.pmax(top, axis_name)) | jnp.isnan(top)
    return jax.lax.pmin(jnp.where(ahead, mine, jnp.iinfo(jnp.int32).max), axis_name)
