"""The fused cross-entropy as a formula in the statistics of each row."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxinfo._cross_entropy import acts, silenced
from jaxinfo.linear._rows import Rows, log_sum, surprise, times


class Terms(NamedTuple):
    """What a loss is made of besides the rows; a part that is None is not there.

    Attributes:
        faulty: [N], labels that name no class, None for targets that are distributions.
        label_weights: [N], the class weight of each label.
        smoothing: the part of the mass that is spread over the finite classes.
        z_loss: multiplies the squared log-normaliser.
        counted: [N], the rows that count.
    """

    faulty: jax.Array | None = None
    label_weights: jax.Array | None = None
    smoothing: ArrayLike = 0.0
    z_loss: ArrayLike = 0.0
    counted: jax.Array | None = None


def losses(rows: Rows, finite: jax.Array, terms: Terms, dtype: Any) -> jax.Array:
    """Return the loss of each row; rows that do not count are 0, also in their derivative.

    `finite` is the number of finite classes of each row.
    """
    if terms.counted is not None:
        counted = terms.counted
        rows = jax.tree.map(lambda a: jnp.where(counted, a, 0), rows)
    rest = jnp.asarray(1 - terms.smoothing, dtype)
    if terms.faulty is not None:
        assert rows.at is not None
        assert rows.rest is not None
        at = jnp.where(terms.faulty, jnp.nan, rows.at)
        lse = log_sum(at, rows.rest)
        loss = surprise(at, rows.rest)
        loss = loss if terms.label_weights is None else times(terms.label_weights, loss)
    else:
        assert rows.lse is not None
        assert rows.mass is not None
        assert rows.level is not None
        lse = rows.lse * jnp.where(rows.lse == -jnp.inf, jnp.nan, 1).astype(dtype)  # no distribution
        loss = times(rows.mass, lse) - rows.level
    if acts(terms.smoothing):
        assert rows.share is not None
        assert rows.spread is not None
        each = jnp.asarray(terms.smoothing, dtype) / jnp.maximum(jax.lax.stop_gradient(finite), 1)
        loss = times(rest, loss) + each * (times(rows.share, lse) - rows.spread)
    if acts(terms.z_loss):
        rate = jnp.asarray(terms.z_loss, dtype)
        log_z = silenced(rows.top + lse, rate)
        loss = loss + (rate * log_z) * log_z
    return loss if terms.counted is None else jnp.where(terms.counted, loss, 0)


def weighted(loss: jax.Array, weights: jax.Array) -> jax.Array:
    """Return the losses times their weights; one of weight 0 that is not finite is left out, as in `total`."""
    return weights * jnp.where((weights == 0) & ~jnp.isfinite(loss), 0, loss)
