"""Divergences between the distributions of two heads, class by class in blocks.

With log q - log p taken as u, the difference of the logits less that of the log-normalisers, the latter is off
by its rounding, the same for every class. c = log sum p exp(u) finds it: d = u - c is right also where the two
hardly differ (`jaxinfo._logratio`), and of two equal heads exactly 0.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxinfo._js import log_mix
from jaxinfo._logratio import expm1_minus, graft, refined_probs, two_diff
from jaxinfo._normalise import LogSum
from jaxinfo.linear._blocks import fold
from jaxinfo.linear._fold import unshaped
from jaxinfo.linear._head import Head, below, like, shaped
from jaxinfo.linear._rows import Fixed, Inputs, Plan


class Level(NamedTuple):
    """The log-normaliser of each row over all classes: the largest logit, held constant, and lse above it."""

    top: jax.Array
    lse: jax.Array


class Pair(NamedTuple):
    """Two distributions in a block, [N, B] each; d is log q - log p: +inf where only p is 0, -inf where only q is."""

    p: jax.Array
    q: jax.Array
    d: jax.Array
    log_q: jax.Array


Terms = Callable[[Pair], tuple[jax.Array, ...]]


def pair_of(a: jax.Array, b: jax.Array, level_a: Level, level_b: Level, shift: jax.Array) -> Pair:
    """Return the pair for a block of logits `a` of p and `b` of q; `shift` is c, 0 where it is not known yet."""
    log_p, log_q = below(a, level_a.top) - level_a.lse[:, None], below(b, level_b.top) - level_b.lse[:, None]
    no_p, no_q = log_p == -jnp.inf, log_q == -jnp.inf
    plain = jnp.where(no_p | no_q, 0, log_q) - jnp.where(no_p | no_q, 0, log_p)
    fixed = jax.lax.stop_gradient((a, b, level_a, level_b, plain, shift))
    d = graft(_difference(*fixed), plain)
    d = jnp.where(no_p, jnp.where(no_q, 0, jnp.inf).astype(d.dtype), jnp.where(no_q, -jnp.inf, d))
    p, q = (
        refined_probs(x, log, LogSum(at.top[:, None], at.lse[:, None]))
        for x, log, at in ((a, log_p, level_a), (b, log_q, level_b))
    )
    return Pair(p, q, d, log_q)


def _difference(
    a: jax.Array, b: jax.Array, level_a: Level, level_b: Level, plain: jax.Array, shift: jax.Array
) -> jax.Array:
    """Return b - a, subtracted without rounding, less the difference of the levels and `shift`."""
    both = jnp.isfinite(a) & jnp.isfinite(b)
    high, low = two_diff(jnp.where(both, b, 0), jnp.where(both, a, 0))
    tops, rest = two_diff(jnp.where(jnp.isfinite(level_b.top), level_b.top, 0), level_a.top)
    between = (level_b.lse - level_a.lse)[:, None]
    u = ((high - tops[:, None]) - between) + (low - rest[:, None])
    return jnp.where(both & (jnp.abs(plain) < 1), u - shift[:, None], plain)


def shift_terms(pair: Pair) -> tuple[jax.Array]:
    """Return the terms of sum p expm1(u), whose log1p is c; what is far off is left to the difference of logarithms."""
    near = jnp.abs(pair.d) < 1
    return (jnp.where(near, pair.p * jnp.expm1(jnp.where(near, pair.d, 0)), pair.q - pair.p),)


def kl_terms(pair: Pair) -> tuple[jax.Array]:
    """Return the terms p (expm1(d) - d) of KL(P || Q), none of them negative."""
    p, q, d, _ = pair
    large = d > 1
    infinite = jnp.isinf(d)
    far = q - p * (1 + jnp.where(infinite, 0, d))
    terms = jnp.where(large, far, p * expm1_minus(jnp.where(large | infinite, 0, d)))
    return (jnp.where(d == -jnp.inf, jnp.inf, terms),)


def kl_terms_any(pair: Pair) -> tuple[jax.Array, jax.Array]:
    """Return the same, and terms with the derivative q - p to the logits of q alone, for a row that is +inf."""
    lacking = jnp.where(pair.d == -jnp.inf, jnp.inf, 0).astype(pair.d.dtype)
    return *kl_terms(pair), graft(lacking, -jax.lax.stop_gradient(pair.p) * pair.log_q)


def mixture_terms(pair: Pair, w: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the terms of KL(P || M) and KL(Q || M), M = w P + (1 - w) Q, none of them negative."""
    p, q, d, _ = pair
    return _to_mixture(p, q, d, w, 1 - w), _to_mixture(q, p, -d, 1 - w, w)


def _to_mixture(p: jax.Array, q: jax.Array, d: jax.Array, w: jax.Array, v: jax.Array) -> jax.Array:
    """Return p (m/p - 1 - log m/p) for m = w p + v q."""
    here = _mixes(p, d, w)
    phi = log_mix(jnp.where(here, d, 0), w, v)
    near = phi <= 1
    m = w * p + v * q
    return jnp.where(here, jnp.where(near, p * expm1_minus(jnp.where(near, phi, 0)), m - p * (1 + phi)), m)


def _mixes(p: jax.Array, d: jax.Array, w: jax.Array) -> jax.Array:
    """Where p is there and log m/p finite."""
    return ~((p == 0) | (d == jnp.inf) | ((d == -jnp.inf) & (w == 0)))


def kl_slopes(pair: Pair, kl: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the slopes of KL(P || Q) to the logits of p and of q; to p 0 where it is +inf, which has no limit."""
    p, q, d, _ = pair
    infinite = (kl == jnp.inf)[:, None]
    level = jnp.where(infinite | jnp.isinf(d), 0, d) + jnp.where(infinite, 0, kl[:, None])
    far = (d > 1) | jnp.isinf(d)
    return jnp.where(infinite, 0, -p * level), jnp.where(far, q - p, p * jnp.expm1(jnp.where(far, 0, d)))


def mixture_slopes(pair: Pair, to_p: jax.Array, to_q: jax.Array, w: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the slopes of w KL(P || M) + (1 - w) KL(Q || M) to the logits of p and of q."""

    def slope(p: jax.Array, d: jax.Array, kl: jax.Array, w: jax.Array) -> jax.Array:
        here = _mixes(p, d, w)
        phi = log_mix(jnp.where(here, d, 0), w, 1 - w)
        return jnp.where(here, -w * p * (phi + kl[:, None]), 0)

    return slope(pair.p, pair.d, to_p, w), slope(pair.q, -pair.d, to_q, 1 - w)


def sums(
    terms: Terms,
    count: int,
    plan: Plan,
    heads: tuple[Head, Head],
    fixed: Fixed,
    levels: tuple[Level, Level],
    shift: jax.Array,
) -> tuple[jax.Array, ...]:
    """Return the sums of `count` terms over the classes."""

    def body(carry: tuple[jax.Array, ...], start: Any, size: int) -> tuple[jax.Array, ...]:
        a, b = (block_logits(plan, head, fixed, start, size) for head in heads)
        return tuple(s + jnp.sum(t, axis=1) for s, t in zip(carry, terms(pair_of(a, b, *levels, shift)), strict=True))

    zero = like(0, levels[0].top)
    return fold(body, (zero,) * count, heads[0].classes, plan.size)


def block_logits(plan: Plan, head: Head, fixed: Fixed, start: Any, size: int) -> jax.Array:
    """Return a block of a head's logits, -inf where they are not included."""
    z = unshaped(plan, Inputs(head.block(start, size)), fixed.block(start, size))
    return shaped(z, head.temperature, head.soft_cap)
