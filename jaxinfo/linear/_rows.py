"""Statistics of each row of logits, and what they are computed from.

In each row one class is told from the rest: its label, or where there are no labels its likeliest class.
Keeping its logit apart from the sum over the rest is what keeps the digits of a confident prediction
(ARCHITECTURE.md), and every loss is a formula in a few numbers of each row.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxinfo.linear._blocks import cut
from jaxinfo.linear._head import Head, Included


class Rows(NamedTuple):
    """What is known of each row, [N] each; all logits are relative to `top`, which is held constant.

    A part that is None is not wanted.

    Attributes:
        top: the largest logit.
        at: the logit of the label, where that is told from the rest; 0 where it lies on another shard.
        rest: log sum exp of the other logits.
        lse: log sum exp of all, where the likeliest class is told from the rest.
        mass: sum of the weighted targets.
        level: sum of the weighted targets times the logits.
        share: sum of the class weights over the finite classes.
        spread: sum of the class weights times the logits over the finite classes.
        picked: the logit at the label, where the likeliest class is told from the rest.
        entropy: entropy of the row.
    """

    top: jax.Array
    at: Any = None
    rest: Any = None
    lse: Any = None
    mass: Any = None
    level: Any = None
    share: Any = None
    spread: Any = None
    picked: Any = None
    entropy: Any = None


class Kept(NamedTuple):
    """What the derivatives need besides: the rest as largest logit and sum, finite classes, bits of the likeliest."""

    rest_max: jax.Array
    rest_sum: jax.Array
    finite: jax.Array
    best: Any = None


class Fixed(NamedTuple):
    """What is not differentiated.

    Attributes:
        labels: [N], the class of each row, of those of this head; outside [0, V) where it is not among them.
        included: the classes included, None for all of every row that counts.
        counted: [N], the rows that count, None for all.
    """

    labels: Any = None
    included: Included | None = None
    counted: jax.Array | None = None

    def block(self, start: Any, size: int) -> "Fixed":
        """Return the same for `size` classes from `start`."""
        labels = None if self.labels is None else self.labels - jnp.asarray(start, self.labels.dtype)
        return Fixed(labels, None if self.included is None else self.included.block(start, size), self.counted)

    def masked(self, x: jax.Array, outside: float) -> jax.Array:
        """Return the block `x` [N, B] with `outside` where it is not included, 0 where all of a row is left out."""
        if self.included is not None:
            return jnp.where(self.included.of(x), x, jnp.asarray(outside, x.dtype))
        return x if self.counted is None else jnp.where(jnp.expand_dims(self.counted, 1), x, 0)


class Inputs(NamedTuple):
    """What is differentiated: the head, targets [N, V] or None, class weights [1, V] or None."""

    head: Head
    targets: Any = None
    weights: Any = None

    def block(self, start: Any, size: int) -> "Inputs":
        """Return the same for `size` classes from `start`."""
        return Inputs(self.head.block(start, size), cut(self.targets, start, size), cut(self.weights, start, size))


class Plan(NamedTuple):
    """How it is computed: classes in a block, compute dtype, and which statistics are wanted.

    Attributes:
        size: classes in a block.
        dtype: what is computed and returned in.
        apart: "label" or "top", the class told from the rest.
        smooth: whether share and spread are wanted.
        entropy: whether the entropy is.
    """

    size: int
    dtype: Any
    apart: str = "label"
    smooth: bool = False
    entropy: bool = False


def grounded(rows: Rows) -> Rows:
    """Return them with 0 for what a row without classes has not: its slopes are 0, which 0 * inf would not be."""
    if rows.lse is None:
        return rows
    nothing = rows.lse == -jnp.inf
    entropy = None if rows.entropy is None else jnp.where(nothing, 0, rows.entropy)
    return rows._replace(lse=jnp.where(nothing, 0, rows.lse), entropy=entropy)


def silent(plan: Plan, x: jax.Array, level: jax.Array, targets: jax.Array) -> jax.Array:
    """Return where a target and its probability are both 0, so that its slope is; smoothing gives finite classes some.

    `level` are the logits less their largest.
    """
    return (targets == 0) & ((x if plan.smooth else level) == -jnp.inf)


def weighted_targets(inputs: Inputs, fixed: Fixed) -> jax.Array:
    """Return the targets of a block times the class weights, 0 in rows that do not count."""
    assert inputs.targets is not None
    mass = inputs.targets if inputs.weights is None else inputs.targets * inputs.weights
    return mass if fixed.counted is None else jnp.where(jnp.expand_dims(fixed.counted, 1), mass, 0)


def times(weight: jax.Array, x: jax.Array) -> jax.Array:
    """Return weight * x with 0 * inf = 0: what has no weight has no say."""
    absent = (weight == 0) & jnp.isinf(x)
    return weight * jnp.where(absent, 0, x)


def moved(level: jax.Array, mass: jax.Array, step: jax.Array) -> jax.Array:
    """Return sum w (x - top) for a top that is `step` lower than before, seen from it: non-positive parts."""
    return level + times(mass, step)


@jax.custom_jvp
def surprise(at: jax.Array, rest: jax.Array) -> jax.Array:
    """Return -log of exp(at) / (exp(at) + exp(rest)), two terms that are not negative, so that nothing cancels."""
    ahead = at >= rest
    tail = jnp.log1p(jnp.exp(jnp.where(ahead, rest - at, at - rest)))
    return jnp.where(ahead, tail, (rest - at) + tail)


@surprise.defjvp
def _surprise_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    out = surprise(*primals)
    return out, -jnp.expm1(-out) * (tangents[1] - tangents[0])


def log_sum(at: jax.Array, rest: jax.Array) -> jax.Array:
    """Return log(exp(at) + exp(rest)), of which the larger is about 0; -inf with derivative 0 where both are -inf."""
    nothing = (at == -jnp.inf) & (rest == -jnp.inf)
    at, rest = instead(at, nothing, 0), instead(rest, nothing, 0)
    ahead = at >= rest
    near, far = jnp.where(ahead, at, rest), jnp.where(ahead, rest, at)
    return instead(near + surprise(near, far), nothing, -jnp.inf)


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def instead(x: jax.Array, where: jax.Array, value: float) -> jax.Array:
    """Return `value` in the place of x where told, with derivative 0; a cotangent of nan stays nan, as of a product."""
    return jnp.where(where, value, x)


@instead.defjvp
def _instead_jvp(value: float, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    x, where = primals
    return instead(x, where, value), tangents[0] * (1 - where.astype(x.dtype))
