"""What happens to logits before they are normalised: temperature, then soft cap."""

import math
import sys

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxinfo import _checks
from jaxinfo._classes import Classes

_SATURATED = 400  # tanh of more than this is 1, and its slope 0, in float64 as well
_LEAST, _MOST = math.ulp(0.0), sys.float_info.max  # what is finite and above 0


def transform(x: jax.Array, temperature: ArrayLike, soft_cap: ArrayLike | None) -> jax.Array:
    """Return cap tanh(x / temperature / cap); both options are left out of the graph where they do nothing.

    A -inf stays -inf, with derivative 0 to the options: a masked class is not revived by the cap, and
    -inf / temperature has no derivative to learn from. A +inf becomes the cap.
    """
    temperature = as_temperature(temperature, x.dtype)
    if soft_cap is None:
        return _divided(x, temperature) if _acts(temperature) else x
    cap, most = as_soft_cap(soft_cap, x.dtype), _almost_largest(x.dtype)
    x = _divided(x, temperature, -most, most) if _acts(temperature) else x  # saturated, not masked
    there, reach = x > -jnp.inf, _SATURATED * jnp.asarray(cap, x.dtype)
    capped = cap * _tanh(jnp.clip(jnp.where(there, x, 0), -reach, reach) / cap)
    return jax.lax.optimization_barrier(jnp.where(there, capped, x))


@jax.custom_jvp
def _tanh(y: jax.Array) -> jax.Array:
    """Return tanh(y), whose slope 1 - tanh(y)**2 would cancel where it is as small as a saturated logit's gradient."""
    return jnp.tanh(y)


@_tanh.defjvp
def _tanh_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    return _tanh(*primals), _sech_squared(*primals) * tangents[0]


@jax.custom_jvp
def _sech_squared(y: jax.Array) -> jax.Array:
    e = jnp.exp(-2 * jnp.abs(y))
    return 4 * e / (1 + e) ** 2


@_sech_squared.defjvp
def _sech_squared_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    slope = _sech_squared(*primals)
    return slope, -2 * _tanh(*primals) * slope * tangents[0]


def cool(x: jax.Array, temperature: ArrayLike, classes: Classes) -> tuple[jax.Array, ArrayLike]:
    """Return (x - m) / temperature, m the largest of each row, and m / temperature, by which all are lower.

    Divided as they come, logits with a common offset would lose its digits, and those near the largest number be lost.
    Differences are taken of halves: those of whole logits may be twice the largest number.
    """
    temperature = as_temperature(temperature, x.dtype)
    if not _acts(temperature):
        return x, 0.0
    m = classes.max(jax.lax.stop_gradient(x))
    m = jnp.where(jnp.isfinite(m), m, 0)
    # one is positive only beside a +inf, which alone is to be infinite
    return _divided(x / 2 - m / 2, temperature / 2, most=_almost_largest(x.dtype)), m / temperature


def as_temperature(temperature: ArrayLike, dtype: jnp.dtype) -> ArrayLike:
    """Return a temperature, checked.

    Raises:
        TypeError: it is no number.
        ValueError: it is not positive and finite, or not a scalar.
    """
    return _checks.as_option(temperature, "temperature", dtype, low=_LEAST, high=_MOST, wanted="a positive number")


def as_soft_cap(soft_cap: ArrayLike, dtype: jnp.dtype) -> ArrayLike:
    """Return a soft cap, checked.

    Raises:
        TypeError: it is no number.
        ValueError: it is not positive and finite, or not a scalar.
    """
    return _checks.as_option(soft_cap, "soft_cap", dtype, low=_LEAST, high=_MOST, wanted="a positive number or None")


def _acts(temperature: ArrayLike) -> bool:
    return isinstance(temperature, jax.Array) or temperature != 1


def _divided(x: jax.Array, temperature: ArrayLike, least: float = -jnp.inf, most: float = jnp.inf) -> jax.Array:
    """Return x / temperature, of a finite x at least `least` and at most `most`."""
    finite = jnp.isfinite(x)
    quotient = jnp.where(finite, x, 0) / temperature
    quotient = jnp.where(quotient > most, most, jnp.where(quotient < least, least, quotient))
    x = jnp.where(finite, quotient, x / jax.lax.stop_gradient(temperature))
    return jax.lax.optimization_barrier(x)  # as in `pin`


def _almost_largest(dtype: jnp.dtype) -> float:
    return 0.99 * float(jnp.finfo(dtype).max)
