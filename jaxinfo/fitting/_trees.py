"""Vector algebra on pytrees of parameters."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

_AWAY = 0.1


def inner(x: Any, y: Any) -> jax.Array:
    """Return the inner product of two pytrees."""
    products = jax.tree.map(jnp.vdot, x, y)
    return jax.tree.reduce(jnp.add, products)


def norm(x: Any) -> jax.Array:
    """Return the Euclidean norm of a pytree."""
    return jnp.sqrt(inner(x, x))


def add(x: Any, factor: jax.Array, y: Any) -> Any:
    """Return x + factor * y, in the dtypes of `x`."""
    return jax.tree.map(lambda a, b: a + factor.astype(a.dtype) * b, x, y)


def choose(condition: jax.Array, x: Any, y: Any) -> Any:
    """Return `x` where `condition` holds, else `y`."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), x, y)


def away(x: Any) -> Any:
    """Return parameters near `x`, at which nothing happens to vanish that does at a starting point."""
    flat, unravel = ravel_pytree(x)
    return unravel(flat + _AWAY * np.random.default_rng(0).standard_normal(flat.shape).astype(flat.dtype))


def random_signs(like: Any, salt: jax.Array | int) -> Any:
    """Return a pytree of -1 and 1 that look random, others for every `salt`, in shapes and dtypes of `like`.

    The bits come from an integer hash: a counter-based generator takes longer to compile than the fit to run.
    """
    leaves, structure = jax.tree.flatten(like)

    def signs(leaf: jax.Array, number: int) -> jax.Array:
        count = jax.lax.iota(jnp.uint32, max(leaf.size, 1))[: leaf.size]
        offset = jnp.uint32(0x9E3779B9) * jnp.asarray(salt).astype(jnp.uint32) + jnp.uint32(0x85EBCA6B * number % 2**32)
        bits = count + offset
        for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
            bits = (bits ^ (bits >> shift)) * jnp.uint32(factor)
        bits = bits ^ (bits >> 16)
        return (1 - 2 * (bits >> 31).astype(jnp.int32)).astype(leaf.dtype).reshape(leaf.shape)

    return jax.tree.unflatten(structure, [signs(leaf, i) for i, leaf in enumerate(leaves)])
