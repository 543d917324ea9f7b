"""Functions that keep what rounding, or XLA's own form of them, would lose, in arithmetic that CPUs vectorise."""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

_BLOCK = 1024  # classes that a product adds up
_REACH = 50.0  # exp(50) times a probability is a float


def two_diff(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return x - y as its rounded value and the rounding error (Knuth)."""
    high = x - y
    part = x - high
    return high, (x - (high + part)) + (part - y)


def log1p(x: jax.Array) -> jax.Array:
    """Return log(1 + x). XLA's own is up to 119 eps off in float64 between -0.5 and -0.35 (jax 0.10.2)."""
    return jnp.where(jnp.abs(x) < 0.25, jnp.log1p(x), jnp.log(1 + x))


def expm1_minus(u: jax.Array) -> jax.Array:
    """Return expm1(u) - u, which is u**2 / 2 to first order, without cancellation."""
    _, curved, beyond, grown = _parts(u)
    return curved + (grown - beyond)


def expm1(u: jax.Array) -> jax.Array:
    """Return exp(u) - 1 without cancellation."""
    near, curved, _, grown = _parts(u)
    return (near + curved) + grown


def exp_from(a: jax.Array, top: jax.Array) -> jax.Array:
    """Return exp(a - top), with what rounding took from the difference put back."""
    high, low = two_diff(a, top)
    return jnp.exp(high) * (1 + low)


@jax.custom_jvp
def inverse(y: jax.Array) -> jax.Array:
    """Return 1 / y, whose derivatives multiply by it once more: JAX takes powers of y, which leave the floats."""
    return 1 / y


@inverse.defjvp
def _inverse_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    out = inverse(*primals)
    return out, -out * (out * tangents[0])


@jax.custom_jvp
def over(x: jax.Array, y: jax.Array) -> jax.Array:
    """Return x / y, with derivatives by `inverse`."""
    return x / y


@partial(over.defjvp, symbolic_zeros=True)
def _over_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    (_, y), (t_x, t_y) = primals, tangents
    out = over(*primals)
    t_x = jnp.zeros_like(out) if isinstance(t_x, SymbolicZero) else t_x
    t = t_x if isinstance(t_y, SymbolicZero) else t_x - out * t_y
    least = jnp.where(jnp.abs(y) > jnp.finfo(y.dtype).max * 2.0**-8, 2.0**-16, 1).astype(y.dtype)
    return out, (t * least) * jnp.broadcast_to(inverse(y * least), out.shape)  # 1 / y may be subnormal, and flushed


@jax.custom_jvp
def log(x: jax.Array) -> jax.Array:
    """Return log x, with derivatives by `inverse`."""
    return jnp.log(x)


@log.defjvp
def _log_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    return log(*primals), tangents[0] * inverse(*primals)


def along(slope: jax.Array, tangent: jax.Array) -> jax.Array:
    """Return slope * tangent with inf * 0 = 0, as a product, which stays linear in the tangent."""
    infinite = jnp.isinf(slope)
    largest = jnp.asarray(jnp.finfo(slope.dtype).max, slope.dtype)
    return tangent * jnp.where(infinite, jnp.sign(slope) * largest, slope) * jnp.where(infinite, largest, 1)


def sum_by_product(terms: jax.Array, axis: int) -> jax.Array:
    """Return the sum over the classes, the axis kept, as a product with ones: a reduction that nothing fuses into.

    A product adds up one class after another, so that over many classes it is taken in blocks, and their sums summed.
    """
    terms = jnp.moveaxis(terms, axis, -1)
    count = terms.shape[-1]
    most = min(max(count, 1), _BLOCK)
    size = next((n for n in range(most, _BLOCK // 16, -1) if count % n == 0), most)
    whole = count - count % size
    blocks = terms[..., :whole].reshape(*terms.shape[:-1], whole // size, size)
    total = jnp.sum(_product(blocks), axis=-1) + _product(terms[..., whole:])
    return jnp.expand_dims(total, axis)


def _product(terms: jax.Array) -> jax.Array:
    ones = jnp.ones(terms.shape[-1], terms.dtype)
    contract = (((terms.ndim - 1,), (0,)), ((), ()))
    return jax.lax.dot_general(terms, ones, contract, precision=jax.lax.Precision.HIGHEST)


def _parts(u: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Return t, expm1(t) - t, r and exp(t) expm1(r) for u = t + r with t the nearest to u in [-1, 1].

    The series of expm1(t) - t holds all its digits; beyond 1, where exp(r) - 1 would lose some, it is the larger part.
    """
    t = jnp.minimum(jnp.maximum(u, -1), 1)
    degree = 11 if jnp.finfo(u.dtype).bits == 32 else 19
    series = jnp.asarray(1 / math.factorial(degree), u.dtype)
    for n in range(degree - 1, 1, -1):
        series = series * t + 1 / math.factorial(n)
    curved = t * t * series
    r = u - t
    return t, curved, r, (1 + (t + curved)) * (jnp.exp(jnp.minimum(r, _REACH)) - 1)
