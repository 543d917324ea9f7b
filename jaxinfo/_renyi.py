"""The Renyi divergence of two distributions given by logits, continuous in its order from 0 to infinity."""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Bool, Float

from jaxinfo import _checks
from jaxinfo._classes import Classes
from jaxinfo._logratio import graft
from jaxinfo._measures import prepare_pair
from jaxinfo._normalise import LogSum, normalise, settle
from jaxinfo._pair import Pair, common_anchor, nan_where, slope_pair, value_pair
from jaxinfo._tilted import (
    from_limit,
    greatest_log_ratio,
    limit,
    log_share,
    log_sum_exp,
    log_tilt_of_p,
    log_tilt_of_q,
    log_tilted,
    tilt,
    to_order,
)


def renyi_divergence(
    p: Float[Array, "..."],
    q: Float[Array, "..."],
    order: float | Float[Array, ""],
    *,
    axis: int = -1,
    where: Bool[Array, "..."] | None = None,
) -> Float[Array, "..."]:
    r"""Renyi divergence of softmax(q) from softmax(p), in nats.

    .. math:: D_\alpha(P \| Q) = \frac{1}{\alpha - 1} \log \sum_j p_j^\alpha q_j^{1 - \alpha}
              = -\frac{\log(1 - s Z)}{s}, \qquad s = 1 - \alpha, \quad
              s Z = \sum_j \left( \alpha p_j + s q_j - p_j^\alpha q_j^s \right)

    The second form is the one computed: by the inequality of the means every term of Z is non-negative,
    and nothing cancels at any order.

    Args:
        p: logits of P along `axis`; -inf is a class that does not exist.
        q: logits of Q, in the shape of `p`.
        order: alpha >= 0. 1 is KL(P || Q), 0 is -log Q(support of P), infinity is max log(p / q).
        axis: the class axis.
        where: the elements to include, broadcastable to `p`.

    Returns:
        One value per row, never negative; exactly 0 where `q` is `p` up to a shift and where nothing is
        included; +inf where Q lacks a class that P has and the order is at least 1, or where they have
        nothing in common; nan for a negative order.

    Raises:
        TypeError: `p` or `q` is not floating, `where` not boolean or `order` not a number.
        ValueError: the shapes differ, or `axis`, `order` or the shape of `where` does not fit.

    Gradient:
        With r = p**alpha q**s / sum: to q: softmax(q) - r. To p: alpha (p - r) / s, which is
        -p (log q / p + KL) at order 1, and 0 everywhere in a row whose value is +inf, where no finite limit
        exists (r is then the part of p that Q lacks, p itself at order 1). To `order` if it is an array:
        KL(r || p) / s**2, half the variance of log q / p at order 1. All modes and orders.

    Accuracy:
        Relative error within 16 eps for logits that differ by 1e-6 to 5 at orders up to 4, 64 eps beyond,
        and the gradients within 32 eps normwise (tests/core/test_renyi.py, test_far_apart.py), in eps within
        max(1, order) times the largest abs(log p) or abs(log q) where logits lie hundreds apart.

    Examples:
        >>> import jax.numpy as jnp
        >>> p, q = jnp.log(jnp.array([0.5, 0.5])), jnp.log(jnp.array([0.25, 0.75]))
        >>> [round(float(renyi_divergence(p, q, order)), 4) for order in (0.0, 0.5, 1.0, 2.0, jnp.inf)]
        [0.0, 0.0693, 0.1438, 0.2877, 0.6931]

    References:
        van Erven & Harremoes, "Renyi divergence and Kullback-Leibler divergence", IEEE Trans. Inf. Theory
        60(7), 2014.
    """
    a, b, classes, counted = prepare_pair(p, q, axis, where)
    alpha = _checks.as_option(order, "order", a.dtype, low=0, wanted="a non-negative number")
    value = _renyi(a, b, normalise(a, classes), normalise(b, classes), jnp.asarray(alpha, a.dtype), classes)
    return settle(value, counted, classes)


@partial(jax.custom_jvp, nondiff_argnums=(5,))
def _renyi(a: jax.Array, b: jax.Array, sum_a: LogSum, sum_b: LogSum, alpha: jax.Array, classes: Classes) -> jax.Array:
    pair = value_pair(a, b, sum_a, sum_b, classes)
    order, s = _within(alpha)
    z = classes.sum(_terms(pair, order, s))
    near = (jnp.abs(s * z) < 0.5) | (s == 0)
    per_s = 1 / jnp.where(s == 0, 1, s)
    close = jnp.where(s == 0, z, -jnp.log1p(jnp.where(near, -s * z, 0)) * per_s)
    value = jnp.where(near, close, -log_sum_exp(log_tilted(pair, s), classes) * per_s)
    value = jnp.where((order >= 1) & classes.any(pair.lacking()), jnp.inf, value)
    value = jnp.where(alpha == jnp.inf, greatest_log_ratio(pair, classes), value)
    invalid = classes.any(jnp.isnan(pair.d)) | jnp.isnan(alpha) | (alpha < 0)
    return jnp.maximum(value, 0) + nan_where(invalid, value.dtype)


@partial(_renyi.defjvp, symbolic_zeros=True)
def _renyi_jvp(classes: Classes, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    """dD = sum (q - r) t_b + sum alpha (p - r) / s t_a + KL(r || p) / s**2 t_order, r = p**alpha q**s / sum."""
    a, b, sum_a, sum_b, alpha = primals
    t_a, t_b, _, _, t_alpha = tangents
    out = _renyi(*primals, classes)
    valid, finite = 1 + nan_where(jnp.isnan(out), out.dtype), out < jnp.inf
    pair = slope_pair(a, b, sum_a, sum_b, classes)
    order, s = _within(alpha)
    value = jnp.where(finite & (alpha < jnp.inf), out, 0)
    r_limit, log_r = limit(pair, order, alpha, classes), log_share(pair, s, classes)
    slope = jnp.zeros_like(out)
    if not (isinstance(t_a, SymbolicZero) and isinstance(t_alpha, SymbolicZero)):
        y = log_tilt_of_p(common_anchor(a, b, pair, classes), pair, value, log_r, s, classes)
        slope_a = -order * tilt(pair, y, log_r, s)
        slope_a = jnp.where(alpha == jnp.inf, -from_limit(pair.p, r_limit, classes), slope_a)
        slope_a = valid * jnp.where(finite, slope_a, 0)
        slope_order = jnp.where(finite & (alpha < jnp.inf), classes.sum(to_order(pair, y, log_r, s)), 0)
        if not isinstance(t_a, SymbolicZero):
            slope = slope + classes.sum(slope_a * t_a)
        if not isinstance(t_alpha, SymbolicZero):
            slope = slope + valid * slope_order * t_alpha
    if not isinstance(t_b, SymbolicZero):
        z = log_tilt_of_q(common_anchor(b, a, pair.swap(), classes), pair, value, log_r, order, classes)
        steep = z > 1
        r = graft(jnp.exp(log_r), jnp.exp(jnp.where(steep, pair.log_q + z, 0)))
        gain = jnp.where(steep, pair.q - r, -pair.q * jnp.expm1(jnp.where(steep, 0, z)))
        nothing = ~finite & (alpha < 1)
        bounded = finite & (alpha < jnp.inf)
        beyond = jnp.where(alpha == jnp.inf, from_limit(pair.q, r_limit, classes), pair.q - r_limit)
        slope_b = jnp.where(bounded, gain, jnp.where(nothing, 0, beyond))
        slope = slope + classes.sum(valid * slope_b * t_b)
    return out, slope


def _within(alpha: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return a finite order, and 1 less that."""
    order = jnp.where(alpha < jnp.inf, alpha, 2)
    return order, 1 - order


def _terms(pair: Pair, alpha: jax.Array, s: jax.Array) -> jax.Array:
    """Return (alpha p + s q - p**alpha q**s) / s, which is p (expm1(d) - expm1(s d) / s)."""
    p, q = pair.p, pair.q
    d = jnp.where(jnp.isinf(pair.d), 0, pair.d)
    near = (jnp.abs(d) <= 1) & (jnp.abs(s * d) <= 1)
    x = jnp.where(near, d, 0)
    # sum over k of (1 - s**(k + 1)) d**(k + 2) / (k + 2)!, out of which 1 - s = alpha is taken
    power, geometric, series = jnp.ones_like(x), jnp.ones_like(x), jnp.full_like(x, 0.5)
    for k in range(1, 12 if jnp.finfo(x.dtype).bits == 32 else 20):
        power = power * x
        geometric = power + s * x * geometric
        series = series + geometric / float(math.factorial(k + 2))
    low = s > 0.5
    from_zero = (alpha * (p - q) - q * jnp.expm1(jnp.minimum(-alpha * d, 80))) / jnp.where(low, s, 1)
    steep = s * d > 1
    grown = jnp.where(
        steep, jnp.exp(jnp.where(steep, pair.log_p, 0) + s * d) - p, p * jnp.expm1(jnp.where(steep, 0, s * d))
    )
    from_one = (q - p) - jnp.where(s == 0, p * d, grown / jnp.where(s == 0, 1, s))
    here = jnp.where(near, alpha * p * x * x * series, jnp.where(low, from_zero, from_one))
    alone = jnp.where(s > 0, p * alpha / jnp.where(s > 0, s, 1), 0)
    return jnp.where(pair.absent(), q, jnp.where(pair.lacking(), alone, here))
