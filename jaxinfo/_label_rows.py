"""The shifted sum of each row beside its label: what the loss of a label takes on CPUs.

With m the maximum, d = x_y - m <= 0 at the label and rest the sum of exp(x_j - m) over all other classes,
``log sum exp(x - m) = log1p(rest + expm1(d))``. Where the label leads, d is 0 and every digit of a small rest is
kept; where another class does, rest is at least 1 and the loss at least -d, so that one eps of 1 is all that it needs.

No class but the label is left out, and where that is is known before the sum is taken: one pass over the exponentials
serves every row, however confident. It is taken in blocks of classes, and the label's block apart, with -inf written
over the label. XLA's CPU backend has kernels for sums of exponentials; a selection inside of them would lose those.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

from jaxinfo._classes import Classes, typed_sharding
from jaxinfo._rows import by_selection, centre, least, rescued, shift_and_log_sum
from jaxinfo._traced import traced_once

_MANY = 768  # classes from which blocks pay
_SMALLEST, _FEWEST = 64, 6  # classes in a block, blocks in a row


@traced_once("classes")
def shift_and_log_sum_beside(x: jax.Array, labels: jax.Array, classes: Classes) -> tuple[jax.Array, jax.Array]:
    """Return `shift_and_log_sum` for the losses of `labels`, the axis kept; -1 is a label that does not exist.

    Where another class than the label leads, the log sum has its digits absolutely, not relatively. Not
    differentiable by itself.
    """
    size = _block_size(x, classes)
    if size is None:
        return shift_and_log_sum(x, classes)
    return jax.lax.platform_dependent(
        x, labels, cpu=partial(_on_cpu, classes, size), default=lambda x, _: by_selection(x, classes)
    )


def _block_size(x: jax.Array, classes: Classes) -> int | None:
    """Return the divisor of the number of classes that makes good blocks, if there is one: near four times its root."""
    count = x.shape[classes.axis]
    if count < _MANY or classes.axis != -1 or classes.mesh_axis is not None or typed_sharding(x):
        return None
    good = 4 * math.sqrt(count)
    sizes = (count // n for n in range(_FEWEST, count // _SMALLEST + 1) if count % n == 0)
    return min(sizes, key=lambda size: abs(math.log(size / good)), default=None)


def _by_blocks(x: jax.Array, labels: jax.Array, classes: Classes, size: int) -> tuple[jax.Array, jax.Array]:
    given, dtype = classes.narrowed(x), x.dtype
    m = classes.max(given, least=least(given)).astype(dtype)
    base = jnp.minimum(m, -least(x))
    blocks = given.reshape(*x.shape[:-1], x.shape[-1] // size, size)
    block, place = jnp.divmod(jnp.maximum(labels, 0), size)
    sums = classes.sum(jnp.exp(blocks.astype(dtype) - base[..., None]))[..., 0]
    others = classes.sum(jnp.where(jax.lax.broadcasted_iota(jnp.int32, sums.shape, sums.ndim - 1) == block, 0, sums))
    own = jnp.take_along_axis(blocks, block[..., None], axis=-2)[..., 0, :]
    label = jnp.take_along_axis(own, place, axis=-1).astype(dtype)
    own = jnp.put_along_axis(own, place, jnp.asarray(-jnp.inf, own.dtype), axis=-1, inplace=False)
    rest = others + classes.sum(jnp.exp(own.astype(dtype) - base))
    log_sum = jnp.log1p(rescued(rest, given, base, classes) + jnp.expm1(centre(label, m)))
    log_sum = jnp.where(jnp.isnan(label), jnp.nan, log_sum)

    def infinite() -> jax.Array:
        count = classes.sum((given == jnp.inf).astype(dtype))
        return jnp.where(rest < jnp.inf, log_sum, jnp.where(count == 1, 0.0, jnp.nan).astype(dtype))

    return m, jax.lax.cond(jnp.any(rest == jnp.inf), infinite, lambda: log_sum)


def _on_cpu(classes: Classes, size: int, x: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return it by blocks; vmap is one more leading axis, where its own rule would turn `cond` into both branches."""
    rows = custom_vmap(partial(_by_blocks, classes=classes, size=size))

    @rows.def_vmap
    def _(count: int, batched: list[bool], *batch: jax.Array) -> tuple[tuple[jax.Array, ...], tuple[bool, ...]]:
        lying = (a if lies else jnp.broadcast_to(a, (count, *a.shape)) for a, lies in zip(batch, batched, strict=True))
        return _on_cpu(classes, size, *lying), (True, True)

    return rows(x, labels)
