"""KL divergence and its slopes by arithmetic alone, for rows within bounds: the form for CPUs.

With u = b - a less its mean under p = softmax(a),

    KL(p || q) = log sum p exp(u) = log1p(sum p (expm1(u) - u)),    d = log q - log p = u - KL

and the terms of the sum are non-negative: one form serves distributions that hardly differ and such that are
far apart. Where p and q lead in different classes, and exp(u) is beyond reach, nothing cancels and the plain
form does: log sum exp(b) - log sum exp(a) - sum p (b - a).

A selection, a comparison or a gather over the classes would keep XLA's CPU backend from its vectorised kernels;
here are additions, products, minima, maxima and exponentials only, and the last sum, whose terms are too long a
formula to fuse with one, is a product with ones. What the forms cannot do is found from their own sums:
`Rows.valid` tells which rows are right.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxinfo._classes import Classes
from jaxinfo._exact import exp_from, expm1, expm1_minus, log1p, sum_by_product, two_diff
from jaxinfo._platform import LARGEST, within
from jaxinfo._traced import traced_once

_FARTHEST = 45.0  # above the mean exp(u) is within reach up to it
_ROUNDED = 8.0  # the rounding of a u up to it makes at most 2 eps of exp(u)
_STEEPER = 1e-7  # a rise of u and a fall of u are bounded as one, the fall being worth so much of a rise
_ABSENT = 1e6  # farther falls, by that measure, are to a q that is absent
_LIFTED = 5.0  # the largest mean at which exp(rise) is within reach of every float
_CANCELLED = 8.0  # the mean of u is taken off: the digits it holds are lost to a KL so many times smaller


class Anchor(NamedTuple):
    """Where the logits of a row are taken from.

    Attributes:
        top: the largest of a.
        offset: b - a at the largest (exactly so for a pure shift), as a high and a low part.
    """

    top: jax.Array
    offset: tuple[jax.Array, jax.Array]


class Rows(NamedTuple):
    """What is known of each row, the class axis kept.

    Attributes:
        anchor: where its logits are taken from.
        scale: 1 / sum exp(a - top).
        mean: of b - a - offset under p.
        q_top: the largest of b.
        q_scale: 1 / sum exp(b - q_top).
        near: whether the divergence and the slopes are from the difference of the logits; if not, from p and q.
        kl: the divergence.
        level: of d = log q - log p, what is taken from b - a - offset, where `near`; made for slopes alone.
        valid: whether it is right.
    """

    anchor: Anchor
    scale: jax.Array
    mean: jax.Array
    q_top: jax.Array
    q_scale: jax.Array
    near: jax.Array
    kl: jax.Array
    level: jax.Array | None
    valid: jax.Array


@traced_once("classes", "sloped")
def kl_rows(a: jax.Array, b: jax.Array, classes: Classes, sloped: bool = False) -> Rows:
    """Return the divergence of each row and whether it is right: logits finite, or -inf in both, and not too far."""
    given_a, given_b, a, b = a, b, within(a), within(b)
    top, q_top = classes.max(a), classes.max(b)
    steep = float(jnp.finfo(a.dtype).max)
    b_top = classes.max(jnp.minimum(b, (a - top) * steep + q_top))  # the largest b where a is the largest, or near it
    anchor = Anchor(top, two_diff(b_top, top))
    e, (rise, _) = exp_from(a, top), _rise(a, b, anchor)
    total = classes.sum(e)
    scale = 1 / total
    mean = classes.sum(e * rise) * scale

    farthest = classes.max(jnp.maximum(rise, rise * -_STEEPER))
    curved = partial(_curved, given_a, given_b, anchor, mean, classes)
    kl_near = log1p(scale * jax.lax.cond(jnp.any(farthest - mean > _ROUNDED), curved, partial(curved, rounded=True)))
    near = (farthest - mean <= _FARTHEST) & (jnp.abs(mean) <= _CANCELLED * jnp.maximum(kl_near, 1))
    near &= _kept(given_a, top, farthest, mean, kl_near, classes)

    q_total = _where_any(~near, lambda: classes.sum(jnp.exp(within(given_b) - q_top)))
    gained, lost = (q_top - b_top) + jnp.log(q_total), mean + jnp.log(total)
    kl_apart = gained - lost
    apart = (farthest <= _ABSENT) & (gained + jnp.abs(lost) <= _CANCELLED * kl_apart)
    apart &= (kl_apart >= 1) & (gained - jnp.log(total) >= 1)  # nor are p and q alike at the likeliest class

    kl = jnp.where(near, kl_near, kl_apart)
    anchored = (jnp.abs(top) < LARGEST / 2) & (jnp.abs(anchor.offset[0]) < LARGEST / 4)
    valid = (near | apart) & anchored & (kl < jnp.inf)
    rows = Rows(anchor, scale, mean, q_top, 1 / q_total, near, kl, None, valid)
    return rows._replace(level=_level(given_a, given_b, rows, classes)) if sloped else rows


def _curved(
    a: jax.Array, b: jax.Array, anchor: Anchor, mean: jax.Array, classes: Classes, rounded: bool = False
) -> jax.Array:
    """Return sum exp(a - top) (expm1(u) - u), to what rounding takes from u: exp of 40 would make 16 eps of that."""
    a, b = within(a), within(b)
    e, (rise, rest) = exp_from(a, anchor.top), _rise(a, b, anchor)
    u, low = two_diff(rise, mean)
    term = expm1_minus(u)
    return sum_by_product(e * (term if rounded else term + (low + rest) * (term + u)), classes.axis)


def _level(a: jax.Array, b: jax.Array, rows: Rows, classes: Classes) -> jax.Array:
    """Return log sum p exp(b - a - offset), from which d is taken at the likeliest class.

    u - KL would lose the digits of a d that is small where most of the mass is, beside a mean that a rare class has
    made large.
    """
    a, b = within(a), within(b)
    e, (rise, _) = exp_from(a, rows.anchor.top), _rise(a, b, rows.anchor)
    level = log1p(sum_by_product(e * expm1(rise), classes.axis) * rows.scale)
    return jnp.where(rows.mean <= _LIFTED, level, rows.mean + rows.kl)


@traced_once()
def kl_slopes(a: jax.Array, b: jax.Array, rows: Rows) -> tuple[jax.Array, jax.Array]:
    """Return the slopes of valid rows, made with `sloped`: -p (KL + d) to a, p expm1(d) to b."""
    assert rows.level is not None
    a, b = within(a), within(b)
    e, (rise, _) = exp_from(a, rows.anchor.top), _rise(a, b, rows.anchor)
    p = e * rows.scale
    near, level = rows.near.astype(p.dtype), jnp.where(rows.near, rows.level, 0)
    apart = jnp.exp(b - rows.q_top) * rows.q_scale - p
    return -p * (rise - rows.mean), near * (p * expm1(rise - level)) + (1 - near) * apart


def _kept(
    a: jax.Array, top: jax.Array, farthest: jax.Array, mean: jax.Array, kl: jax.Array, classes: Classes
) -> jax.Array:
    """Whether no p underflows, or exp(u) times it, and u where that is far below 0, are lost below an eps of KL."""
    info = jnp.finfo(a.dtype)
    tiny, eps = float(info.tiny), float(info.eps)
    lost = classes.count(a) * (jnp.exp(jnp.minimum(farthest - mean, _FARTHEST)) + farthest / _STEEPER)
    little = lost <= jnp.maximum(kl * (eps / 4 / tiny), 1000)
    # of the classes that are not absent
    lowest = _where_any(~little, lambda: classes.max(jnp.minimum(top - within(a), within(a) + LARGEST / 2)))
    return little | (lowest < -math.log(tiny))


def _where_any(rows: jax.Array, make: Callable[[], jax.Array]) -> jax.Array:
    """Return what `make` does if any row needs it, a pass over the classes that is mostly saved, and 1 if none does."""
    return jax.lax.cond(jnp.any(rows), make, lambda: jnp.ones_like(rows, jax.eval_shape(make).dtype))


def _rise(a: jax.Array, b: jax.Array, anchor: Anchor) -> tuple[jax.Array, jax.Array]:
    """Return b - a - offset, 0 everywhere for a pure shift, and what rounding took from it."""
    high, low = two_diff(b, a)
    high, rest = two_diff(high, anchor.offset[0])
    rest += low - anchor.offset[1]
    rise = high + rest
    return rise, rest - (rise - high)
