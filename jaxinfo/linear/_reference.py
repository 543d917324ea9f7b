"""The obvious form: the logits whole, then the loss of them. What the fused forms are tested against."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxinfo._classification import softmax_cross_entropy


def reference(
    hidden: jax.Array, kernel: jax.Array, targets: jax.Array, *, bias: jax.Array | None = None, **options: Any
) -> jax.Array:
    """Return softmax_cross_entropy(hidden @ kernel + bias, targets, **options), products accumulated in float32."""
    dtype = jnp.float64 if hidden.dtype == jnp.float64 else jnp.float32
    logits = jnp.matmul(hidden, kernel, preferred_element_type=dtype)
    logits = logits if bias is None else logits + jnp.broadcast_to(bias.astype(dtype), logits.shape)
    return softmax_cross_entropy(logits, targets, **options)
