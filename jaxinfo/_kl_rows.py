"""KL divergence and its slopes by arithmetic alone, for rows within bounds: the form for CPUs.

With u = b - a less its mean under p = softmax(a),

    KL(p || q) = log sum p exp(u) = log1p(sum p (expm1(u) - u)),    d = log q - log p = u - KL

and the terms of the sum are non-negative: one form serves distributions that hardly differ and such that are
far apart. A selection, a comparison or a gather over the classes would keep XLA's CPU backend from its
vectorised kernels; here are additions, products, minima, maxima and exponentials only, and the last sum, whose
terms are too long a formula to fuse with one, is a product with ones. What the form cannot do is found from
its own sums: `Rows.valid` tells which rows are right.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxinfo._classes import Classes
from jaxinfo._exact import exp_from, expm1, expm1_minus, log1p, sum_by_product, two_diff
from jaxinfo._platform import LARGEST, within

_FARTHEST = 25.0  # u beyond it could lift a p that underflows to a q that counts
_LOWEST = 1e20  # a fall beyond it could make a p that underflows count
_LIFTED = 5.0  # the largest mean at which exp(rise) is within reach of every float
_CANCELLED = 8.0  # the mean of u is taken off: the digits it holds are lost to a KL so many times smaller


class Rows(NamedTuple):
    """What is known of each row, the class axis kept.

    Attributes:
        top: the largest of a.
        offset: b - a at the largest (exactly so for a pure shift), as a high and a low part.
        scale: 1 / sum exp(a - top).
        mean: of b - a - offset under p.
        kl: the divergence.
        valid: whether it is right.
    """

    top: jax.Array
    offset: tuple[jax.Array, jax.Array]
    scale: jax.Array
    mean: jax.Array
    kl: jax.Array
    valid: jax.Array


def kl_rows(a: jax.Array, b: jax.Array, classes: Classes) -> Rows:
    """Return the divergence of each row and whether it is right: logits finite, or -inf in both, and not too far."""
    a, b = within(a), within(b)
    top = classes.max(a)
    steep, b_top = float(jnp.finfo(a.dtype).max), classes.max(b)
    b_top += classes.max(jnp.minimum(b - b_top, (a - top) * steep))  # the largest b where a is the largest, or near it
    offset = two_diff(b_top, top)
    e, rise = exp_from(a, top), _rise(a, b, offset)
    scale = 1 / classes.sum(e)
    mean = classes.sum(e * rise) * scale
    terms = sum_by_product(e * expm1_minus(rise - mean), classes.axis)
    kl = log1p(terms * scale)
    farthest = classes.max(jnp.maximum(rise, rise * (-2 * _FARTHEST / _LOWEST))) - mean
    near = (farthest <= _FARTHEST) & (jnp.abs(mean) <= _CANCELLED * jnp.maximum(kl, 1))
    anchored = (jnp.abs(top) < LARGEST / 2) & (jnp.abs(offset[0]) < LARGEST / 4)
    return Rows(top, offset, scale, mean, kl, near & anchored & (kl < jnp.inf))


def kl_slopes(a: jax.Array, b: jax.Array, rows: Rows, classes: Classes) -> tuple[jax.Array, jax.Array]:
    """Return the slopes of valid rows: -p (KL + d) to a, p expm1(d) to b.

    d is taken from its level at the likeliest class: u - KL would lose the digits of a d that is small
    where most of the mass is, beside a mean that a rare class has made large.
    """
    a, b = within(a), within(b)
    e, rise = exp_from(a, rows.top), _rise(a, b, rows.offset)
    p = e * rows.scale
    level = log1p(sum_by_product(e * expm1(rise), classes.axis) * rows.scale)
    level = jnp.where(rows.mean <= _LIFTED, level, rows.mean + rows.kl)
    return -p * (rise - rows.mean), p * expm1(rise - level)


def _rise(a: jax.Array, b: jax.Array, offset: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Return b - a - offset: 0 everywhere for a pure shift."""
    high, low = two_diff(b, a)
    return (high - offset[0]) + (low - offset[1])
