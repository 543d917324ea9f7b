"""The part of a cross-entropy that lies on the classes: a mass for each, or the same for all, in value and slope."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxinfo._classes import Classes
from jaxinfo._exact import expm1, two_diff
from jaxinfo._logratio import refined_probs
from jaxinfo._normalise import LogSum, log_probs, surprise
from jaxinfo._platform import LARGEST, arithmetic_first, within
from jaxinfo._rows import lowered


def shares(x: jax.Array, smoothing: ArrayLike, classes: Classes) -> jax.Array:
    """Return the part of the smoothing that each class gets: equal, and none at -inf."""
    # 1 above -inf and 0 at it, in arithmetic, which a selection would keep from being vectorised on the CPU. A constant
    # of x: its derivative of 0, times the infinite surprise of a class that lacks none of its mass, would be nan.
    finite = jnp.clip(jax.lax.stop_gradient(x) / 2 + float(jnp.finfo(x.dtype).max), 0, 1)
    return finite * (smoothing / jnp.maximum(classes.sum(finite), 1))


def mass_loss(mass: jax.Array, x: jax.Array, log_sum: LogSum, classes: Classes, even: bool) -> jax.Array:
    """Return sum_j -m_j log p_j; arithmetic alone serves unless a class with mass is absent."""

    def careful(mass: jax.Array, x: jax.Array, *log_sum: jax.Array) -> jax.Array:
        x = x.astype(mass.dtype)
        return surprise(shares(x, mass, classes) if even else mass, x, LogSum(*log_sum), classes)

    def masked(mass: jax.Array, x: jax.Array, *log_sum: jax.Array) -> tuple[jax.Array, Callable[[], jax.Array]]:
        x = within(x.astype(mass.dtype))
        served, make = plain(mass, x, *log_sum)
        return served & _present(mass, x, even, classes), make

    def plain(mass: jax.Array, x: jax.Array, *log_sum: jax.Array) -> tuple[jax.Array, Callable[[], jax.Array]]:
        loss = _unguarded(mass, x, LogSum(*log_sum), classes, even)
        return _served(log_sum[0], loss), lambda: loss

    if classes.mesh_axis is not None:
        return careful(mass, x, *log_sum)
    return arithmetic_first(plain, partial(arithmetic_first, masked, careful), mass, classes.narrowed(x), *log_sum)


@partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def mass_slope(x: jax.Array, mass: jax.Array, log_sum: LogSum, classes: Classes, even: bool) -> jax.Array:
    """Return the slope (M - m_j) p_j - m_j (1 - p_j), M = sum(m): for a one-hot M - m_j is exactly 0 at its class."""
    careful = partial(_careful_mass_slope, classes=classes, even=even)

    def quick(x: jax.Array, mass: jax.Array, *log_sum: jax.Array) -> tuple[jax.Array, Callable[[], jax.Array]]:
        m, l = log_sum  # noqa: E741
        each, total = (mass / classes.count(x), mass) if even else (mass, classes.sum(mass))

        def make() -> jax.Array:
            high, low = two_diff(within(x), m)
            p = jnp.exp(high) * (1 + low) * jnp.exp(-l)
            rest = jnp.where(high == 0, -expm1(-l), 1 - p)  # only the likeliest class has a p that 1 - p cancels
            return (total - each) * p - each * rest

        # an absent class has its slope of -m_j if it has mass, and no even share of it
        return _served(m, _unguarded(mass, classes.narrowed(x), LogSum(m, l), classes, even) if even else l), make

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


def _unguarded(mass: jax.Array, x: jax.Array, log_sum: LogSum, classes: Classes, even: bool) -> jax.Array:
    """Return the loss without regard to infinite logits, each of which makes it infinite or nan."""
    return classes.sum((mass / classes.count(x) if even else mass) * (log_sum.l - lowered(x, log_sum.m)))


def _served(m: jax.Array, of_row: jax.Array) -> jax.Array:
    """Whether arithmetic alone serves a row with the maximum m: neither it nor what was made `of_row` is infinite."""
    return (jnp.abs(m) < LARGEST / 2) & (jnp.abs(of_row) < jnp.inf)


def _present(mass: jax.Array, x: jax.Array, even: bool, classes: Classes) -> jax.Array:
    """Whether every class that has mass, however little, has a logit within bounds; for even mass every class."""
    some = 1 if even else jnp.minimum(jnp.maximum(mass, -mass) * (1 / float(jnp.finfo(x.dtype).tiny)), 1)
    return classes.max(some * -x) < LARGEST / 2
