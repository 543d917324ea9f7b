"""The part of a cross-entropy that lies on the classes: a mass for each, or the same for all, in value and slope."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxinfo._classes import Classes
from jaxinfo._exact import exp_from, expm1
from jaxinfo._logratio import refined_probs
from jaxinfo._normalise import LogSum, log_probs, surprise
from jaxinfo._platform import LARGEST, arithmetic_first, within


def shares(x: jax.Array, smoothing: ArrayLike, classes: Classes) -> jax.Array:
    """Return the part of the smoothing that each class gets: equal, and none at -inf."""
    # 1 above -inf and 0 at it, in arithmetic, which a selection would keep from being vectorised on the CPU. A constant
    # of x: its derivative of 0, times the infinite surprise of a class that lacks none of its mass, would be nan.
    finite = jnp.clip(jax.lax.stop_gradient(x) / 2 + float(jnp.finfo(x.dtype).max), 0, 1)
    return finite * (smoothing / jnp.maximum(classes.sum(finite), 1))


def mass_loss(mass: jax.Array, x: jax.Array, log_sum: LogSum, classes: Classes, even: bool) -> jax.Array:
    """Return sum_j -m_j log p_j; arithmetic alone serves unless a class with mass is absent."""

    def careful(mass: jax.Array, x: jax.Array, *log_sum: jax.Array) -> jax.Array:
        return surprise(shares(x, mass, classes) if even else mass, x, LogSum(*log_sum), classes)

    def quick(mass: jax.Array, x: jax.Array, *log_sum: jax.Array) -> tuple[jax.Array, Callable[[], jax.Array]]:
        m, l = log_sum  # noqa: E741
        each, there = mass / classes.count(x) if even else mass, within(x)
        loss = classes.sum(each * (l - (there - m)))
        return _within_bounds(m) & _present(each, there, even, classes) & (jnp.abs(loss) < jnp.inf), lambda: loss

    return (careful if classes.mesh_axis is not None else partial(arithmetic_first, quick, careful))(mass, x, *log_sum)


@partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def mass_slope(x: jax.Array, mass: jax.Array, log_sum: LogSum, classes: Classes, even: bool) -> jax.Array:
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


@mass_slope.defjvp
def _mass_slope_jvp(classes: Classes, even: bool, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    x, mass, (m, l) = primals  # noqa: E741
    careful = jax.jvp(lambda x, mass: _careful_mass_slope(x, mass, m, l, classes, even), (x, mass), tangents[:2])
    return mass_slope(*primals, classes, even), careful[1]


def _careful_mass_slope(
    x: jax.Array, mass: jax.Array, m: jax.Array, log_sum: jax.Array, classes: Classes, even: bool
) -> jax.Array:
    mass, row = shares(x, mass, classes) if even else mass, LogSum(m, log_sum)
    log_p = log_probs(x, row, classes)
    return (classes.sum(mass) - mass) * refined_probs(x, log_p, row) + mass * jnp.expm1(log_p)


def _present(mass: jax.Array, x: jax.Array, even: bool, classes: Classes) -> jax.Array:
    """Whether every class that has mass, however little, has a logit within bounds; for even mass every class."""
    some = 1 if even else jnp.minimum(jnp.maximum(mass, -mass) * (1 / float(jnp.finfo(x.dtype).tiny)), 1)
    return classes.max(some * -x) < LARGEST / 2


def _within_bounds(m: jax.Array) -> jax.Array:
    return jnp.abs(m) < LARGEST / 2
