"""The one reduction the package stands on: the shift and the log of the shifted sum of each row.

Every quantity here is built from ``log sum_j exp(x_j) = m + l`` with ``m = max_j x_j`` and
``l = log sum_j exp(x_j - m)``, kept apart: adding them would round away the digits of a small ``l``, and
the loss of a confident prediction *is* ``l``. The largest term is exactly 1 and is left out of the sum,
so that ``l = log1p(rest)`` keeps every digit down to the smallest float.

There are two forms of it. `_by_selection` is the mathematics, one fused pass on an accelerator. On the
CPU a selection inside a reduction keeps XLA from its vectorised kernels, so `_by_arithmetic` takes the
plain sum of exponentials, and a second pass only where some row is confident enough to need it.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

from jaxinfo._classes import Classes

_RESCUE = 64.0  # exp(-87) is the smallest float32: terms below it are summed exp(64) larger, then scaled back
_FAINT = 1e-17  # sums below this (margins beyond 39) take the rescued form
_CONFIDENT = 1.5  # the largest of the probabilities is beyond 2/3: subtracting 1 from the sum would cost digits


def shift_and_log_sum(x: jax.Array, classes: Classes) -> tuple[jax.Array, jax.Array]:
    """Return the maximum m of `x` (at least the lowest float) over the classes and l = log sum exp(x - m), both with the axis kept.

    l is -inf where all of `x` is -inf, 0 where exactly one element is +inf, nan where two
    are, or one is nan. Not differentiable by itself: each caller states its derivative.
    """
    if classes.mesh_axis is not None:
        return _by_selection(x, classes)
    return jax.lax.platform_dependent(
        x, cpu=partial(_batched_arithmetic, classes), default=partial(_by_selection, classes=classes)
    )


def centre(x: jax.Array, m: jax.Array) -> jax.Array:
    """Return x - m for the maximum m of each row: in a row with +inf, 0 there and -inf elsewhere.

    Written as arithmetic, which XLA vectorises on the CPU where it would not a selection. A nan in x may be
    lost in the minimum, as in m; the log sum, which is nan then, brings it back.
    """
    largest = float(jnp.finfo(m.dtype).max)
    base = jnp.minimum(m, largest)
    steep = 1 + jnp.minimum(m - base, largest)  # 1, but the largest float where m is +inf
    return jnp.minimum(x - base, 0) * steep


def _by_selection(x: jax.Array, classes: Classes) -> tuple[jax.Array, jax.Array]:
    """The obvious form: sums over the elements below the maximum, and a count of those at it."""
    m = classes.max(x, least=_least(x))
    d = centre(x, m)
    at_top = d == 0
    count = classes.sum(at_top.astype(x.dtype))
    rest = classes.sum(jnp.where(at_top, 0, jnp.exp(d)))
    faint = classes.sum(jnp.where(at_top, 0, jnp.exp(d + _RESCUE)))
    rest = jnp.where(rest < _FAINT, faint * jnp.exp(jnp.asarray(-_RESCUE, x.dtype)), rest)
    log_sum = jnp.log1p(rest + (count - 1))
    bad = jnp.isnan(m) | ((m == jnp.inf) & (count > 1))
    return m, jnp.where(bad, jnp.nan, log_sum)


def _by_arithmetic(x: jax.Array, classes: Classes) -> tuple[jax.Array, jax.Array]:
    """The same from sums that XLA vectorises on the CPU.

    XLA's CPU maximum may step over a nan; the sum of exponentials never does, so it decides.
    """
    m = classes.max(x, least=_least(x))
    base = jnp.minimum(m, -_least(x))
    total = classes.sum(jnp.exp(x - base))
    confident = (total > 0) & (total < _CONFIDENT)

    def exclude_top() -> jax.Array:
        rest = _sum_below_top(x, base, classes, 0.0)
        faint = rest < _FAINT
        rest = jax.lax.cond(
            jnp.any(confident & faint),
            lambda: jnp.where(faint, _sum_below_top(x, base, classes, _RESCUE), rest),
            lambda: rest,
        )
        return jnp.where(confident, jnp.log1p(rest), jnp.log(total))

    def single_infinity(log_sum: jax.Array) -> jax.Array:
        count = classes.sum((x == jnp.inf).astype(jnp.int32))
        return jnp.where(total == jnp.inf, jnp.where(count == 1, 0.0, jnp.nan).astype(x.dtype), log_sum)

    log_sum = jax.lax.cond(jnp.any(confident), exclude_top, lambda: jnp.log(total))
    log_sum = jax.lax.cond(jnp.any(total == jnp.inf), single_infinity, lambda log_sum: log_sum, log_sum)
    return m, log_sum


def _sum_below_top(x: jax.Array, base: jax.Array, classes: Classes, rescue: float) -> jax.Array:
    """Sum exp(x - base) over the elements with x < base.

    ``min(exp(d), -d / tiny)`` is 0 at d = 0 and exp(d) at every d <= -tiny: the selection as arithmetic.
    """
    d = x - base
    steep = jnp.asarray(-1.0 / float(jnp.finfo(x.dtype).tiny), x.dtype)
    terms = jnp.minimum(jnp.exp(d + rescue if rescue else d), d * steep)
    return classes.sum(terms) * jnp.exp(jnp.asarray(-rescue, x.dtype))


def _least(x: jax.Array) -> float:
    """The lowest finite float: as the maximum of a row of -inf it keeps -inf - (-inf), a nan, from coming up."""
    return float(jnp.finfo(x.dtype).min)


def _batched_arithmetic(classes: Classes, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`_by_arithmetic` whose vmap is itself with one more leading axis.

    vmap's own rule would turn each `lax.cond` into a selection that runs both branches.
    """
    reduce = custom_vmap(partial(_by_arithmetic, classes=classes))

    @reduce.def_vmap
    def _(size: int, batched: list[bool], batch: jax.Array) -> tuple[tuple[jax.Array, jax.Array], tuple[bool, bool]]:
        del size, batched
        return _batched_arithmetic(classes, batch), (True, True)

    return reduce(x)
