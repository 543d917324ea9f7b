"""log q - log p of two rows of logits, right also where the two hardly differ.

The difference of two log-softmaxes carries the rounding of both, and a divergence between neighbours is
quadratic in it: where logits differ by 1e-3 a float32 KL computed so is a quarter off. Here the logits
are subtracted first, without rounding, and only then normalised.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxinfo._classes import Classes
from jaxinfo._exact import log1p
from jaxinfo._normalise import LogSum
from jaxinfo._traced import traced_once

_EXACT = 1e30  # what is below it is subtracted without rounding (`two_diff`)
_FAR = 1e10  # a mean log ratio that only a difference beyond `_EXACT` makes


class LogRatio(NamedTuple):
    """How q departs from p, class by class.

    Attributes:
        d: log q - log p; +inf where only p is 0, -inf where only q is, 0 where both are.
        u: log q - log p less its mean under p, which is d + KL(p || q), to be used where p is not 0.
    """

    d: jax.Array
    u: jax.Array


@traced_once("classes")
def log_ratio(a: jax.Array, b: jax.Array, log_p: jax.Array, log_q: jax.Array, classes: Classes) -> LogRatio:
    """Return the log ratio of q = softmax(b) to p = softmax(a), given their logarithms too.

    Where KL(p || q) or the level log sum p exp(b - a) is below 1, d is b - a less that level, both taken from
    the likeliest class, and nothing is lost. Farther apart the plain difference of the logarithms is the better.
    The derivative of either is that of log q - log p, which cancels nothing.
    """
    no_p, no_q = log_p == -jnp.inf, log_q == -jnp.inf
    plain = jnp.where(no_p | no_q, 0, log_q) - jnp.where(no_p | no_q, 0, log_p)
    drop = classes.sum(jnp.where(no_p, 0, jnp.exp(log_p)) * plain)
    centred = plain - drop
    rise, mean, level = jax.tree.map(jax.lax.stop_gradient, _rise_mean_and_level(a, b, log_p, classes))
    near = jnp.minimum(jnp.abs(level - mean), jnp.abs(level)) < 1
    fixed, drop = jax.lax.stop_gradient((plain, drop))
    d = jnp.where(near & (jnp.abs(fixed) < _EXACT), rise - level, fixed)
    d = jnp.where(no_p, jnp.where(no_q, 0, jnp.inf).astype(d.dtype), jnp.where(no_q, -jnp.inf, d))
    valid = plain - plain  # nan where a logarithm is
    u = jnp.where(jnp.abs(drop) < _FAR, rise - mean, jax.lax.stop_gradient(centred))
    return LogRatio(graft(d + jax.lax.stop_gradient(valid), plain), graft(u, centred))


@jax.custom_jvp
def graft(value: jax.Array, like: jax.Array) -> jax.Array:
    """Return `value` with the derivative of `like`: two forms of one quantity, each for what it is good at."""
    del like
    return value


@graft.defjvp
def _graft_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    return graft(*primals), tangents[1]


def probs_from(x: jax.Array, log_p: jax.Array, log_sum: LogSum) -> jax.Array:
    """Return softmax(x) from its logarithm, with what rounding took from that put back.

    log p near -20 is rounded by up to 8 eps, and so would p be: the errors of x - m and of (x - m) - l
    are recovered and multiplied in.
    """
    fixed, log_p_fixed = jax.lax.stop_gradient((x, log_p))
    finite = jnp.isfinite(log_p_fixed) & jnp.isfinite(fixed)
    shifted, first = two_diff(jnp.where(finite, fixed, 0), jnp.where(finite, log_sum.m, 0))
    _, second = two_diff(shifted, jnp.where(finite, log_sum.l, 0))
    return jnp.exp(log_p) * (1 + jnp.where(finite, first + second, 0))


def refined_probs(x: jax.Array, log_p: jax.Array, log_sum: LogSum) -> jax.Array:
    """Return softmax(x) as `probs_from` has it, with the derivative of exp(log p)."""
    return graft(jax.lax.stop_gradient(probs_from(x, log_p, log_sum)), jnp.exp(log_p))


def expm1_minus(d: jax.Array) -> jax.Array:
    """Return expm1(d) - d, which is d**2 / 2 to first order, for d <= 1 and without cancellation."""
    near = jnp.abs(d) <= 1
    x = jnp.where(near, d, 0)
    degree = 12 if jnp.finfo(d.dtype).bits == 32 else 20
    series = jnp.zeros_like(x)
    for n in range(degree, 1, -1):
        series = series * x + 1 / math.factorial(n)
    return jnp.where(near, x * x * series, jnp.expm1(d) - d)


def two_diff(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return x - y as its rounded value and the rounding error (Knuth), kept within the finite floats."""
    bound = jnp.asarray(jnp.finfo(x.dtype).max / 8, x.dtype)
    high = jnp.clip(x - y, -bound, bound)
    part = x - high
    low = (x - (high + part)) + (part - y)
    return high, jnp.where(jnp.abs(high) < bound, low, 0)


def _rise_mean_and_level(
    a: jax.Array, b: jax.Array, log_p: jax.Array, classes: Classes
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return b - a from the likeliest class of p, its mean under p, and its level log sum p exp(rise).

    The difference is exact, so that a pure shift leaves 0. The level is inf where no class anchors it.
    """
    top = classes.max(a)
    b_top = classes.max(jnp.where(a == top, b, -jnp.inf))
    anchored = jnp.isfinite(top) & jnp.isfinite(b_top)
    top, b_top = jnp.where(anchored, top, 0), jnp.where(anchored, b_top, 0)
    b_here = jnp.isfinite(b)
    both = jnp.isfinite(a) & b_here
    high, low = two_diff(jnp.where(both, b, b_top), jnp.where(both, a, top))
    high_top, low_top = two_diff(b_top, top)
    rise = (high - high_top) + (low - low_top)
    p = jnp.exp(log_p)
    mean = classes.sum(p * rise)
    # log(p exp(rise)) straight from b where that is large: a p that underflows then does no harm
    log_risen = jnp.where(b_here, (jnp.where(b_here, b, 0) - b_top) + classes.max(log_p), b)
    small = both & (rise <= 1)
    grown = jnp.where(small, p * jnp.expm1(jnp.where(small, rise, 0)), jnp.exp(jnp.where(small, 0, log_risen)) - p)
    return rise, mean, jnp.where(anchored, log1p(classes.sum(grown)), jnp.inf)
