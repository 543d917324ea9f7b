"""logsumexp, log_softmax, softmax and logits_from_probs: what the measures and losses are made of."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxinfo import _checks
from jaxinfo._rows import centre, shift_and_log_sum


def logsumexp(
    logits: Float[Array, "..."], *, axis: int = -1, where: Bool[Array, "..."] | None = None, keepdims: bool = False
) -> Float[Array, "..."]:
    x, axis, where = prepare(logits, axis, where)
    x, counted = include(x, where, axis)
    out = _logsumexp(x, axis)
    out = out if counted is None else jnp.where(counted, out, -jnp.inf)
    return out if keepdims else jnp.squeeze(out, axis)


def log_softmax(
    logits: Float[Array, "..."], *, axis: int = -1, where: Bool[Array, "..."] | None = None
) -> Float[Array, "..."]:
    x, axis, where = prepare(logits, axis, where)
    x, _ = include(x, where, axis)
    out = log_probs(x, axis)
    return out if where is None else jnp.where(where, out, -jnp.inf)


def softmax(
    logits: Float[Array, "..."], *, axis: int = -1, where: Bool[Array, "..."] | None = None
) -> Float[Array, "..."]:
    return jnp.exp(log_softmax(logits, axis=axis, where=where))


def logits_from_probs(probs: Float[Array, "..."]) -> Float[Array, "..."]:
    probs = _checks.as_float_array(probs, "probs")
    positive = probs != 0
    return jnp.where(positive, jnp.log(jnp.where(positive, probs, 1)), -jnp.inf)


def prepare(logits, axis: int, where, name: str = "logits") -> tuple[jax.Array, int, jax.Array | None]:
    """Check `logits`, `axis` and `where`; return them in the compute dtype and in canonical form."""
    x = _checks.as_float_array(logits, name)
    return x, _checks.canonical_axis(axis, x.ndim, name), _checks.as_where(where, x.shape, of=name)


def include(x: jax.Array, where: jax.Array | None, axis: int) -> tuple[jax.Array, jax.Array | None]:
    """Return `x` with excluded elements at -inf, and which rows (axis kept) have any included.

    A row without any is filled with zeros: its loss is then finite and its derivative too, so that the
    caller's selection of 0 for it leaves no nan behind, whatever the row held.
    """
    if where is None:
        return x, None
    counted = where if where.shape[axis] == 1 else jnp.any(where, axis=axis, keepdims=True)
    outside = jnp.where(counted, -jnp.inf, 0).astype(x.dtype)
    return jnp.where(where, x, outside), counted


def surprise(weights: jax.Array, log_p: jax.Array, absent: jax.Array | None = None) -> jax.Array:
    """Return -weights log p, and 0 where the weight is 0 and log p is -inf (or where told `absent`)."""
    absent = (weights == 0) & (log_p == -jnp.inf) if absent is None else absent
    return jnp.where(absent, 0, weights * jnp.where(absent, 0, 0 - log_p))


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _logsumexp(x: jax.Array, axis: int) -> jax.Array:
    """log sum exp along `axis`, kept."""
    return _logsumexp_and_probs(x, axis)[0]


@_logsumexp.defjvp
def _logsumexp_jvp(axis: int, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    (x,), (t,) = primals, tangents
    out, probs = _logsumexp_and_probs(x, axis)
    return out, jnp.sum(probs * t, axis=axis, keepdims=True)


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _logsumexp_and_probs(x: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    """log sum exp and its gradient, which is 0 where all of `x` is -inf."""
    m, log_sum = shift_and_log_sum(x, axis)
    out = jnp.where(m == jnp.inf, jnp.inf, m + log_sum)
    empty = log_sum == -jnp.inf
    return out, jnp.where(empty, 0, jnp.exp(centre(x, m) - jnp.where(empty, 0, log_sum)))


@_logsumexp_and_probs.defjvp
def _logsumexp_and_probs_jvp(axis: int, primals: tuple, tangents: tuple) -> tuple[tuple, tuple]:
    (x,), (t,) = primals, tangents
    out, probs = _logsumexp_and_probs(x, axis)
    slope = jnp.sum(probs * t, axis=axis, keepdims=True)
    return (out, probs), (slope, probs * (t - slope))


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def log_probs(x: jax.Array, axis: int) -> jax.Array:
    """log_softmax of an array in its compute dtype."""
    m, log_sum = shift_and_log_sum(x, axis)
    return centre(x, m) - log_sum


@log_probs.defjvp
def _log_probs_jvp(axis: int, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    """d log p_i = (1 - p_i) t_i - sum_{j != i} p_j t_j.

    With u = p t the last sum is written sum_j u_j - u_i, so that for a one-hot tangent or cotangent it is
    exactly 0 at i, and 1 - p_i = -expm1(log p_i) keeps its digits: a confident class loses none.
    """
    (x,), (t,) = primals, tangents
    out = log_probs(x, axis)
    u = jnp.exp(out) * t
    return out, -jnp.expm1(out) * t + (u - jnp.sum(u, axis=axis, keepdims=True))
