"""The derivative of the statistics in reverse mode: blocks of logits are made again, gradients formed in place.

The leanest form: nothing of the size of [N, V] or of the kernel is kept or made beside the gradients.
Each block of the kernel's gradient is one product over all tokens, accumulated in the compute dtype.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxinfo._rows import centre
from jaxinfo.linear._blocks import cut, fold_written, paste
from jaxinfo.linear._fold import statistics, unshaped
from jaxinfo.linear._head import Head, like, put, shaped, take
from jaxinfo.linear._modes import once
from jaxinfo.linear._products import finite, product, wider
from jaxinfo.linear._rows import (
    Fixed,
    Inputs,
    Kept,
    Plan,
    Rows,
    grounded,
    silent,
    times,
    weighted_targets,
)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def rows_reverse(plan: Plan, inputs: Inputs, fixed: Fixed) -> tuple[Rows, Kept]:
    """Return the statistics of each row, differentiable in reverse mode."""
    return statistics(plan, inputs, fixed)


def _forward(plan: Plan, inputs: Inputs, fixed: Fixed) -> tuple[tuple[Rows, Kept], tuple]:
    rows, kept = statistics(plan, inputs, fixed)
    return (rows, kept), (inputs, fixed, rows, kept)


def _backward(plan: Plan, saved: tuple, cotangents: tuple[Rows, Kept]) -> tuple[Inputs, None]:
    inputs, fixed, rows, kept = saved
    slopes = gradients(plan, inputs, fixed, rows, kept, cotangents[0])
    return slopes if plan.apart == "label" else once(slopes), None


rows_reverse.defvjp(_forward, _backward)


class Gradients(NamedTuple):
    """What is carried from block to block, in the order of the parts of `Head` and `Inputs`."""

    hidden: jax.Array
    kernel: jax.Array
    bias: jax.Array | None
    temperature: jax.Array | None
    soft_cap: jax.Array | None
    targets: jax.Array | None
    weights: jax.Array | None

    def inputs(self) -> Inputs:
        """Return them as the cotangent of the inputs."""
        return Inputs(Head(*self[:5]), *self[5:])


def gradients(plan: Plan, inputs: Inputs, fixed: Fixed, rows: Rows, kept: Kept, g: Rows) -> Inputs:
    """Return the cotangent of the inputs for that of the rows."""
    head = inputs.head
    parts = (*head[1:], inputs.targets, inputs.weights)
    zeros = [None if a is None else like(0, rows.top, a.shape, a.dtype) for a in parts]
    start = Gradients(like(0, rows.top, head.hidden.shape, plan.dtype), *zeros)  # type: ignore[arg-type]
    end = add_gradients(plan, start, inputs, fixed, rows, kept, g)
    return end._replace(hidden=end.hidden.astype(head.hidden.dtype)).inputs()


def add_gradients(
    plan: Plan,
    sums: Gradients,
    inputs: Inputs,
    fixed: Fixed,
    rows: Rows,
    kept: Kept,
    g: Rows,
    products: jax.Array | None = None,
) -> Gradients:
    """Return `sums` with the gradients of the rows' cotangent, block by block.

    The blocks of the kernel's gradient are written into place. Where `products`, hidden @ kernel [N, V],
    are handed in, they are not made again, and the kernel's gradient is added to that of other tokens.
    """
    rows, across = grounded(rows), turned(inputs.head.hidden)

    def body(sums: Gradients, start: Any, size: int) -> Gradients:
        block, place = inputs.block(start, size), fixed.block(start, size)
        z = unshaped(plan, block, place, cut(products, start, size))
        x, pull = jax.vjp(shaped, z, block.head.temperature, block.head.soft_cap)
        d, to_targets, to_weights = slopes(plan, x, block, place, rows, kept, g)
        d, to_temperature, to_cap = pull(place.masked(d, 0))
        by_class = (
            product_over_tokens(plan, across, block.head, d),
            None if sums.bias is None else jnp.sum(d, axis=0),
            None if to_weights is None else jnp.sum(to_weights, axis=0, keepdims=True),
        )
        old = (sums.kernel, sums.bias, sums.weights)
        if products is not None:
            by_class = jax.tree.map(lambda new, all_: new + cut(all_, start, size), by_class, old)
        kernel, bias, weights = (paste(all_, new, start) for all_, new in zip(old, by_class, strict=True))
        return Gradients(
            sums.hidden + product_over_classes(plan, block.head, d),
            kernel,
            bias,
            None if sums.temperature is None else sums.temperature + to_temperature,
            None if sums.soft_cap is None else sums.soft_cap + to_cap,
            paste(sums.targets, to_targets, start),
            weights,
        )

    return fold_written(body, sums, inputs.head.classes, plan.size)


def turned(hidden: jax.Array) -> jax.Array:
    """Return hidden.T; half precisions turned once and held so: XLA's CPU backend would turn them in each block."""
    return jax.lax.optimization_barrier(hidden.T) if hidden.dtype.itemsize == 2 else hidden.T


def product_over_classes(plan: Plan, head: Head, d: jax.Array) -> jax.Array:
    """Return d @ kernel.T."""
    return product(d, finite(head.kernel), (1, 1), plan.dtype, _of_slopes(plan, head))


def product_over_tokens(plan: Plan, across: jax.Array, head: Head, d: jax.Array) -> jax.Array:
    """Return hidden.T @ d, for `across`, which is hidden.T: the TPU's compiler would hold it beside hidden."""
    operands = _of_slopes(plan, head)

    def of_turned(across: jax.Array, hidden: jax.Array, d: jax.Array) -> jax.Array:
        del hidden
        return product(across, d, (1, 0), plan.dtype, operands)

    def in_place(across: jax.Array, hidden: jax.Array, d: jax.Array) -> jax.Array:
        del across
        return product(hidden, d, (0, 0), plan.dtype, operands)

    return jax.lax.platform_dependent(across, head.hidden, d, cpu=of_turned, default=in_place)


def _of_slopes(plan: Plan, head: Head) -> Any:
    """Return what slopes are multiplied in, the wider of the head; not float16, whose least number is too large."""
    wide = wider(head.hidden, head.kernel)
    return plan.dtype if wide == jnp.float16 else wide


def slopes(
    plan: Plan, x: jax.Array, inputs: Inputs, fixed: Fixed, rows: Rows, kept: Kept, g: Rows
) -> tuple[jax.Array, jax.Array | None, jax.Array | None]:
    """Return what a block contributes to the cotangents of its logits, targets and class weights, [N, B] each."""
    level = centre(x, rows.top[:, None])
    if plan.apart == "label":
        base = jnp.minimum(kept.rest_max, float(jnp.finfo(x.dtype).max))
        none = (g.rest == 0) | (kept.rest_sum == 0)
        scale = jnp.where(none, 0 * g.rest, g.rest / jnp.where(none, 1, kept.rest_sum))  # 0, but nan stays
        d = jnp.minimum(jnp.exp(x - base[:, None]), 1) * scale[:, None]
        d = put(d, fixed.labels, g.at)
    else:
        d = _of_top(level, inputs, fixed, rows, g)
    to_targets, to_weights = None, jnp.zeros_like(x)
    if inputs.targets is not None:
        absent = silent(plan, x, level, inputs.targets)
        to_mass = jnp.where(absent, 0, g.mass[:, None] + times(g.level[:, None], level))
        to_mass = to_mass if fixed.counted is None else jnp.where(fixed.counted[:, None], to_mass, 0)
        to_targets = to_mass if inputs.weights is None else to_mass * inputs.weights
        to_weights = times(inputs.targets, to_mass)
    if plan.smooth:
        finite = (x > -jnp.inf).astype(x.dtype)
        share = finite if inputs.weights is None else finite * inputs.weights
        d = d + g.spread[:, None] * share
        to_weights = to_weights + finite * (g.share[:, None] + times(finite * g.spread[:, None], level))
    return d, to_targets, to_weights if inputs.weights is not None else None


def _of_top(level: jax.Array, inputs: Inputs, fixed: Fixed, rows: Rows, g: Rows) -> jax.Array:
    """Return the slope of lse, entropy, level and picked logit, given the logits less their largest."""
    log_p = level - rows.lse[:, None]
    p = jnp.exp(level) * jnp.exp(-rows.lse[:, None])
    slope = jnp.broadcast_to(g.lse[:, None], level.shape)
    if rows.entropy is not None:
        heat = jnp.where(level == -jnp.inf, 0, level) + (rows.entropy - rows.lse)[:, None]
        slope = slope - g.entropy[:, None] * heat
    if inputs.targets is None:
        d = slope * p
    else:
        # g p - t as (g - t) p - t (1 - p): of a one-hot target the first is exactly 0 at its class
        mass = g.level[:, None] * weighted_targets(inputs, fixed)
        d = (slope + mass) * p - mass * jnp.expm1(log_p)
    return d if rows.picked is None else put(d, fixed.labels, take(d, fixed.labels) + g.picked)
