"""The cross-entropy of independent Bernoulli outcomes given by logits."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Integer

from jaxinfo import _checks
from jaxinfo._exact import along
from jaxinfo._pair import nan_where


def sigmoid_cross_entropy(
    logits: Float[Array, "..."],
    targets: Integer[Array, "..."] | Float[Array, "..."],
    *,
    where: Bool[Array, "..."] | None = None,
    pos_weight: float | Float[Array, "..."] | None = None,
    label_smoothing: float | Float[Array, ""] = 0.0,
) -> Float[Array, "..."]:
    r"""Cross-entropy of independent binary outcomes under sigmoid(logits), elementwise, in nats.

    .. math:: -w \, t \log \sigma(x) - (1 - t) \log \sigma(-x)

    Args:
        logits: log-odds x of outcome 1; +inf and -inf are certainty.
        targets: t in the shape of `logits`: integers are outcomes (one that is neither 0 nor 1 gives nan),
            floating values the probability of outcome 1.
        where: the elements to include, broadcastable to `logits`.
        pos_weight: w, multiplies the term of outcome 1; broadcastable to `logits` (one per class on the
            last axis, say).
        label_smoothing: a in [0, 1]: targets become (1 - a) t + a / 2.

    Returns:
        An array of the logits' shape in the compute dtype (float32 for half precisions): 0 where excluded;
        0 or +inf for certainty that is right or wrong.

    Raises:
        TypeError: a dtype does not fit.
        ValueError: a shape or `label_smoothing` does not fit.

    Gradient:
        To the logits: (1 - t) sigmoid(x) - w t sigmoid(-x), finite at infinite logits too. To floating
        targets: w softplus(-x) - softplus(x), of which a term is 0 where its weight and its probability both
        are. To pos_weight and label_smoothing if they are arrays. All modes and orders.

    Accuracy:
        For targets in [0, 1] a sum of non-negative terms: relative error within 8 eps down to 1e-36, also
        of the gradient for targets 0 and 1; absolute error within 8 eps of either term of the gradient for
        others (tests/core/test_sigmoid.py).

    Examples:
        >>> import jax.numpy as jnp
        >>> sigmoid_cross_entropy(jnp.array([30.0, jnp.inf, 0.0]), jnp.array([1, 1, 0]))
        Array([9.357623e-14, 0.000000e+00, 6.931472e-01], dtype=float32)
    """
    x = _checks.as_float_array(logits, "logits")
    t = _as_outcomes(targets, x.dtype)
    _checks.check_same_shape(t, x.shape, name="targets", of="logits")
    where = _checks.as_where(where, x.shape)
    w = _as_pos_weight(pos_weight, x)
    x, t, w = _checks.promote(x, t, w)
    a = _checks.as_option(label_smoothing, "label_smoothing", x.dtype, low=0, high=1, wanted="a number in [0, 1]")
    if where is not None:
        x, t, w = jnp.where(where, x, 0), jnp.where(where, t, 0), jnp.where(where, w, 1)
    positive, negative = (1 - a) * t + a / 2, (1 - a) * (1 - t) + a / 2
    loss = _expected(x, w * positive, negative)
    return loss if where is None else jnp.where(where, loss, 0)


@jax.custom_jvp
def _expected(x: jax.Array, positive: jax.Array, negative: jax.Array) -> jax.Array:
    """Return positive * softplus(-x) + negative * softplus(x), the weighted surprises of both outcomes."""
    of_positive, of_negative = _surprises(x)
    return _product(positive, of_positive) + _product(negative, of_negative)


@partial(_expected.defjvp, symbolic_zeros=True)
def _expected_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    x, *weights = primals
    (p, q), rates = _sigmoids(x), [jnp.zeros_like(x)]
    if not isinstance(tangents[0], SymbolicZero):
        rates.append((weights[1] * p - weights[0] * q) * tangents[0])
    for weight, surprise, t in zip(weights, _surprises(x), tangents[1:], strict=True):
        if not isinstance(t, SymbolicZero):
            rates.append(along(jnp.where(_absent(weight, surprise), 0, surprise), t))
    return _expected(*primals), sum(rates[1:], rates[0])


def _product(weight: jax.Array, surprise: jax.Array) -> jax.Array:
    """Return their product; 0 times an infinite surprise is 0."""
    absent = _absent(weight, surprise)
    return weight * jnp.where(absent, 0, surprise)


def _absent(weight: jax.Array, surprise: jax.Array) -> jax.Array:
    return (weight == 0) & (surprise == jnp.inf)


@jax.custom_jvp
def _surprises(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return softplus(-x) and softplus(x), which share all but the larger of 0 and the argument."""
    least = jnp.log1p(jnp.exp(-jnp.abs(x)))
    return jnp.maximum(-x, 0) + least, jnp.maximum(x, 0) + least


@_surprises.defjvp
def _surprises_jvp(primals: tuple, tangents: tuple) -> tuple[tuple, tuple]:
    (x,), (t,) = primals, tangents
    p, q = _sigmoids(x)
    return _surprises(x), (-q * t, p * t)


@jax.custom_jvp
def _sigmoids(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return sigmoid(x) and sigmoid(-x), neither of which is 1 less the other: the smaller keeps its digits."""
    small = jnp.exp(-jnp.abs(x))
    larger = 1 / (1 + small)
    smaller = small * larger
    return jnp.where(x < 0, smaller, larger), jnp.where(x < 0, larger, smaller)


@_sigmoids.defjvp
def _sigmoids_jvp(primals: tuple, tangents: tuple) -> tuple[tuple, tuple]:
    (x,), (t,) = primals, tangents
    p, q = _sigmoids(x)
    rate = p * q * t
    return (p, q), (rate, -rate)


def _as_outcomes(targets: ArrayLike, dtype: jnp.dtype) -> jax.Array:
    """Return binary targets as floating values, nan for an integer that is no outcome."""
    t = _checks.as_targets(targets)
    if not jnp.issubdtype(t.dtype, jnp.integer):
        return t
    return t.astype(dtype) + nan_where((t != 0) & (t != 1), dtype)


def _as_pos_weight(weight: ArrayLike | None, x: jax.Array) -> jax.Array:
    """Return `pos_weight` with as many axes as `x`.

    Raises:
        ValueError: it does not broadcast to the shape of `x`.
    """
    if weight is None:
        return jnp.ones((1,) * x.ndim, x.dtype)
    if not isinstance(weight, jax.Array | Sequence) and jnp.ndim(weight) == 0:
        _checks.check_number(weight, "pos_weight", wanted="a number or an array")
        return jnp.full((1,) * x.ndim, weight, x.dtype)
    w = _checks.as_float_array(weight, "pos_weight")
    fits = w.ndim <= x.ndim and all(n in (1, m) for n, m in zip(w.shape[::-1], x.shape[::-1], strict=False))
    if not fits:
        raise ValueError(f"`pos_weight` must broadcast to {x.shape}, the shape of `logits`, got {w.shape}.")
    return w.reshape((1,) * (x.ndim - w.ndim) + w.shape)
