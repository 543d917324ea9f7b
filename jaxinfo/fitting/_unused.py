"""Data behind weights of 0: replaced by some that count, so that no nan comes of them.

The derivative of 0 times a loss is 0 times its derivative: nan where that is infinite. A loss that is asked for a row
it was not made for, a label that is no class, a rate whose exponential overflows, has such derivatives.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxinfo.fitting._objective import Loss
from jaxinfo.fitting._trees import away

_ROUNDING = 64  # eps, by which a loss may differ that is computed beside others


@jax.jit
def repaired(data: Any, weights: jax.Array) -> Any:
    """Return `data` with floats behind weights of 0 that are not finite replaced, by those of the first that counts."""
    return jax.tree.map(lambda leaf: _fill(weights, _broken, jnp.asarray(leaf)), data)


def without_unused(loss: Loss, params: Any, data: Any, weights: jax.Array | None) -> Any:
    """Return `data` with the rows of weight 0 like the first that counts, where the other losses stay what they are.

    Where they do not, as where rows are neighbours in time, `data` stay as they are.
    """
    if weights is None or not bool(jnp.any(weights == 0)):
        return data
    return jax.jit(partial(_replace, loss))(params, data, weights)


def _replace(loss: Loss, params: Any, data: Any, weights: jax.Array) -> Any:
    like = jax.tree.map(lambda leaf: _fill(weights, _all, leaf), data)
    there = away(params)
    before = loss(there, data)
    same = _same(before, loss(there, like), weights) & _same(loss(params, data), loss(params, like), weights)
    known = jnp.any(jnp.isfinite(before) & (weights != 0))
    return jax.tree.map(lambda a, b: jnp.where(same & known, a, b), like, data)


def _fill(weights: jax.Array, replaced: Callable[[jax.Array], jax.Array], leaf: jax.Array) -> jax.Array:
    """Return `leaf` with what is to be `replaced` behind weights of 0 as it is behind the first other weight."""
    unused = weights == 0
    if leaf.shape[: weights.ndim] != weights.shape:  # a row for several weights
        unused = jnp.all(unused, axis=tuple(range(1, weights.ndim)))
    if weights.ndim == 0 or leaf.size == 0 or leaf.shape[: unused.ndim] != unused.shape:
        return leaf
    first = leaf.reshape(-1, *leaf.shape[unused.ndim :])[jnp.argmin(unused)]
    there = unused.reshape(unused.shape + (1,) * (leaf.ndim - unused.ndim)) & replaced(leaf)
    return jnp.where(there, jnp.broadcast_to(first, leaf.shape), leaf)


def _all(leaf: jax.Array) -> jax.Array:
    return jnp.ones(leaf.shape, bool)


def _broken(leaf: jax.Array) -> jax.Array:
    if not jnp.issubdtype(leaf.dtype, jnp.inexact):
        return jnp.zeros(leaf.shape, bool)
    return ~jnp.isfinite(leaf)


def _same(before: jax.Array, after: jax.Array, weights: jax.Array) -> jax.Array:
    close = jnp.abs(before - after) <= _ROUNDING * jnp.finfo(before.dtype).eps * jnp.abs(before)
    alike = close | (before == after) | (jnp.isnan(before) & jnp.isnan(after))
    return jnp.all(alike | (weights == 0))
