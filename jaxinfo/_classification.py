"""The losses of classification: softmax_cross_entropy and nll."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxinfo import _checks
from jaxinfo._numerics import include, log_probs, prepare


def softmax_cross_entropy(
    logits: Float[Array, "..."],
    targets: Int[Array, "..."] | Float[Array, "..."],
    *,
    axis: int = -1,
    where: Bool[Array, "..."] | None = None,
) -> Float[Array, "..."]:
    x, axis, where = prepare(logits, axis, where)
    targets = _checks.as_targets(targets)
    x, counted = include(x, where, axis)
    if jnp.issubdtype(targets.dtype, jnp.integer):
        _checks.check_labels_shape(targets, x.shape, axis, name="targets", of="logits")
        labels = jnp.expand_dims(targets, axis)
        loss = _label_cross_entropy(x, labels if counted is None else jnp.where(counted, labels, 0), axis)
    else:
        _checks.check_same_shape(targets, x.shape, name="targets", of="logits")
        x, targets = _checks.promote(x, targets)
        loss = _distribution_cross_entropy(x, targets if counted is None else jnp.where(counted, targets, 0), axis)
    loss = loss if counted is None else jnp.where(counted, loss, 0)
    return jnp.squeeze(loss, axis)


def nll(
    log_probs: Float[Array, "..."], labels: Int[Array, "..."], *, axis: int = -1, where: Bool[Array, "..."] | None = None
) -> Float[Array, "..."]:
    log_p, axis, where = prepare(log_probs, axis, where)
    labels = _checks.as_labels(labels)
    _checks.check_labels_shape(labels, log_p.shape, axis, name="labels", of="log_probs")
    log_p, counted = include(log_p, where, axis)
    labels = jnp.expand_dims(labels, axis)
    loss = -_pick(log_p, labels if counted is None else jnp.where(counted, labels, 0), axis)
    return jnp.squeeze(loss if counted is None else jnp.where(counted, loss, 0), axis)


def _pick(x: jax.Array, labels: jax.Array, axis: int) -> jax.Array:
    inside = (labels >= 0) & (labels < x.shape[axis])
    picked = jnp.take_along_axis(x, jnp.where(inside, labels, 0), axis=axis)
    return jnp.where(inside, picked, jnp.nan)


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _label_cross_entropy(x: jax.Array, labels: jax.Array, axis: int) -> jax.Array:
    return -_pick(log_probs(x, axis), labels, axis)


@_label_cross_entropy.defjvp
def _label_cross_entropy_jvp(axis: int, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    """d loss = sum_j (p_j - [j = y]) t_j, with p_y - 1 = expm1(-loss) so that a confident row keeps its digits."""
    (x, labels), (t, _) = primals, tangents
    log_p = log_probs(x, axis)
    loss = -_pick(log_p, labels, axis)
    classes = jax.lax.broadcasted_iota(jnp.int32, x.shape, x.ndim + axis)
    slope = jnp.where(classes == labels, jnp.expm1(-loss), jnp.exp(log_p))
    slope = jnp.where(jnp.isnan(loss), jnp.nan, slope)
    return loss, jnp.sum(slope * t, axis=axis, keepdims=True)


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _distribution_cross_entropy(x: jax.Array, targets: jax.Array, axis: int) -> jax.Array:
    return jnp.sum(_terms(targets, log_probs(x, axis)), axis=axis, keepdims=True)


def _terms(targets, log_p):
    absent = (targets == 0) & (log_p == -jnp.inf)
    return jnp.where(absent, 0, -targets * jnp.where(absent, 0, log_p))


@_distribution_cross_entropy.defjvp
def _distribution_cross_entropy_jvp(axis: int, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    (x, targets), (t, t_targets) = primals, tangents
    log_p = log_probs(x, axis)
    loss = jnp.sum(_terms(targets, log_p), axis=axis, keepdims=True)
    mass = jnp.sum(targets, axis=axis, keepdims=True)
    slope = (mass - targets) * jnp.exp(log_p) + targets * jnp.expm1(log_p)
    absent = (targets == 0) & (log_p == -jnp.inf)
    from_targets = jnp.where(absent, 0, -jnp.where(absent, 0, log_p) * t_targets)
    return loss, jnp.sum(slope * t + from_targets, axis=axis, keepdims=True)
