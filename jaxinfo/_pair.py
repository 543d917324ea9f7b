"""Two distributions side by side, and the derivative that every divergence between them has.

A divergence sum q f(p / q) depends on its two rows of logits a and b by

    to a:  p (g - sum p g),    g = f'(p / q)

and, the roles exchanged, alike to b. Only differences of g count, and where one class holds nearly all of
p, or p nearly follows q at a constant ratio, g is nearly the same wherever p is: so g is taken from its
level at the likeliest class, as a function of the exact difference of the logits from there.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxinfo._classes import Classes
from jaxinfo._logratio import graft, log_ratio, probs_from, two_diff
from jaxinfo._normalise import LogSum, log_probs
from jaxinfo._traced import traced_once


class Pair(NamedTuple):
    """Distributions p and q class by class: d = log q - log p, +inf where only p is 0, -inf where only q is."""

    p: jax.Array
    q: jax.Array
    log_p: jax.Array
    log_q: jax.Array
    d: jax.Array

    def swap(self) -> "Pair":
        """Return the pair with the roles exchanged."""
        return Pair(self.q, self.p, self.log_q, self.log_p, -self.d)

    def absent(self) -> jax.Array:
        """Where p is not there, or so far below q that it makes no difference."""
        return (self.log_p == -jnp.inf) | (self.d == jnp.inf)

    def lacking(self) -> jax.Array:
        """Where p is there and q is not."""
        return (self.log_p > -jnp.inf) & (self.d == -jnp.inf)


class Anchored(NamedTuple):
    """d = `level` + `rise`: its value at p's likeliest class, and what it is above that, to the last digit."""

    level: jax.Array
    rise: jax.Array


@traced_once("classes")
def value_pair(a: jax.Array, b: jax.Array, sum_a: LogSum, sum_b: LogSum, classes: Classes) -> Pair:
    """Return the pair for a value: the probabilities refined, derivatives not to be taken."""
    log_p, log_q = sum_a.log_p(a), sum_b.log_p(b)
    d = log_ratio(a, b, log_p, log_q, classes).d
    return Pair(probs_from(a, log_p, sum_a), probs_from(b, log_q, sum_b), log_p, log_q, d)


@traced_once("classes")
def slope_pair(a: jax.Array, b: jax.Array, sum_a: LogSum, sum_b: LogSum, classes: Classes) -> Pair:
    """Return the pair for a slope, which is differentiated again."""
    log_p, log_q = log_probs(a, sum_a, classes), log_probs(b, sum_b, classes)
    d = log_ratio(a, b, log_p, log_q, classes).d
    p, q = (jax.lax.stop_gradient(probs_from(*row)) for row in ((a, log_p, sum_a), (b, log_q, sum_b)))
    return Pair(graft(p, jnp.exp(log_p)), graft(q, jnp.exp(log_q)), log_p, log_q, d)


@traced_once("classes")
def common_anchor(a: jax.Array, b: jax.Array, pair: Pair, classes: Classes) -> Anchored:
    """Return d from its level at the likeliest of the classes both have, for the pair of logits a and b.

    Where no class is found the level is 0 and the rise d: none has both, or XLA without its optimisations made
    the logits anew, otherwise rounded, for each use.
    """
    d = jax.lax.stop_gradient(pair.d)
    level, rise, found = _from_likeliest(a, b, d, jnp.isfinite(b) & jnp.isfinite(d), classes)
    rise = jnp.where(found, rise, d)
    return Anchored(jnp.where(found, level, 0), graft(rise, jnp.where(jnp.isinf(pair.d), 0, pair.d)))


@traced_once("classes")
def anchor(a: jax.Array, b: jax.Array, pair: Pair, classes: Classes) -> Anchored:
    """Return d from its level at p's likeliest class, for the pair of logits a and b.

    Where q lacks that class the level is -inf, the rise 0 at what q lacks and +inf at what both have. So it is too
    where XLA without its optimisations made the logits anew, otherwise rounded, for each use, and none is found.
    """
    d = jax.lax.stop_gradient(pair.d)
    level, rise, found = _from_likeliest(a, b, d, d < jnp.inf, classes)
    plain = jnp.where(level == -jnp.inf, jnp.where(d == -jnp.inf, 0, jnp.inf).astype(d.dtype), d - level)
    rise = jnp.where(found, rise, plain)
    return Anchored(level, graft(rise, jnp.where(jnp.isinf(pair.d), 0, pair.d)))


def _from_likeliest(
    a: jax.Array, b: jax.Array, d: jax.Array, of: jax.Array, classes: Classes
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return d at the likeliest class of p among those `of` which it is, d above that, and whether both are finite.

    The rise is that of b - a without rounding. Its derivative is that of d: what moves with the level
    moves every class alike and drops out of a slope.
    """
    a, b = jax.lax.stop_gradient((a, b))
    of = of & jnp.isfinite(a)
    a_at = classes.max(jnp.where(of, a, -jnp.inf))
    at = of & (a == a_at)
    b_at = classes.max(jnp.where(at, b, -jnp.inf))
    level = classes.max(jnp.where(at & (b == b_at), d, -jnp.inf))
    found = jnp.isfinite(level) & jnp.isfinite(b_at)
    both = jnp.isfinite(a) & jnp.isfinite(b) & jnp.isfinite(d)
    high_at, low_at = two_diff(jnp.where(found, b_at, 0), jnp.where(found, a_at, 0))
    high, low = two_diff(jnp.where(both, b, 0), jnp.where(both, a, 0))
    return level, jnp.where(both, (high - high_at) + (low - low_at), d), found


def nan_where(bad: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """Return nan there and 0 elsewhere, to be added; a literal nan would trip `jax_debug_nans` where all is well."""
    return 0 * jnp.where(bad, jnp.inf, 0).astype(dtype)


def centred(p: jax.Array, flow: jax.Array, classes: Classes) -> jax.Array:
    """Return p (g - sum p g) from flow = p g."""
    return flow - p * classes.sum_apart(flow)
