"""What happens to logits before they are normalised: temperature, then soft cap."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxinfo import _checks


def transform(x: jax.Array, temperature: ArrayLike, soft_cap: ArrayLike | None) -> jax.Array:
    """Return cap tanh(x / temperature / cap); both options are left out of the graph where they do nothing.

    A -inf stays -inf, with derivative 0 to the options: a masked class is not revived by the cap, and
    -inf / temperature has no derivative to learn from.
    """
    temperature = _checks.as_option(temperature, "temperature", x.dtype, low=0, wanted="a positive number")
    if isinstance(temperature, jax.Array) or temperature != 1:
        finite = jnp.isfinite(x)
        x = jnp.where(finite, jnp.where(finite, x, 0) / temperature, x / jax.lax.stop_gradient(temperature))
        x = jax.lax.optimization_barrier(x)  # as in `pin`
    if soft_cap is None:
        return x
    cap = _checks.as_option(soft_cap, "soft_cap", x.dtype, low=0, wanted="a positive number or None")
    finite = jnp.isfinite(x)
    capped = cap * jnp.tanh(jnp.where(finite, x, 0) / cap)
    return jax.lax.optimization_barrier(jnp.where(finite, capped, jnp.where(x == jnp.inf, cap, x)))
