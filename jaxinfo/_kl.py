"""KL divergence of two rows of logits, with one derivative rule for all that is built on it."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from jaxinfo._classes import Classes
from jaxinfo._kl_rows import kl_rows, kl_slopes
from jaxinfo._logratio import expm1_minus, log_ratio, probs_from, refined_probs
from jaxinfo._normalise import log_probs, normalise
from jaxinfo._platform import arithmetic_first
from jaxinfo._tiles import by_tiles
from jaxinfo._traced import traced_once

Slopes = tuple[jax.Array, ...]


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def kl(a: jax.Array, b: jax.Array, classes: Classes) -> jax.Array:
    """Return KL(softmax(a) || softmax(b)), the class axis kept.

    dKL = sum p expm1(d) t_b - sum p (KL + d) t_a, d = log q - log p; where it is +inf it has no finite limit in
    a, and the slope is 0 there.
    """
    return _by_platform(a, b, classes, ())[0]


@partial(kl.defjvp, symbolic_zeros=True)
def _kl_jvp(classes: Classes, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    moving = tuple(i for i, t in enumerate(tangents) if not isinstance(t, SymbolicZero))
    out, slopes = _kl_and_slopes(*primals, classes, moving)
    return out, classes.slope(*((slope, tangents[i]) for slope, i in zip(slopes, moving, strict=True)))


@partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _kl_and_slopes(a: jax.Array, b: jax.Array, classes: Classes, moving: tuple[int, ...]) -> tuple[jax.Array, Slopes]:
    """Return the divergence with its slopes to those of a and b whose numbers are in `moving`."""
    return _by_platform(a, b, classes, moving)


@_kl_and_slopes.defjvp
def _kl_and_slopes_jvp(classes: Classes, moving: tuple[int, ...], primals: tuple, tangents: tuple) -> tuple:
    out = _kl_and_slopes(*primals, classes, moving)
    _, rate = jax.jvp(lambda a, b: kl(a, b, classes), primals, tangents)
    _, rates = jax.jvp(lambda a, b: _with_care(a, b, classes, moving)[1], primals, tangents)
    return out, (rate, rates)


def _by_platform(a: jax.Array, b: jax.Array, classes: Classes, moving: tuple[int, ...]) -> tuple[jax.Array, Slopes]:
    dtype = a.dtype  # a rule of `custom_vmap` that closed over a would outlive its trace

    def wide(*given: jax.Array) -> tuple[jax.Array, ...]:
        return tuple(x.astype(dtype) for x in given)

    def quick(*given: jax.Array) -> tuple[jax.Array, Callable[[], tuple[jax.Array, Slopes]]]:
        rows = by_tiles(lambda *cut: kl_rows(*wide(*cut), classes, sloped=bool(moving)), classes.axis, *given)

        def make() -> tuple[jax.Array, Slopes]:
            slopes = kl_slopes(*wide(*given), rows) if moving else ()
            return rows.kl, tuple(slopes[i] for i in moving)

        return rows.valid, make

    def careful(*given: jax.Array) -> tuple[jax.Array, Slopes]:
        return _with_care(*wide(*given), classes, moving)

    logits = classes.narrowed(a), classes.narrowed(b)
    return arithmetic_first(quick, careful, *logits, rows_along=None if moving else classes.axis)


@traced_once("classes", "moving")
def _with_care(a: jax.Array, b: jax.Array, classes: Classes, moving: tuple[int, ...]) -> tuple[jax.Array, Slopes]:
    """Return it for any logits: infinite ones, absent classes, a p that underflows where q does not."""
    sum_a, sum_b = normalise(a, classes), normalise(b, classes)
    a_fixed, b_fixed = jax.lax.stop_gradient((a, b))
    log_p, log_q = sum_a.log_p(a_fixed), sum_b.log_p(b_fixed)
    d = log_ratio(a_fixed, b_fixed, log_p, log_q, classes).d
    p, q = probs_from(a_fixed, log_p, sum_a), probs_from(b_fixed, log_q, sum_b)
    large = d > 1
    p_large = jnp.where(large & (log_p != -jnp.inf), p * (1 + jnp.where(jnp.isinf(d), 0, d)), 0)
    terms = jnp.where(large, q - p_large, p * expm1_minus(jnp.where(large | jnp.isinf(d), 0, d)))
    # a log q beyond the largest float, at half scale, unless q is a point elsewhere
    beyond = (d == -jnp.inf) & (b_fixed > -jnp.inf) & (sum_b.m < jnp.inf)
    half = jnp.where(beyond, sum_b.m / 2, 0) - jnp.where(beyond, b_fixed / 2, 0)
    out = classes.sum(jnp.where(beyond, 2 * (p * half), jnp.where(d == -jnp.inf, jnp.inf, terms)))
    if not moving:
        return out, ()
    # the slopes are differentiated again
    log_p, log_q = log_probs(a, sum_a, classes), log_probs(b, sum_b, classes)
    d, u = log_ratio(a, b, log_p, log_q, classes)
    p, q = refined_probs(a, log_p, sum_a), refined_probs(b, log_q, sum_b)
    valid = jnp.where(jnp.isnan(out), jnp.nan, 1)
    slope_a = valid * jnp.where((out == jnp.inf) | (log_p == -jnp.inf), 0, -p * u)
    slope_b = valid * jnp.where(d > 1, q - p, p * jnp.expm1(jnp.where(d > 1, 0, d)))
    return out, tuple((slope_a, slope_b)[i] for i in moving)
