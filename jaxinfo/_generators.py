"""The named f-divergences: what a class adds, and its slope, as functions of d = log q/p.

Each is written from the larger of p and q, times a function of -abs(d) that is 0 at 0: no term is negative,
nothing cancels where p and q are close and nothing overflows where they are not.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxinfo._classes import Classes
from jaxinfo._logratio import graft
from jaxinfo._pair import Anchored, Pair


class Generator(NamedTuple):
    """A named f: its terms q f(p / q), their slopes, and the largest value the divergence can have.

    Attributes:
        terms: what each class adds.
        flow: p f'(p / q) up to a constant times p, with d anchored at the likeliest class of p.
        adjoint_flow: the same of t f(1 / t), for the pair with the roles exchanged: the slope to q.
        bound: an upper bound of the divergence.
    """

    terms: Callable[[Pair], jax.Array]
    flow: Callable[[Anchored, Pair, Classes], jax.Array]
    adjoint_flow: Callable[[Anchored, Pair, Classes], jax.Array]
    bound: float


def _larger(pair: Pair) -> tuple[jax.Array, jax.Array]:
    """Return the larger of p and q, and -abs(d)."""
    return jnp.where(pair.d > 0, pair.q, pair.p), -jnp.abs(pair.d)


def _present(pair: Pair) -> tuple[jax.Array, jax.Array]:
    """Return where both are there, and d there."""
    here = ~jnp.isinf(pair.d) & (pair.log_p > -jnp.inf)
    return here, jnp.where(here, pair.d, 0)


def _hellinger(pair: Pair) -> jax.Array:
    m, d = _larger(pair)
    return m * jnp.expm1(d / 2) ** 2 / 2


def _total_variation(pair: Pair) -> jax.Array:
    m, d = _larger(pair)
    return -m * jnp.expm1(d) / 2


def _total_variation_flow(anchored: Anchored, pair: Pair, classes: Classes) -> jax.Array:
    """f' = sign(t - 1) / 2, of which the mean is subtracted here: what p has on the one side and the other."""
    del anchored
    over, under = pair.d < 0, pair.d > 0
    p_over, p_under = classes.sum(jnp.where(over, pair.p, 0)), classes.sum(jnp.where(under, pair.p, 0))
    p_equal = classes.sum(jnp.where(over | under, 0, pair.p))
    above = p_under + p_equal / 2
    below = p_over + p_equal / 2
    return pair.p * jnp.where(over, above, jnp.where(under, -below, (p_under - p_over) / 2))


def _triangular(pair: Pair) -> jax.Array:
    m, d = _larger(pair)
    return m * jnp.expm1(d) * jnp.tanh(d / 2)


def _triangular_flow(anchored: Anchored, pair: Pair, classes: Classes) -> jax.Array:
    """f' = 1 - 4 sigmoid(d)**2."""
    here, d = _present(pair)
    level, rise = anchored.level, jnp.where(here, anchored.rise, 0)
    fixed = jax.lax.stop_gradient(d)
    up = _sigmoid(fixed) * _sigmoid(-level) * jnp.expm1(jnp.minimum(-rise, 0))
    down = _sigmoid(level) * _sigmoid(-fixed) * jnp.expm1(jnp.minimum(rise, 0))
    difference = jnp.where(rise > 0, -up, down)
    exact = jax.lax.stop_gradient(difference * (_sigmoid(fixed) + _sigmoid(level)))
    rising = graft(exact, jax.nn.sigmoid(d) ** 2)
    return -4 * pair.p * jnp.where(here, rising, -(_sigmoid(level) ** 2))


def _chi2(pair: Pair) -> jax.Array:
    """(p - q)**2 / q, where q is far below as p**2 / q expm1(d)**2."""
    d = jnp.where(jnp.isinf(pair.d), 0, pair.d)
    far = d < -8
    below = pair.p * jnp.expm1(jnp.minimum(d, 0)) * -jnp.expm1(-jnp.where(far, 0, jnp.minimum(d, 0)))
    normal = far & (jnp.minimum(pair.p, pair.q) > jnp.finfo(d.dtype).tiny)
    square = pair.p * (pair.p / jnp.where(normal, pair.q, 1))  # its logarithm is rounded, and where q is 0 all there is
    square = jnp.where(normal, square, jnp.exp(jnp.where(far, pair.log_p - d, 0)))
    beyond = square * jnp.expm1(jnp.minimum(d, 0)) ** 2
    above = pair.q * jnp.expm1(-jnp.maximum(d, 0)) ** 2
    both = jnp.where(d >= 0, above, jnp.where(far, beyond, below))
    return jnp.where(pair.absent(), pair.q, jnp.where(pair.lacking(), jnp.inf, both))


def _exponential_flow(scale: float, k: float, anchored: Anchored, pair: Pair, classes: Classes) -> jax.Array:
    """f' = scale exp(k d): from the logarithm of p exp(k d) where that is far above the anchor's."""
    del classes
    here, d = _present(pair)
    # an anchor whose own would overflow is left out: the divergence is about to, too
    level = k * anchored.level
    unanchored = level > math.log(jnp.finfo(level.dtype).max) - 1
    at = jnp.where(unanchored, 0, pair.p * jnp.exp(jnp.where(unanchored, 0, level)))
    growth = k * jnp.where(here, anchored.rise, 0)
    steep = (growth > 1) | unanchored
    near = at * jnp.expm1(jnp.where(steep, 0, growth))
    far = jnp.exp(jnp.where(steep, jnp.where(here, pair.log_p, 0) + k * d, 0)) - at
    return scale * jnp.where(here, jnp.where(steep, far, near), -at)


def _exponential(scale: float, k: float) -> Callable[[Anchored, Pair, Classes], jax.Array]:
    return partial(_exponential_flow, scale, k)


GENERATORS = {
    "hellinger": Generator(_hellinger, _exponential(-0.5, 0.5), _exponential(-0.5, 0.5), 1),
    "total_variation": Generator(_total_variation, _total_variation_flow, _total_variation_flow, 1),
    "triangular": Generator(_triangular, _triangular_flow, _triangular_flow, 2),
    "chi2": Generator(_chi2, _exponential(2, -1), _exponential(-1, 2), math.inf),
}


def _sigmoid(x: jax.Array) -> jax.Array:
    small = jnp.exp(-jnp.abs(x))
    return jnp.where(x < 0, small, 1) / (1 + small)
