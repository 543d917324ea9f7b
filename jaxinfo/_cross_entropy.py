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
from jaxinfo._exact import along
from jaxinfo._mass import mass_loss, mass_slope, shares
from jaxinfo._normalise import LogSum, attach_logsumexp, attach_probs, log_probs


class Terms(NamedTuple):
    """What a loss is made of; a term that is None is not there. Every array has the logits' rank.

    Attributes:
        labels: the class of each row, -1 for one that does not exist.
        label_weight: multiplies -log p of the label.
        mass: multiplies -log p of each class.
        spread: the same mass for each finite class, their sum given.
        z_loss: multiplies the squared log-normaliser.
        lower: by how much the logits are lower than those whose log-normaliser is squared; there if `z_loss` is.
    """

    labels: jax.Array | None = None
    label_weight: jax.Array | None = None
    mass: jax.Array | None = None
    spread: jax.Array | None = None
    z_loss: jax.Array | None = None
    lower: jax.Array | None = None


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
    rest = jnp.asarray(1 - smoothing, x.dtype)
    if weight is None or weights is None:
        rows = labels.shape
        return Terms(
            labels, jnp.broadcast_to(rest, rows), spread=jnp.broadcast_to(jnp.asarray(smoothing, x.dtype), rows)
        )
    return Terms(labels, rest * weight, weights * shares(x, smoothing, classes))


def distribution_terms(
    x: jax.Array, targets: jax.Array, weights: jax.Array | None, smoothing: ArrayLike, classes: Classes
) -> Terms:
    """w_j ((1 - a) t_j + a / K) at each class, a / K only at the K finite ones."""
    if acts(smoothing):
        targets = jnp.asarray(1 - smoothing, x.dtype) * targets + shares(x, smoothing, classes)
    return Terms(mass=targets if weights is None else weights * targets)


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
        loss = loss + mass_loss(terms.mass, x, log_sum, classes, False)
    if terms.spread is not None:
        loss = loss + mass_loss(terms.spread, x, log_sum, classes, True)
    if terms.z_loss is not None and terms.lower is not None:
        log_z = silenced(log_sum.total() + terms.lower, terms.z_loss)
        loss = loss + (terms.z_loss * log_z) * log_z
    return loss


@partial(weighted_surprise.defjvp, symbolic_zeros=True)
def _weighted_surprise_jvp(classes: Classes, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    x, log_sum, terms = primals
    t_x, _, t_terms = tangents
    out = weighted_surprise(*primals, classes)
    p, loss = _probs_and_loss(x, log_sum, terms.labels, classes)
    rates, slope, at_label = [jnp.zeros_like(out)], jnp.zeros((), x.dtype), jnp.zeros((), x.dtype)
    if terms.labels is not None:
        weight = 1 if terms.label_weight is None else terms.label_weight
        # p_y - 1 = expm1(log p_y), so that a confident row keeps its digits
        slope, at_label = weight * p, weight * jnp.expm1(-loss)
        if _moves(t_terms.label_weight):
            rates.append(along(_unless_silent(terms.label_weight, loss), t_terms.label_weight))
    if terms.mass is not None:
        of_mass = mass_slope(x, terms.mass, log_sum, classes, False)
        slope, at_label = slope + of_mass, at_label + _at(terms.labels, of_mass, classes)
        if _moves(t_terms.mass):
            log_p = log_probs(x, log_sum, classes)
            absent = (terms.mass == 0) & (log_p == -jnp.inf)
            surprises = jnp.where(absent, 0, 0 - jnp.where(absent, 0, log_p))
            rates.append(classes.sum(along(surprises, t_terms.mass)))
    if terms.spread is not None:
        of_spread = mass_slope(x, terms.spread, log_sum, classes, True)
        slope, at_label = slope + of_spread, at_label + _at(terms.labels, of_spread, classes)
        if _moves(t_terms.spread):
            even = weighted_surprise(x, log_sum, Terms(spread=jnp.ones_like(terms.spread)), classes)
            rates.append(along(even, t_terms.spread))
    if terms.z_loss is not None and terms.lower is not None:
        log_z = terms.lower + attach_logsumexp(x, log_sum.total(), jax.lax.stop_gradient(p), classes)
        rate, unit = _in_units(2 * terms.z_loss * silenced(log_z, terms.z_loss))
        slope, at_label = slope / unit + rate * p, at_label / unit + rate * jnp.exp(-loss)
        if _moves(t_terms.z_loss):
            rates.append(along(log_z**2, t_terms.z_loss))
        if _moves(t_terms.lower):
            rates.append(along(2 * terms.z_loss * silenced(log_z, terms.z_loss), t_terms.lower))
        t_x = t_x * unit if _moves(t_x) else t_x
    if _moves(t_x):
        rates.append(_directional(slope, at_label, t_x, terms.labels, classes))
    return out, sum(rates[1:], rates[0])


def silenced(log_z: jax.Array, rate: ArrayLike) -> jax.Array:
    """Return `log_z`, 0 where it is infinite and the `rate` that is about to multiply it is 0."""
    return jnp.where((rate == 0) & jnp.isinf(log_z), 0, log_z)


def _probs_and_loss(
    x: jax.Array, log_sum: LogSum, labels: jax.Array | None, classes: Classes
) -> tuple[jax.Array, jax.Array]:
    """Return softmax and the loss of the labels, 0 without any, to be differentiated again."""
    p = jax.lax.stop_gradient(log_sum.p(x))
    if labels is None:
        return attach_probs(x, p, classes), jnp.zeros((), x.dtype)
    loss = jax.lax.stop_gradient(_label_loss(x, log_sum, labels, classes))
    return _attach_probs_and_loss(x, p, loss, labels, classes)


@partial(jax.custom_jvp, nondiff_argnums=(4,))
def _attach_probs_and_loss(
    x: jax.Array, p: jax.Array, loss: jax.Array, labels: jax.Array, classes: Classes
) -> tuple[jax.Array, jax.Array]:
    """Return softmax and the loss of the labels with their derivatives, which share one sum over the classes.

    The label is taken out of p, once for all products with one Hessian, and not out of each tangent.
    """
    del x, labels, classes
    return p, loss


@_attach_probs_and_loss.defjvp
def _attach_probs_and_loss_jvp(classes: Classes, primals: tuple, tangents: tuple) -> tuple[tuple, tuple]:
    labels = primals[3]
    p, loss = _attach_probs_and_loss(*primals, classes)
    t = tangents[0]
    others, _ = classes.split(p, labels)
    rest, there = classes.sum(others * t), classes.pick(t, labels)
    t_p = p * t - p * (rest + jnp.exp(-loss) * there)
    return (p, loss), (t_p, rest + jnp.expm1(-loss) * there)


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
    return 0 - log_sum.log_p(classes.pick_logit(x, labels))


def _at(labels: jax.Array | None, slope: jax.Array, classes: Classes) -> ArrayLike:
    return 0 if labels is None else classes.pick_made(slope, labels)


def _moves(tangent: object) -> bool:
    return tangent is not None and not isinstance(tangent, SymbolicZero)


def _in_units(rate: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the rate and its unit, 1: an infinite rate is the largest number in a unit so large that both make inf.

    Divided by the unit, what is added to it keeps its digits, and no product with a 0 is nan on the way.
    """
    infinite, largest = jnp.isinf(rate), float(jnp.finfo(rate.dtype).max)
    root = 2.0 ** (jnp.finfo(rate.dtype).maxexp // 2)
    return jnp.where(infinite, jnp.sign(rate) * largest, rate), jnp.where(infinite, root, 1).astype(rate.dtype)


def _unless_silent(weight: jax.Array | None, loss: jax.Array) -> jax.Array:
    """Return the loss, and 0 where its weight is 0 and it is +inf: what has no weight has no say."""
    return loss if weight is None else jnp.where((weight == 0) & (loss == jnp.inf), 0, loss)


def _scaled(weight: jax.Array | None, loss: jax.Array) -> jax.Array:
    return loss if weight is None else weight * _unless_silent(weight, loss)
