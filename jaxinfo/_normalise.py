"""Logits made ready and normalised: what every measure and loss begins with.

A quantity of logits x is computed from x and its log-normaliser, a value computed once; its derivative rule
is a function of the same two. `log_probs`, `attach_probs` and `attach_logsumexp` are values with such a rule,
to be used where a derivative is taken again.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxinfo import _checks
from jaxinfo._classes import Classes
from jaxinfo._rows import centre, shift_and_log_sum


def prepare(
    logits: Array, axis: int, where: Array | None, name: str = "logits", mesh_axis: object = None
) -> tuple[jax.Array, Classes, jax.Array | None]:
    """Return `logits`, `axis` and `where`, checked, in the compute dtype and in canonical form."""
    x = _checks.as_float_array(logits, name)
    given = jnp.asarray(logits).dtype
    narrow = given if given.itemsize == 2 else None
    _checks.check_axis_name(mesh_axis)
    classes = Classes(_checks.canonical_axis(axis, x.ndim, name), mesh_axis, narrow)
    return pin(logits, name), classes, _checks.as_where(where, x.shape, of=name)


def pin(logits: Array, name: str) -> jax.Array:
    """Return `logits` in the compute dtype, as values that every use of them shares.

    Inside jit XLA may compute them anew for each use, with other roundings (a contracted multiplication, one
    library's tanh or another's): the largest logit is then no longer equal to the maximum, and what rests
    on their difference is off by a unit in the last place of the *logits*. The barrier forbids that, but not to the
    CPU backend without its optimisations.
    """
    return _checks.as_float_array(jax.lax.optimization_barrier(jnp.asarray(logits)), name)


def include(x: jax.Array, where: jax.Array | None, classes: Classes) -> tuple[jax.Array, jax.Array | None]:
    """Return `x` with excluded elements at -inf, and which rows (axis kept) have any included.

    A row without any is filled with zeros: its loss is then finite and its derivative too, so that the
    caller's selection of 0 for it leaves no nan behind, whatever the row held.
    """
    if where is None:
        return x, None
    # a shard of one class has its own element of `where`, which says nothing of the others'
    whole_rows = where.shape[classes.axis] == 1 and (classes.mesh_axis is None or x.shape[classes.axis] > 1)
    counted = where if whole_rows else classes.any(where)
    outside = jnp.where(counted, -jnp.inf, 0).astype(x.dtype)
    return jax.lax.select(*jnp.broadcast_arrays(where, x, outside)), counted


def settle(values: jax.Array, counted: jax.Array | None, classes: Classes) -> jax.Array:
    """Drop the class axis, with 0 for the rows in which nothing is included."""
    return jnp.squeeze(values if counted is None else jnp.where(counted, values, 0), classes.axis)


class LogSum(NamedTuple):
    """log sum exp of each row as m + l, the axis kept: its maximum, and the log of the shifted sum.

    A value without a derivative of its own. Whoever takes it beside x is a function of x alone and says
    in its rule how it depends on x: a loss normalises its logits once, whatever its value and its
    derivatives of any order then make of them.

    Attributes:
        m: the maximum.
        l: log sum exp(x - m).
    """

    m: jax.Array
    l: jax.Array  # noqa: E741

    def log_p(self, x: jax.Array) -> jax.Array:
        """Return log softmax at the elements `x` of the rows."""
        return centre(x, self.m) - self.l

    def p(self, x: jax.Array) -> jax.Array:
        """Return softmax at the elements `x` of the rows, from the exponentials that were summed."""
        return jnp.minimum(jnp.exp(x - jnp.minimum(self.m, float(jnp.finfo(x.dtype).max))), 1) * jnp.exp(-self.l)

    def total(self) -> jax.Array:
        """Return m + l."""
        return jnp.where(self.m == jnp.inf, jnp.inf, self.m + self.l)


def normalise(x: jax.Array, classes: Classes, bad: jax.Array | None = None) -> LogSum:
    """Return the log-normaliser of `x`, nan in the rows told `bad`: all that is made of them is nan then."""
    m, log_sum = shift_and_log_sum(jax.lax.stop_gradient(x), classes)
    return LogSum(m, log_sum if bad is None else jnp.where(bad, jnp.nan, log_sum))


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def log_probs(x: jax.Array, log_sum: LogSum, classes: Classes) -> jax.Array:
    """Return log softmax(x), with its derivative."""
    del classes
    return log_sum.log_p(x)


@log_probs.defjvp
def _log_probs_jvp(classes: Classes, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    log_p = log_probs(*primals, classes)
    return log_p, _log_softmax_slope(log_p, tangents[0], classes)


@partial(jax.checkpoint, static_argnums=(2,), prevent_cse=False)
def _log_softmax_slope(log_p: jax.Array, t: jax.Array, classes: Classes) -> jax.Array:
    """Return d log p_i = (1 - p_i) t_i - sum_{j != i} p_j t_j, from log p alone, which is all that is kept.

    With u = p t the last sum is written sum_j u_j - u_i, so that for a one-hot tangent or cotangent it is
    exactly 0 at i, and 1 - p_i = -expm1(log p_i) keeps its digits: a confident class loses none.
    """
    u = jnp.exp(log_p) * t
    return -jnp.expm1(log_p) * t + (u - classes.sum_apart(u))


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def attach_probs(x: jax.Array, probs: jax.Array, classes: Classes) -> jax.Array:
    del x, classes
    return probs


@attach_probs.defjvp
def _attach_probs_jvp(classes: Classes, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    probs = attach_probs(*primals, classes)
    # Neither p (t - sum p t) nor a form whose transpose is that: XLA's CPU backend makes one slow kernel of it, and
    # jaxlib 0.10.2 a wrong one. Of the forms that differ in where the sum is negated this one escapes both ways.
    t = tangents[0]
    return probs, probs * t + probs * -classes.sum(probs * t)


def surprise(
    weights: jax.Array, x: jax.Array, log_sum: LogSum, classes: Classes, absent: jax.Array | None = None
) -> jax.Array:
    """Return sum_j -w_j log p_j with 0 (-inf) = 0, or the classes told `absent` left out.

    A log p beyond the largest float may have a product with w that is not: it is taken at half scale.
    """
    log_p = log_sum.log_p(x)
    absent = (weights == 0) & (log_p == -jnp.inf) if absent is None else absent
    beyond = (log_p == -jnp.inf) & (x > -jnp.inf) & (log_sum.m < jnp.inf) & ~absent
    half = jnp.where(beyond, log_sum.m / 2, 0) - jnp.where(beyond, x / 2, 0)
    underflown = (weights == 0) & (log_p == -jnp.inf) & ~absent  # a weight too small for a float, yet not 0
    terms = jnp.where(underflown, jnp.inf, weights * jnp.where(absent | beyond | underflown, 0, 0 - log_p))
    return classes.sum(jnp.where(absent, 0, jnp.where(beyond, 2 * (weights * half), terms)))


@partial(jax.custom_jvp, nondiff_argnums=(3,))
def attach_logsumexp(x: jax.Array, value: jax.Array, probs: jax.Array, classes: Classes) -> jax.Array:
    """Return `value`, which is log sum exp(x), with its gradient `probs`."""
    del x, probs, classes
    return value


@attach_logsumexp.defjvp
def attach_logsumexp_jvp(classes: Classes, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    x, value, probs = primals
    slope = classes.sum(attach_probs(x, probs, classes) * tangents[0])
    return attach_logsumexp(x, value, probs, classes), slope
