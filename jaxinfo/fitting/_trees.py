"""Vector algebra on pytrees of parameters."""

from typing import Any

import jax
import jax.numpy as jnp


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
