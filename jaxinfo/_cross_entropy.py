"""The softmax cross-entropy with all its terms, and its one derivative rule.

Every option adds weight to a term: a label, a distribution over the classes, the squared log-normaliser.
One rule for their sum keeps one array of the logits' size for backward, whatever the options.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike

from jaxinfo._classes import Classes
from jaxinfo._logratio import refined_probs
from jaxinfo._normalise import LogSum, attach_logsumexp, attach_probs, log_probs, surprise


class Terms(NamedTuple):
    """What a loss is made of; a term that is None is not there. Every array has the logits' rank.

    Attributes:
        labels: the class of each row, -1 for one that does not exist.
        label_weight: multiplies -log p of the label.
        mass: multiplies -log p of each class.
        z_loss: multiplies the squared log-normaliser.
    """

    labels: jax.Array | None = None
    label_weight: jax.Array | None = None
    mass: jax.Array | None = None
    z_loss: jax.Array | None = None


def acts(option: ArrayLike) -> bool:
    """Whether an option does anything: a Python 0 does not, a traced one may."""
    return isinstance(option, jax.Array) or option != 0


def label_terms(
    x: jax.Array, labels: jax.Array, weights: jax.Array | None, smoothing: ArrayLike, classes: Classes
) -> Terms:
    """(1 - a) w_y at the label and a / K w_j at each of the K finite classes: no one-hot is made."""
    weight = None if weights is None else classes.pick_weight(weights, labels, x)
    if not acts(smoothing):
        return Terms(labels, weight)
    shares = _shares(x, smoothing, classes)
    rest = jnp.asarray(1 - smoothing, x.dtype)
    weight = jnp.broadcast_to(rest, labels.shape) if weight is None else rest * weight
    return Terms(labels, weight, shares if weights is None else weights * shares)


def distribution_terms(
    x: jax.Array, targets: jax.Array, weights: jax.Array | None, smoothing: ArrayLike, classes: Classes
) -> Terms:
    """w_j ((1 - a) t_j + a / K) at each class, a / K only at the K finite ones."""
    if acts(smoothing):
        targets = jnp.asarray(1 - smoothing, x.dtype) * targets + _shares(x, smoothing, classes)
    return Terms(mass=targets if weights is None else weights * targets)


def _shares(x: jax.Array, smoothing: ArrayLike, classes: Classes) -> jax.Array:
    """Return the part of the smoothing that each class gets: equal, and none at -inf."""
    finite = (x > -jnp.inf).astype(x.dtype)
    return finite * (smoothing / jnp.maximum(classes.sum(finite), 1))


@partial(jax.custom_jvp, nondiff_argnums=(3,))
def weighted_surprise(x: jax.Array, log_sum: LogSum, terms: Terms, classes: Classes) -> jax.Array:
    """Return the sum of the terms for each row, the axis kept; `log_sum` is the log-normaliser of x.

    A row whose label does not exist has a log-normaliser of nan, so that its value and its derivatives of
    every order are nan.
    """
    loss = jnp.zeros((), x.dtype)
    if terms.labels is not None:
        loss = _scaled(terms.label_weight, _label_loss(x, log_sum, terms.labels, classes))
    if terms.mass is not None:
        loss = loss + surprise(terms.mass, x, log_sum, classes)
    if terms.z_loss is not None:
        loss = loss + terms.z_loss * log_sum.total() ** 2
    return loss


@partial(weighted_surprise.defjvp, symbolic_zeros=True)
def _weighted_surprise_jvp(classes: Classes, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    x, log_sum, terms = primals
    t_x, _, t_terms = tangents
    out = weighted_surprise(*primals, classes)
    p = attach_probs(x, jax.lax.stop_gradient(log_sum.p(x)), classes)
    rates, slope, at_label = [jnp.zeros_like(out)], jnp.zeros((), x.dtype), jnp.zeros((), x.dtype)
    if terms.z_loss is not None:
        log_z_x = attach_logsumexp(x, log_sum.total(), jax.lax.stop_gradient(p), classes)
        slope = 2 * terms.z_loss * log_z_x
        if _moves(t_terms.z_loss):
            rates.append(_along(log_z_x**2, t_terms.z_loss))
    if terms.labels is not None:
        weight = 1 if terms.label_weight is None else terms.label_weight
        loss = weighted_surprise(x, log_sum, Terms(terms.labels), classes)
        # p_y - 1 = expm1(log p_y), so that a confident row keeps its digits
        at_label = slope * jnp.exp(-loss) + weight * jnp.expm1(-loss)
        slope = slope + weight
        if _moves(t_terms.label_weight):
            rates.append(_along(_unless_silent(terms.label_weight, loss), t_terms.label_weight))
    slope = slope * p
    if terms.mass is not None:
        # (M - m_j) p_j - m_j (1 - p_j), with M = sum(m): for a one-hot M - m_j is exactly 0 at its class
        log_p = log_probs(x, log_sum, classes)
        refined = refined_probs(x, log_p, log_sum)
        of_mass = (classes.sum(terms.mass) - terms.mass) * refined + terms.mass * jnp.expm1(log_p)
        slope = slope + of_mass
        if terms.labels is not None:
            at_label = at_label + classes.pick(of_mass, terms.labels)
        if _moves(t_terms.mass):
            absent = (terms.mass == 0) & (log_p == -jnp.inf)
            surprises = jnp.where(absent, 0, 0 - jnp.where(absent, 0, log_p))
            rates.append(classes.sum(_along(surprises, t_terms.mass)))
    if _moves(t_x):
        rates.append(_directional(slope, at_label, t_x, terms.labels, classes))
    return out, sum(rates[1:], rates[0])


def _directional(
    slope: jax.Array, at_label: jax.Array, t: jax.Array, labels: jax.Array | None, classes: Classes
) -> jax.Array:
    """Return sum_j slope_j t_j, with the slope at the label replaced by `at_label`."""
    if labels is None:
        return classes.sum(slope * t)
    others, there = classes.split(t, labels)
    return classes.sum(slope * others) + at_label * there


def _label_loss(x: jax.Array, log_sum: LogSum, labels: jax.Array, classes: Classes) -> jax.Array:
    """-log p at the label; the logit is picked first, so that no log-probability of another class is made."""
    return 0 - log_sum.log_p(classes.pick(x, labels))


def _moves(tangent: object) -> bool:
    return tangent is not None and not isinstance(tangent, SymbolicZero)


def _along(slope: jax.Array, tangent: jax.Array) -> jax.Array:
    """Return slope * tangent with inf * 0 = 0, as a product, which stays linear in the tangent."""
    infinite = slope == jnp.inf
    largest = jnp.asarray(jnp.finfo(slope.dtype).max, slope.dtype)
    return tangent * jnp.where(infinite, largest, slope) * jnp.where(infinite, largest, 1)


def _unless_silent(weight: jax.Array | None, loss: jax.Array) -> jax.Array:
    """Return the loss, and 0 where its weight is 0 and it is +inf: what has no weight has no say."""
    return loss if weight is None else jnp.where((weight == 0) & (loss == jnp.inf), 0, loss)


def _scaled(weight: jax.Array | None, loss: jax.Array) -> jax.Array:
    return loss if weight is None else weight * _unless_silent(weight, loss)
