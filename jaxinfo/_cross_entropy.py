"""The softmax cross-entropy with all its terms, and its one derivative rule.

Every option adds weight to a term: a label, a distribution over the classes, the squared log-normaliser.
One rule for their sum keeps one array of the logits' size for backward, whatever the options.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike

from jaxinfo._classes import Classes
from jaxinfo._exact import exp_from, expm1
from jaxinfo._logratio import refined_probs
from jaxinfo._normalise import LogSum, attach_logsumexp, attach_probs, log_probs, surprise
from jaxinfo._platform import LARGEST, arithmetic_first, within


class Terms(NamedTuple):
    """What a loss is made of; a term that is None is not there. Every array has the logits' rank.

    Attributes:
        labels: the class of each row, -1 for one that does not exist.
        label_weight: multiplies -log p of the label.
        mass: multiplies -log p of each class.
        spread: the same mass for each finite class, their sum given.
        z_loss: multiplies the squared log-normaliser.
    """

    labels: jax.Array | None = None
    label_weight: jax.Array | None = None
    mass: jax.Array | None = None
    spread: jax.Array | None = None
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
    rest = jnp.asarray(1 - smoothing, x.dtype)
    if weight is None or weights is None:
        rows = labels.shape
        return Terms(
            labels, jnp.broadcast_to(rest, rows), spread=jnp.broadcast_to(jnp.asarray(smoothing, x.dtype), rows)
        )
    return Terms(labels, rest * weight, weights * _shares(x, smoothing, classes))


def distribution_terms(
    x: jax.Array, targets: jax.Array, weights: jax.Array | None, smoothing: ArrayLike, classes: Classes
) -> Terms:
    """w_j ((1 - a) t_j + a / K) at each class, a / K only at the K finite ones."""
    if acts(smoothing):
        targets = jnp.asarray(1 - smoothing, x.dtype) * targets + _shares(x, smoothing, classes)
    return Terms(mass=targets if weights is None else weights * targets)


def _shares(x: jax.Array, smoothing: ArrayLike, classes: Classes) -> jax.Array:
    """Return the part of the smoothing that each class gets: equal, and none at -inf."""
    # 1 above -inf and 0 at it, in arithmetic, which a selection would keep from being vectorised on the CPU. A constant
    # of x: its derivative of 0, times the infinite surprise of a class that lacks none of its mass, would be nan.
    finite = jnp.clip(jax.lax.stop_gradient(x) / 2 + float(jnp.finfo(x.dtype).max), 0, 1)
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
        loss = loss + _mass_loss(terms.mass, x, log_sum, classes, False)
    if terms.spread is not None:
        loss = loss + _mass_loss(terms.spread, x, log_sum, classes, True)
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
        of_mass = _mass_slope(x, terms.mass, log_sum, classes, False)
        slope, at_label = slope + of_mass, at_label + _at(terms.labels, of_mass, classes)
        if _moves(t_terms.mass):
            log_p = log_probs(x, log_sum, classes)
            absent = (terms.mass == 0) & (log_p == -jnp.inf)
            surprises = jnp.where(absent, 0, 0 - jnp.where(absent, 0, log_p))
            rates.append(classes.sum(_along(surprises, t_terms.mass)))
    if terms.spread is not None:
        of_spread = _mass_slope(x, terms.spread, log_sum, classes, True)
        slope, at_label = slope + of_spread, at_label + _at(terms.labels, of_spread, classes)
        if _moves(t_terms.spread):
            even = weighted_surprise(x, log_sum, Terms(spread=jnp.ones_like(terms.spread)), classes)
            rates.append(_along(even, t_terms.spread))
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


def _at(labels: jax.Array | None, slope: jax.Array, classes: Classes) -> ArrayLike:
    return 0 if labels is None else classes.pick(slope, labels)


def _mass_loss(mass: jax.Array, x: jax.Array, log_sum: LogSum, classes: Classes, even: bool) -> jax.Array:
    """Return sum_j -m_j log p_j; arithmetic alone serves unless a class with mass is absent."""

    def careful(mass: jax.Array, x: jax.Array, *log_sum: jax.Array) -> jax.Array:
        return surprise(_shares(x, mass, classes) if even else mass, x, LogSum(*log_sum), classes)

    def quick(mass: jax.Array, x: jax.Array, *log_sum: jax.Array) -> tuple[jax.Array, Callable[[], jax.Array]]:
        m, l = log_sum  # noqa: E741
        each, there = mass / classes.count(x) if even else mass, within(x)
        loss = classes.sum(each * (l - (there - m)))
        return _within_bounds(m) & _present(each, there, even, classes) & (jnp.abs(loss) < jnp.inf), lambda: loss

    return (careful if classes.mesh_axis is not None else partial(arithmetic_first, quick, careful))(mass, x, *log_sum)


@partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def _mass_slope(x: jax.Array, mass: jax.Array, log_sum: LogSum, classes: Classes, even: bool) -> jax.Array:
    """Return the slope (M - m_j) p_j - m_j (1 - p_j), M = sum(m): for a one-hot M - m_j is exactly 0 at its class."""
    careful = partial(_careful_mass_slope, classes=classes, even=even)

    def quick(x: jax.Array, mass: jax.Array, *log_sum: jax.Array) -> tuple[jax.Array, Callable[[], jax.Array]]:
        m, l = log_sum  # noqa: E741
        each, total = (mass / classes.count(x), mass) if even else (mass, classes.sum(mass))

        def make() -> jax.Array:
            there = within(x)
            p = exp_from(there, m) * jnp.exp(-l)
            return (total - each) * p + each * expm1((there - m) - l)

        present = _present(each, within(x), even, classes) if even else True  # an absent class with mass has slope -m_j
        return _within_bounds(m) & (l < jnp.inf) & present, make

    return (careful if classes.mesh_axis is not None else partial(arithmetic_first, quick, careful))(x, mass, *log_sum)


@_mass_slope.defjvp
def _mass_slope_jvp(classes: Classes, even: bool, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    x, mass, (m, l) = primals  # noqa: E741
    careful = jax.jvp(lambda x, mass: _careful_mass_slope(x, mass, m, l, classes, even), (x, mass), tangents[:2])
    return _mass_slope(*primals, classes, even), careful[1]


def _careful_mass_slope(
    x: jax.Array, mass: jax.Array, m: jax.Array, log_sum: jax.Array, classes: Classes, even: bool
) -> jax.Array:
    mass, row = _shares(x, mass, classes) if even else mass, LogSum(m, log_sum)
    log_p = log_probs(x, row, classes)
    return (classes.sum(mass) - mass) * refined_probs(x, log_p, row) + mass * jnp.expm1(log_p)


def _present(mass: jax.Array, x: jax.Array, even: bool, classes: Classes) -> jax.Array:
    """Whether every class that has mass, however little, has a logit within bounds; for even mass every class."""
    some = 1 if even else jnp.minimum(jnp.maximum(mass, -mass) * (1 / float(jnp.finfo(x.dtype).tiny)), 1)
    return classes.max(some * -x) < LARGEST / 2


def _within_bounds(m: jax.Array) -> jax.Array:
    return jnp.abs(m) < LARGEST / 2


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
