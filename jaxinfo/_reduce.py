"""mean and total: the single place where sums, denominators and psums are taken."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxinfo import _checks


def mean(
    losses: Float[Array, "..."],
    *,
    weights: Float[Array, "..."] | None = None,
    where: Bool[Array, "..."] | None = None,
    axis: int | Sequence[int] | None = None,
    empty: float = 0.0,
    axis_name: str | Sequence[str] | None = None,
) -> Float[Array, "..."]:
    summed, weight = total(losses, weights=weights, where=where, axis=axis, axis_name=axis_name)
    counted = weight != 0
    return jnp.where(counted, summed / jnp.where(counted, weight, 1), empty)


def total(
    losses: Float[Array, "..."],
    *,
    weights: Float[Array, "..."] | None = None,
    where: Bool[Array, "..."] | None = None,
    axis: int | Sequence[int] | None = None,
    axis_name: str | Sequence[str] | None = None,
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    losses = _checks.as_float_array(losses, "losses")
    axes = _checks.canonical_axes(axis, losses.ndim)
    where = _checks.as_where(where, losses.shape, of="losses")
    if weights is None:
        weights = jnp.ones_like(losses)
    else:
        weights = _checks.as_float_array(weights, "weights")
        _checks.check_same_shape(weights, losses.shape, name="weights", of="losses")
        losses, weights = _checks.promote(losses, weights)
    if where is not None:
        losses, weights = jnp.where(where, losses, 0), jnp.where(where, weights, 0)
    losses = jnp.where((weights == 0) & ~jnp.isfinite(losses), 0, losses)
    summed, weight = jnp.sum(weights * losses, axis=axes), jnp.sum(weights, axis=axes)
    return (summed, weight) if axis_name is None else jax.lax.psum((summed, weight), axis_name)
