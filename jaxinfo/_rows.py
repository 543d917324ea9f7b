"""The one reduction the package stands on: the shift and the log of the shifted sum of each row.

Every quantity here is built from ``log sum_j exp(x_j) = m + l`` with ``m = max_j x_j`` and
``l = log sum_j exp(x_j - m)``, kept apart: adding them would round away the digits of a small ``l``, and
the loss of a confident prediction *is* ``l``. The largest term is exactly 1 and is left out of the sum,
so that ``l = log1p(rest)`` keeps every digit down to the smallest float.

There are four forms of it. `_by_selection` is the mathematics, one fused pass on an accelerator. On the
CPU a selection inside a reduction keeps XLA from its vectorised kernels. `_by_blocks` sums the exponentials
in blocks of classes, and where some row is so confident that it needs it, sums only the block of the maximum again,
without it; where there are fewer classes or no divisor to make blocks of, `_by_arithmetic` takes the plain sum, and
then a second one. A handful of classes `_one_by_one` adds up without any reduction.
"""

import math
from collections.abc import Callable
from functools import partial, reduce

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

from jaxinfo._classes import Classes, typed_sharding
from jaxinfo._traced import traced_once

_RESCUE = 64.0  # exp(-87) is the smallest float32: faint sums are taken exp(64) larger, then scaled back
_FAINT = 2e-31  # per class: below it, terms flushed to zero could have been half an eps of the sum
_CONFIDENT = 1.5  # the largest of the probabilities is beyond 2/3: subtracting 1 from the sum would cost digits
_MANY = 600  # classes from which blocks pay
_SHARED = 8192  # classes below which it pays to keep the exponentials, rather than to take them again
_SMALLEST, _FEWEST = 64, 6  # classes in a block, blocks in a row
_FEW = 16  # classes up to which reductions do not


@traced_once("classes")
def shift_and_log_sum(x: jax.Array, classes: Classes) -> tuple[jax.Array, jax.Array]:
    """Return the maximum m of `x` over the classes and l = log sum exp(x - m), both with the axis kept.

    m is at least the lowest float. l is -inf where all of `x` is -inf, 0 where exactly one element is +inf,
    nan where two are, or one is nan. Not differentiable by itself: each caller states its derivative.
    """
    if classes.mesh_axis is not None:
        return _by_selection(x, classes)
    return jax.lax.platform_dependent(x, cpu=partial(_on_cpu, classes), default=partial(_by_selection, classes=classes))


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
    """Return it by the obvious form: sums over the elements below the maximum, and a count of those at it."""
    m = classes.max(x, least=_least(x))
    d = centre(x, m)
    at_top = d == 0
    count = classes.sum(at_top.astype(x.dtype))
    rest = classes.sum(jnp.where(at_top, 0, jnp.exp(d)))
    faint = classes.sum(jnp.where(at_top, 0, jnp.exp(d + _RESCUE)))
    rest = jnp.where(rest < _FAINT * x.shape[classes.axis], faint * jnp.exp(jnp.asarray(-_RESCUE, x.dtype)), rest)
    log_sum = jnp.log1p(rest + (count - 1))
    bad = jnp.isnan(m) | ((m == jnp.inf) & (count > 1))
    return m, jnp.where(bad, jnp.nan, log_sum)


def _one_by_one(x: jax.Array, classes: Classes) -> tuple[jax.Array, jax.Array]:
    """Return the same class after class, each an array of all rows."""
    each = [jax.lax.slice_in_dim(x, i, i + 1, axis=classes.axis) for i in range(x.shape[classes.axis])]
    m = reduce(jnp.maximum, each, jnp.asarray(_least(x), x.dtype))
    base = jnp.minimum(m, -_least(x))
    rest = faint = count = jnp.zeros_like(m)
    for one in each:
        d = one - base
        at_top, far = d >= 0, d < -_RESCUE
        term = jnp.exp(jnp.where(far, d + _RESCUE, d))
        rest += jnp.where(at_top | far, 0, term)
        faint += jnp.where(far, term, 0)
        count += at_top.astype(x.dtype)
    rest += faint * jnp.exp(jnp.asarray(-_RESCUE, x.dtype))
    log_sum = jnp.log1p(rest + (count - 1))
    return m, jnp.where(jnp.isnan(m) | ((m == jnp.inf) & (count > 1)), jnp.nan, log_sum)


def _by_blocks(x: jax.Array, classes: Classes, size: int) -> tuple[jax.Array, jax.Array]:
    """Return the same from sums over blocks of `size` classes, the last axis being theirs."""
    blocks, dtype = classes.narrowed(x.reshape(*x.shape[:-1], x.shape[-1] // size, size)), x.dtype
    peaks = jnp.max(blocks, axis=-1, initial=_least(blocks)).astype(dtype)
    m = jnp.max(peaks, axis=-1, keepdims=True)
    base = jnp.minimum(m, -_least(x))
    # exponentials of the shape of x are those that the slope is made of: they are taken once and kept
    shared = classes.narrow is None and x.shape[-1] < _SHARED
    terms = jnp.exp(x - base).reshape(blocks.shape) if shared else jnp.exp(blocks.astype(dtype) - base[..., None])
    # behind the barrier XLA does not move the sum into the branches, where it would not be vectorised
    sums = jax.lax.optimization_barrier(jnp.sum(terms, axis=-1))
    total = jnp.sum(sums, axis=-1, keepdims=True)
    apart = (total < _CONFIDENT) | (total == jnp.inf)  # rows whose largest term is to be left out

    def exclude_top() -> jax.Array:
        top = jnp.expand_dims(jax.lax.argmax(peaks, peaks.ndim - 1, jnp.int32), -1)
        others = jnp.sum(jnp.where(_iota(sums) == top, 0, sums), axis=-1, keepdims=True)
        top_block = jnp.take_along_axis(blocks, top[..., None], axis=-2)[..., 0, :].astype(dtype)
        at_top = top_block >= base
        beside = jnp.sum(jnp.where(at_top, 0, jnp.exp(top_block - base)), axis=-1, keepdims=True)
        rest = others + (beside + (jnp.sum(at_top, axis=-1, keepdims=True, dtype=dtype) - 1))
        below_top = partial(_sum_below_top, blocks, base[..., None], (-2, -1))
        rest = _rescued(rest, lambda rescue: below_top(rescue)[..., 0], x.shape[-1])
        rest = jnp.where((m == jnp.inf) & (rest > 0), jnp.nan, rest)
        return jnp.where(apart, jnp.log1p(rest), jnp.log(total))

    return m, jax.lax.cond(jnp.any(apart), exclude_top, lambda: jnp.log(total))


def _by_arithmetic(x: jax.Array, classes: Classes) -> tuple[jax.Array, jax.Array]:
    """Return the same from plain sums.

    XLA's CPU maximum may step over a nan; the sum of exponentials never does, so it decides.
    """
    given, dtype = classes.narrowed(x), x.dtype
    m = classes.max(given, least=_least(given)).astype(dtype)
    base = jnp.minimum(m, -_least(x))
    total = classes.sum(jnp.exp(lowered(given, base)))
    confident = (total > 0) & (total < _CONFIDENT)

    def exclude_top() -> jax.Array:
        below_top = partial(_sum_below_top, given, base, (classes.axis,))
        rest = _rescued(below_top(), below_top, x.shape[classes.axis])
        return jnp.where(confident, jnp.log1p(rest), jnp.log(total))

    def single_infinity(log_sum: jax.Array) -> jax.Array:
        count = classes.sum((given == jnp.inf).astype(dtype))
        return jnp.where(total == jnp.inf, jnp.where(count == 1, 0.0, jnp.nan).astype(x.dtype), log_sum)

    log_sum = jax.lax.cond(jnp.any(confident), exclude_top, lambda: jnp.log(total))
    log_sum = jax.lax.cond(jnp.any(total == jnp.inf), single_infinity, lambda log_sum: log_sum, log_sum)
    return m, log_sum


def _rescued(rest: jax.Array, below_top: Callable[[float], jax.Array], classes: int) -> jax.Array:
    """Return `rest`, where it is so faint that terms of it were flushed to zero what is `below_top` when rescued."""
    faint = (rest >= 0) & (rest < _FAINT * classes)
    return jax.lax.cond(jnp.any(faint), lambda: jnp.where(faint, below_top(_RESCUE), rest), lambda: rest)


def _sum_below_top(x: jax.Array, base: jax.Array, axes: tuple[int, ...], rescue: float = 0.0) -> jax.Array:
    """Return the sum of exp(x - base) over the elements with x < base, those axes kept.

    ``min(exp(d), -d / tiny)`` is 0 at d = 0 and exp(d) at every d <= -tiny: the selection as arithmetic.
    """
    d = jnp.minimum(lowered(x, base), 0)
    steep = jnp.asarray(-1.0 / float(jnp.finfo(d.dtype).tiny), d.dtype)
    terms = jnp.minimum(jnp.exp(d + rescue if rescue else d), d * steep)
    return jnp.sum(terms, axis=axes, keepdims=True) * jnp.exp(jnp.asarray(-rescue, d.dtype))


def lowered(x: jax.Array, base: jax.Array) -> jax.Array:
    """Return x - base, x from half precision being converted for this use alone.

    Behind the barrier XLA's CPU backend does not know two conversions as one, and fuses each into its own sum: what is
    shared it writes out, in twice the memory of what it is read from. So it does with the base of every class.
    """
    if x.dtype != base.dtype:
        x, base = jax.lax.optimization_barrier((x, base))
    return x.astype(base.dtype) - base


def _least(x: jax.Array) -> float:
    """Return the lowest finite float: as the maximum of a row of -inf it keeps -inf - (-inf), a nan, from coming up."""
    return float(jnp.finfo(x.dtype).min)


def _iota(x: jax.Array) -> jax.Array:
    return jax.lax.broadcasted_iota(jnp.int32, x.shape, x.ndim - 1)


def _block_size(x: jax.Array, classes: Classes) -> int | None:
    """Return the divisor of the number of classes that makes good blocks, if there is one: near four times its root."""
    count = x.shape[classes.axis]
    if count < _MANY or classes.axis != -1 or typed_sharding(x):
        return None
    good = 4 * math.sqrt(count)
    sizes = (count // n for n in range(_FEWEST, count // _SMALLEST + 1) if count % n == 0)
    return min(sizes, key=lambda size: abs(math.log(size / good)), default=None)


def _on_cpu(classes: Classes, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return it by the CPU's form, whose vmap is itself with one more leading axis.

    vmap's own rule would turn each `lax.cond` into a selection that runs both branches.
    """
    size = _block_size(x, classes)
    if 0 < x.shape[classes.axis] <= _FEW and not typed_sharding(x):
        form = partial(_one_by_one, classes=classes)
    elif size is None:
        form = partial(_by_arithmetic, classes=classes)
    else:
        form = partial(_by_blocks, classes=classes, size=size)
    rows = custom_vmap(form)

    @rows.def_vmap
    def _(size: int, batched: list[bool], batch: jax.Array) -> tuple[tuple[jax.Array, ...], tuple[bool, ...]]:
        del size, batched
        return _on_cpu(classes, batch), (True, True)

    return rows(x)
