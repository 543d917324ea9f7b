"""The measures of distributions given by logits: entropy, cross-entropy, KL divergence, and their units."""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxinfo import _checks
from jaxinfo._classes import Classes
from jaxinfo._kl import kl
from jaxinfo._normalise import LogSum, include, log_probs, normalise, pin, prepare, settle, surprise


def entropy(p: Float[Array, "..."], *, axis: int = -1, where: Bool[Array, "..."] | None = None) -> Float[Array, "..."]:
    r"""Entropy of the distribution softmax(p), in nats.

    .. math:: H(P) = -\sum_j p_j \log p_j

    Args:
        p: logits of P along `axis` (log-probabilities and log-counts are logits too); -inf is a class that
            does not exist, and a single +inf is all the mass.
        axis: the class axis.
        where: the elements to include, broadcastable to `p`.

    Returns:
        One value per row, in [0, log V]; 0 where nothing is included, nan for a row that is no distribution
        (all -inf, two +inf, a nan).

    Raises:
        TypeError: `p` is not floating or `where` not boolean.
        ValueError: `axis` or the shape of `where` does not fit.

    Gradient:
        -p (log p + H), 0 where p is 0. All modes and orders.

    Accuracy:
        Relative error within (8 + abs(log H)) eps, near-deterministic rows included
        (tests/core/test_precision.py).

    Examples:
        >>> import jax.numpy as jnp
        >>> round(float(entropy(jnp.zeros(8)) / jnp.log(2.0)), 6)  # eight equal classes: 3 bits
        3.0
    """
    x, classes, where = prepare(p, axis, where, "p")
    x, counted = include(x, where, classes)
    return settle(_entropy(x, normalise(x, classes), classes), counted, classes)


def cross_entropy(
    p: Float[Array, "..."], q: Float[Array, "..."], *, axis: int = -1, where: Bool[Array, "..."] | None = None
) -> Float[Array, "..."]:
    r"""Cross-entropy of softmax(q) under softmax(p), in nats.

    .. math:: H(P, Q) = -\sum_j p_j \log q_j = H(P) + \mathrm{KL}(P \| Q)

    Args:
        p: logits of P, the distribution the outcomes come from.
        q: logits of Q, the distribution that describes them, in the shape of `p`.
        axis: the class axis.
        where: the elements to include, broadcastable to `p`.

    Returns:
        One value per row, at least H(P); +inf where Q lacks a class that P has, 0 where nothing is included.

    Raises:
        TypeError: `p` or `q` is not floating or `where` not boolean.
        ValueError: the shapes differ, or `axis` or the shape of `where` does not fit.

    Gradient:
        To q: softmax(q) - softmax(p). To p: -p (log q + H(P, Q)), and 0 everywhere in a row whose value is
        +inf, where no finite limit exists. All modes and orders.

    Accuracy:
        A sum of non-negative terms, each right to a few eps (tests/core/test_precision.py).

    Examples:
        >>> import jax.numpy as jnp
        >>> p, q = jnp.log(jnp.array([0.5, 0.5])), jnp.log(jnp.array([0.25, 0.75]))
        >>> round(float(cross_entropy(p, q)), 6)
        0.836988
    """
    a, b, classes, counted = prepare_pair(p, q, axis, where)
    value = _cross_entropy(a, b, normalise(a, classes), normalise(b, classes), classes)
    return settle(value, counted, classes)


def kl_divergence(
    p: Float[Array, "..."], q: Float[Array, "..."], *, axis: int = -1, where: Bool[Array, "..."] | None = None
) -> Float[Array, "..."]:
    r"""Kullback-Leibler divergence of softmax(q) from softmax(p), in nats.

    .. math:: \mathrm{KL}(P \| Q) = \sum_j p_j \log \frac{p_j}{q_j} = \sum_j p_j \, (e^{d_j} - 1 - d_j),
              \qquad d = \log q - \log p

    The second form is the one computed: each of its terms is non-negative, so nothing cancels.

    Args:
        p: logits of P, the reference.
        q: logits of Q, the approximation, in the shape of `p`.
        axis: the class axis.
        where: the elements to include, broadcastable to `p`.

    Returns:
        One value per row, never negative; exactly 0 where `q` is `p` up to a shift and where nothing is
        included; +inf where Q lacks a class that P has (0 log 0 = 0 where P lacks it).

    Raises:
        TypeError: `p` or `q` is not floating or `where` not boolean.
        ValueError: the shapes differ, or `axis` or the shape of `where` does not fit.

    Gradient:
        To q: softmax(q) - softmax(p), as p expm1(d). To p: -p (KL + d), and 0 everywhere in a row whose
        value is +inf, where no finite limit exists. All modes and orders.

    Accuracy:
        Relative error within 16 eps from far apart down to logits that differ by 1e-6, the gradients within
        32 eps normwise (tests/core/test_kl.py); a difference of log-softmaxes is 26 % off at 1e-3.

    Examples:
        >>> import jax.numpy as jnp
        >>> p = jnp.array([1.0, 2.0, 3.0])
        >>> float(kl_divergence(p, p + 10.0))
        0.0
        >>> round(float(kl_divergence(p, jnp.zeros(3))), 6)
        0.266217
    """
    a, b, classes, counted = prepare_pair(p, q, axis, where)
    return settle(kl(a, b, classes), counted, classes)


def to_bits(nats: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return nats in bits: divided by log 2.

    Examples:
        >>> import jax.numpy as jnp
        >>> round(float(to_bits(jnp.log(8.0))), 6)
        3.0
    """
    return _checks.as_float_array(nats, "nats") / math.log(2)


def perplexity(cross_entropy: Float[Array, "..."]) -> Float[Array, "..."]:
    """Return exp of a cross-entropy in nats: the number of equally likely outcomes that are as surprising.

    Take the mean over examples first: the mean of perplexities is another, larger number.

    Examples:
        >>> import jax.numpy as jnp
        >>> round(float(perplexity(jnp.log(50.0))), 4)
        50.0
    """
    return jnp.exp(_checks.as_float_array(cross_entropy, "cross_entropy"))


def prepare_pair(
    p: Array, q: Array, axis: int, where: Array | None
) -> tuple[jax.Array, jax.Array, Classes, jax.Array | None]:
    """Return two distributions' logits, checked: in one dtype, excluded classes at -inf, and the rows that count."""
    a, classes, where = prepare(p, axis, where, "p")
    _checks.check_same_shape(_checks.as_float_array(q, "q"), a.shape, name="q", of="p")
    if jnp.asarray(q).dtype != classes.narrow:  # both are read as half precision, or neither
        classes = classes.widened()
    a, b = _checks.promote(a, pin(q, "q"))
    (a, counted), (b, _) = include(a, where, classes), include(b, where, classes)
    return a, b, classes, counted


# Each function below takes logits and their log-normalisers, handed in so as to be computed once: it is a
# function of the logits alone, and its rule differentiates with respect to them.


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _entropy(a: jax.Array, sum_a: LogSum, classes: Classes) -> jax.Array:
    return surprise(jnp.exp(sum_a.log_p(a)), a, sum_a, classes)


@_entropy.defjvp
def _entropy_jvp(classes: Classes, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    """dH = -sum p (log p + H) t, with log p + H taken as a less its mean: near-uniform rows cancel less."""
    a, sum_a = primals
    log_p = log_probs(a, sum_a, classes)
    p = jnp.exp(log_p)
    absent = (log_p == -jnp.inf) | (a == jnp.inf)
    level = jnp.where(absent, 0, a) - jnp.where(absent, 0, sum_a.m)
    slope = -p * (level - classes.sum_apart(p * level))
    return _entropy(a, sum_a, classes), classes.sum(slope * tangents[0])


@partial(jax.custom_jvp, nondiff_argnums=(4,))
def _cross_entropy(a: jax.Array, b: jax.Array, sum_a: LogSum, sum_b: LogSum, classes: Classes) -> jax.Array:
    log_p = sum_a.log_p(a)
    return surprise(jnp.exp(log_p), b, sum_b, classes, absent=log_p == -jnp.inf)


@partial(_cross_entropy.defjvp, symbolic_zeros=True)
def _cross_entropy_jvp(classes: Classes, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    """dH(P, Q) = sum (q - p) t_b - sum p (log q + H(P, Q)) t_a; where it is +inf there is no limit in a: 0."""
    a, b, sum_a, sum_b = primals
    out = _cross_entropy(*primals, classes)
    log_p, log_q = log_probs(a, sum_a, classes), log_probs(b, sum_b, classes)
    p, q = jnp.exp(log_p), jnp.exp(log_q)
    infinite = out == jnp.inf
    level = jnp.where(infinite | (log_p == -jnp.inf), 0, log_q) + jnp.where(infinite, 0, out)
    valid = jnp.where(jnp.isnan(out), jnp.nan, 1)
    slope_a = jnp.where(infinite, 0, -p * level)
    return out, classes.slope((valid * slope_a, tangents[0]), (valid * (q - p), tangents[1]))
