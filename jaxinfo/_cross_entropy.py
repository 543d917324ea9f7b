"""The cross-entropy of labels and of distributions, with their derivative rules.

Each function takes the logits and their normalised logarithm, a function of them handed in so as to be
computed once and without a derivative of its own: the rules differentiate with respect to the logits.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxinfo._classes import Classes
from jaxinfo._numerics import attach, surprise


def acts(option: ArrayLike) -> bool:
    """Whether an option does anything: a Python 0 does not, a traced one may."""
    return isinstance(option, jax.Array) or option != 0


def labels_loss(
    x: jax.Array,
    log_p: jax.Array,
    labels: jax.Array,
    weights: jax.Array | None,
    smoothing: ArrayLike,
    classes: Classes,
) -> jax.Array:
    """(1 - a) w_y (-log p_y) + (a / K) sum_j w_j (-log p_j) over the K finite classes: no one-hot is made."""
    loss = _label(x, log_p, labels, classes)
    if weights is not None:
        loss = _scaled(classes.pick_weight(weights, labels, x), loss)
    if not acts(smoothing):
        return loss
    finite, share = _uniform(x, smoothing, classes)
    everywhere = jnp.where(finite, 1 if weights is None else weights, 0).astype(x.dtype)
    return _scaled(1 - smoothing, loss) + share * _distribution(x, log_p, everywhere, classes)


def distribution_loss(
    x: jax.Array,
    log_p: jax.Array,
    targets: jax.Array,
    weights: jax.Array | None,
    smoothing: ArrayLike,
    classes: Classes,
) -> jax.Array:
    """sum_j w_j ((1 - a) t_j + a / K) (-log p_j), the smoothing over the K finite classes."""
    if acts(smoothing):
        finite, share = _uniform(x, smoothing, classes)
        targets = (1 - smoothing) * targets + jnp.where(finite, share, 0)
    return _distribution(x, log_p, targets if weights is None else weights * targets, classes)


def _uniform(x: jax.Array, smoothing: ArrayLike, classes: Classes) -> tuple[jax.Array, jax.Array]:
    """Return which classes are finite, and what each of them gets of the smoothing."""
    finite = x > -jnp.inf
    return finite, smoothing / jnp.maximum(classes.sum(finite.astype(x.dtype)), 1)


def _scaled(factor: ArrayLike, loss: jax.Array) -> jax.Array:
    """Return factor * loss with 0 * inf = 0: what has no weight has no say."""
    silent = (factor == 0) & (loss == jnp.inf)
    return factor * jnp.where(silent, 0, loss)


@partial(jax.custom_jvp, nondiff_argnums=(3,))
def _label(x: jax.Array, log_p: jax.Array, labels: jax.Array, classes: Classes) -> jax.Array:
    del x
    return 0 - classes.pick(log_p, labels)


@partial(_label.defjvp, symbolic_zeros=True)
def _label_jvp(classes: Classes, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    """d loss = sum_j (p_j - [j = y]) t_j, with p_y - 1 = expm1(-loss) so that a confident row keeps its digits."""
    x, log_p, labels = primals
    log_p_x = attach(x, log_p, classes)
    loss = 0 - classes.pick(log_p_x, labels)
    slope = jnp.where(classes.index(x) == labels, jnp.expm1(-loss), jnp.exp(log_p_x))
    slope = jnp.where(jnp.isnan(loss), jnp.nan, slope)
    return _label(x, log_p, labels, classes), classes.slope((slope, tangents[0]))


@partial(jax.custom_jvp, nondiff_argnums=(3,))
def _distribution(x: jax.Array, log_p: jax.Array, targets: jax.Array, classes: Classes) -> jax.Array:
    del x
    return classes.sum(surprise(targets, log_p))


@partial(_distribution.defjvp, symbolic_zeros=True)
def _distribution_jvp(classes: Classes, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    """d loss = sum_j ((T - t_j) p_j - t_j (1 - p_j)) dx_j - sum_j log p_j dt_j, with T = sum(t).

    For a one-hot target T - t_j is exactly 0 at its class, and 1 - p_j = -expm1(log p_j) keeps its digits.
    """
    x, log_p, targets = primals
    log_p_x = attach(x, log_p, classes)
    slope = (classes.sum(targets) - targets) * jnp.exp(log_p_x) + targets * jnp.expm1(log_p_x)
    absent = (targets == 0) & (log_p == -jnp.inf)
    slope_targets = jnp.where(absent, 0, 0 - jnp.where(absent, 0, log_p_x))
    return _distribution(x, log_p, targets, classes), classes.slope((slope, tangents[0]), (slope_targets, tangents[2]))
