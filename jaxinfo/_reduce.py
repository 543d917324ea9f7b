"""mean and total: the single place where sums, denominators and psums are taken."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxinfo import _checks
from jaxinfo._exact import over


def mean(
    losses: Float[Array, "..."],
    *,
    weights: Float[Array, "..."] | None = None,
    where: Bool[Array, "..."] | None = None,
    axis: int | Sequence[int] | None = None,
    empty: float = 0.0,
    axis_name: str | Sequence[str] | None = None,
) -> Float[Array, "..."]:
    r"""Weighted mean of losses over those included, in the losses' units.

    .. math:: \sum_i w_i \ell_i \Big/ \sum_i w_i

    The denominator is the weight that was counted: a masked mean is not diluted by what it leaves out.

    Args:
        losses: per-example losses.
        weights: one weight per loss, 1 unless given. A loss of weight 0 that is inf or nan is left out.
        where: the losses to include, broadcastable to `losses`; the others may hold anything.
        axis: the axis or axes to reduce, all unless given.
        empty: the value where the counted weight is 0, with gradient 0.
        axis_name: inside `shard_map`, the mesh axis or axes that the losses are spread over.

    Returns:
        The mean, in the losses' compute dtype (float32 for half precisions).

    Raises:
        TypeError: a dtype or `axis_name` does not fit.
        ValueError: a shape or `axis` does not fit.

    Gradient:
        w_i / sum(w) to each included loss, exactly 0 to the others. All modes and orders.

    Examples:
        >>> import jax.numpy as jnp
        >>> float(mean(jnp.array([1.0, 3.0, jnp.nan]), where=jnp.array([True, True, False])))
        2.0
    """
    summed, weight = total(losses, weights=weights, where=where, axis=axis, axis_name=axis_name)
    if not (isinstance(empty, float | np.floating) and np.isnan(empty)):
        empty = _checks.as_option(empty, "empty", summed.dtype, low=-math.inf, wanted="a number")  # type: ignore[assignment]
    counted = weight != 0
    return jnp.where(counted, over(summed, jnp.where(counted, weight, 1)), jnp.asarray(empty, summed.dtype))


def total(
    losses: Float[Array, "..."],
    *,
    weights: Float[Array, "..."] | None = None,
    where: Bool[Array, "..."] | None = None,
    axis: int | Sequence[int] | None = None,
    axis_name: str | Sequence[str] | None = None,
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    r"""Weighted sum of losses and the weight that was counted, to be accumulated over steps or hosts.

    .. math:: \Big( \sum_i w_i \ell_i, \; \sum_i w_i \Big)

    Args:
        losses: per-example losses.
        weights: one weight per loss, 1 unless given. A loss of weight 0 that is inf or nan is left out.
        where: the losses to include, broadcastable to `losses`; the others may hold anything.
        axis: the axis or axes to reduce, all unless given.
        axis_name: inside `shard_map`, the mesh axis or axes that the losses are spread over.

    Returns:
        The sum and the weight, in the losses' compute dtype: the sums of several calls divided by the sum of
        their weights are the mean over all.

    Raises:
        TypeError: a dtype or `axis_name` does not fit.
        ValueError: a shape or `axis` does not fit.

    Gradient:
        w_i to each included loss, exactly 0 to the others. All modes and orders.

    Examples:
        >>> import jax.numpy as jnp
        >>> [float(x) for x in total(jnp.array([1.0, 3.0]), weights=jnp.array([2.0, 1.0]))]
        [5.0, 3.0]
    """
    losses = _checks.as_float_array(losses, "losses")
    axes = _checks.canonical_axes(axis, losses.ndim)
    axis_name = tuple(axis_name) if isinstance(axis_name, list) else axis_name
    _checks.check_axis_name(axis_name)
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
