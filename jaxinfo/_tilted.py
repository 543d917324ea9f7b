"""The tilted distribution r = p**alpha q**(1 - alpha) / sum, between two distributions or beyond them.

It is what the Renyi divergence of order alpha turns on: its slopes are p - r and q - r. Its logarithm is
taken from the likeliest class of either, so that these differences keep their digits where r is close.
"""

import math

import jax
import jax.numpy as jnp

from jaxinfo._classes import Classes
from jaxinfo._logratio import graft
from jaxinfo._pair import Anchored, Pair

_STEEP = 80.0  # logarithm of a growth that float32 holds


def log_tilted(pair: Pair, s: jax.Array) -> jax.Array:
    """Return log p**alpha q**s."""
    both = ~(pair.absent() | (pair.d == -jnp.inf))
    return jnp.where(both, jnp.where(both, pair.log_p, 0) + s * jnp.where(both, pair.d, 0), -jnp.inf)


def log_sum_exp(x: jax.Array, classes: Classes) -> jax.Array:
    """Return log sum exp(x), a value; -inf where all of `x` is."""
    top = classes.max(x)
    top = jnp.where(top == -jnp.inf, 0, top)
    total = classes.sum(jnp.exp(x - top))
    return jnp.where(total == 0, -jnp.inf, top + jnp.log(jnp.where(total == 0, 1, total)))


def greatest_log_ratio(pair: Pair, classes: Classes) -> jax.Array:
    """Return the largest log p/q."""
    return classes.max(jnp.where(pair.absent(), -jnp.inf, -pair.d))


def limit(pair: Pair, order: jax.Array, alpha: jax.Array, classes: Classes) -> jax.Array:
    """Return r where it is a limit: on the classes of largest p/q, which are those that q lacks if there are any."""
    top = (-pair.d == greatest_log_ratio(pair, classes)) & ~pair.absent()
    weight = jnp.where(top, jnp.where(alpha < jnp.inf, order, 1) * jnp.where(top, pair.log_p, 0), -jnp.inf)
    r = jnp.exp(weight - jax.lax.stop_gradient(jnp.maximum(classes.max(weight), -1e30)))
    total = classes.sum(r)
    return jnp.where(alpha == 1, pair.p, r / jnp.where(total == 0, 1, total))


def from_limit(p: jax.Array, r: jax.Array, classes: Classes) -> jax.Array:
    """Return p - r; where p is a multiple of r wherever that is, as minus r times what p has elsewhere."""
    on, elsewhere = r > 0, classes.sum(jnp.where(r > 0, 0, p))
    multiple = classes.sum(jnp.where(on, p, 0)) > 0
    return jnp.where(on & multiple, -r * elsewhere, p - r)


def log_tilt_of_p(
    d: Anchored, pair: Pair, value: jax.Array, log_r: jax.Array, s: jax.Array, classes: Classes
) -> jax.Array:
    """Return log(r / p) / s = d + D; -inf where q is absent, 0 where p is."""
    gone, here = pair.lacking(), ~(pair.absent() | pair.lacking())
    p, log_p, rise, at_one = *jax.lax.stop_gradient((pair.p, pair.log_p, d.rise)), s == 0
    log_p, rise = jnp.where(here, log_p, 0), jnp.where(here, rise, 0)
    total = classes.sum(jnp.where(gone, -p, _growth(p, log_p, s * rise)))
    near = jnp.abs(total) < 0.5
    level = jnp.log1p(jnp.where(near, total, 0)) / jnp.where(at_one, 1, s)
    level = jnp.where(at_one, classes.sum(p * rise), level)
    plain = jnp.where(here, pair.d, 0) + value
    far = (jnp.where(here, log_r, 0) - log_p) / jnp.where(at_one, 1, s)
    exact = jnp.where(near, rise - level, far)
    return jnp.where(here, graft(jax.lax.stop_gradient(exact), plain), jnp.where(gone, -jnp.inf, 0))


def log_tilt_of_q(
    d: Anchored, pair: Pair, value: jax.Array, log_r: jax.Array, alpha: jax.Array, classes: Classes
) -> jax.Array:
    """Return log(r / q) = s D - alpha d; -inf where p is absent, 0 where q is."""
    gone = pair.absent() & (pair.log_q > -jnp.inf)
    here = ~(gone | (pair.d == -jnp.inf) | (pair.log_q == -jnp.inf))
    q, log_q, rise = jax.lax.stop_gradient((pair.q, pair.log_q, d.rise))
    log_q, rise = jnp.where(here, log_q, 0), jnp.where(here, rise, 0)
    total = classes.sum(jnp.where(gone, -q, _growth(q, log_q, alpha * rise)))
    near = jnp.abs(total) < 0.5
    plain = (1 - alpha) * value - alpha * jnp.where(here, pair.d, 0)
    exact = alpha * rise - jnp.log1p(jnp.where(near, total, 0))
    exact = jax.lax.stop_gradient(jnp.where(near, exact, jnp.where(here, log_r, 0) - log_q))
    return jnp.where(here, graft(exact, plain), jnp.where(gone, -jnp.inf, 0))


def _growth(p: jax.Array, log_p: jax.Array, x: jax.Array) -> jax.Array:
    """Return p expm1(x); by the logarithm where that would overflow or p underflows."""
    steep = (x > _STEEP) | ((x > 1) & (p < jnp.finfo(p.dtype).tiny))
    far = jnp.exp(jnp.minimum(jnp.where(steep, log_p + x, 0), _STEEP))
    return jnp.where(steep, far, p * jnp.expm1(jnp.where(steep, 0, x)))


def log_share(pair: Pair, s: jax.Array, classes: Classes) -> jax.Array:
    """Return log r, a value; -inf where r is not."""
    terms = jax.lax.stop_gradient(log_tilted(pair, s))
    total = log_sum_exp(terms, classes)
    return terms - jnp.where(total == -jnp.inf, 0, total)


def tilt(pair: Pair, y: jax.Array, log_r: jax.Array, s: jax.Array) -> jax.Array:
    """Return (r - p) / s = p expm1(s y) / s."""
    near, x = _near_one(y, s)
    r = _far_from_p(pair, near, y, log_r, s)
    return jnp.where(near, pair.p * jnp.where(near, y, 0) * _exp_tail(x, 1), (r - pair.p) / jnp.where(s == 0, 1, s))


def to_order(pair: Pair, y: jax.Array, log_r: jax.Array, s: jax.Array) -> jax.Array:
    """Return the terms r (expm1(-s y) + s y) / s**2 of KL(r || p) / s**2."""
    near, x = _near_one(y, s)
    y_near = jnp.where(near, y, 0)
    r = _far_from_p(pair, near, y, log_r, s)
    gone = r == 0
    x_far = s * jnp.where(near | gone | jnp.isinf(y), 0, y)
    far = (pair.p - r + r * x_far) / jnp.where(s == 0, 1, s) ** 2
    return jnp.where(near, pair.p * jnp.exp(x) * y_near * y_near * _exp_tail(-x, 2), far)


def _near_one(y: jax.Array, s: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return where abs(s y) <= 1 and s y there."""
    near = (jnp.abs(s * jnp.where(jnp.isinf(y), 0, y)) <= 1) & ~jnp.isinf(y)
    return near, s * jnp.where(near, y, 0)


def _far_from_p(pair: Pair, near: jax.Array, y: jax.Array, log_r: jax.Array, s: jax.Array) -> jax.Array:
    """Return r = p exp(s y) away from `near`: of its logarithm, which its two parts would round once more."""
    far = ~(near | jnp.isinf(y))
    plain = jnp.exp(jnp.where(far, pair.log_p, 0) + s * jnp.where(far, y, 0))
    return jnp.where(far, graft(jnp.exp(log_r), plain), 0)


def _exp_tail(x: jax.Array, n: int) -> jax.Array:
    """Return sum over k of x**k / (k + n)! for abs(x) <= 1: expm1(x) / x for n = 1, (expm1(x) - x) / x**2 for n = 2."""
    series = jnp.zeros_like(x)
    for k in range(12 if jnp.finfo(x.dtype).bits == 32 else 20, -1, -1):
        series = 1 / math.factorial(k + n) + x * series
    return series
