"""The derivative of the statistics in every mode and order: a tangent rule that is a scan over blocks of classes.

The rule is written with the statistics themselves, so that it can be differentiated again. Its body is
checkpointed: in reverse mode a block's logits are made again, and nothing of the size of [N, V] is kept. The
tangent of the kernel, cut into blocks, is scanned over; so is its cotangent, and no block is added into an
array of the kernel's size.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxinfo._exact import along
from jaxinfo.linear._blocks import Carry
from jaxinfo.linear._fold import statistics
from jaxinfo.linear._head import Head, affine, below, is_at, like, shaped, take
from jaxinfo.linear._rows import Fixed, Inputs, Kept, Plan, Rows, grounded, silent, weighted_targets


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def rows_any(plan: Plan, inputs: Inputs, fixed: Fixed) -> tuple[Rows, Kept]:
    """Return the statistics of each row, differentiable in every mode and order."""
    return statistics(plan, inputs, fixed)


@rows_any.defjvp
def _rows_jvp(plan: Plan, primals: tuple, tangents: tuple) -> tuple[tuple[Rows, Kept], tuple[Rows, Kept]]:
    inputs, fixed = primals
    rows, kept = rows_any(plan, inputs, fixed)
    moved = tangent_rows(plan, inputs, fixed, rows, kept, tangents[0])
    return (rows, kept), (moved, jax.tree.map(jnp.zeros_like, kept))


def tangent_rows(plan: Plan, inputs: Inputs, fixed: Fixed, rows: Rows, kept: Kept, t: Inputs) -> Rows:
    """Return the tangent of the rows along the tangent `t` of the inputs, linear in it.

    Hidden states are narrowed in each block: their cotangents are then added up in the compute dtype.
    """
    given, rows = inputs.head.hidden.dtype, grounded(rows)
    inputs, t = _hidden_as(plan.dtype, inputs), _hidden_as(plan.dtype, t)

    @partial(jax.checkpoint, prevent_cse=False)
    def body(sums: Rows, start: Any, columns: _Columns) -> Rows:
        width = columns.kernel.shape[1]
        here, moved = _hidden_as(given, inputs), _hidden_as(given, _with(t, columns))
        part = _tangent_of_block(plan, here.block(start, width), fixed.block(start, width), rows, kept, moved)
        return jax.tree.map(jnp.add, sums, part)

    sums = jax.tree.map(lambda a: like(0, rows.top, a.shape, a.dtype), rows)
    return blocks_of_classes(body, sums, _columns(t), inputs.head.classes, plan.size)


def blocks_of_classes(
    body: Callable[[Carry, Any, Any], Carry], carry: Carry, columns: Any, classes: int, size: int
) -> Carry:
    """Fold `body(carry, start, block)` over the blocks of `columns`, arrays whose last axis are the classes.

    The blocks are what is scanned over: so are their cotangents, and none is added into an array of all classes.

    Returns:
        The carry after the last block.
    """
    blocks, rest = divmod(classes, size)
    whole = blocks * size
    if blocks:
        cut = jax.tree.map(lambda a: jnp.moveaxis(a[..., :whole].reshape(*a.shape[:-1], blocks, size), -2, 0), columns)
        step = lambda sums, at: (body(sums, at[0] * size, at[1]), None)  # noqa: E731
        carry, _ = jax.lax.scan(step, carry, (jnp.arange(blocks), cut))
    return body(carry, whole, jax.tree.map(lambda a: a[..., whole:], columns)) if rest else carry


class _Columns(NamedTuple):
    """The parts of the inputs that have a class axis, the last."""

    kernel: Any
    bias: Any
    targets: Any
    weights: Any


def _columns(t: Inputs) -> _Columns:
    return _Columns(t.head.kernel, t.head.bias, t.targets, t.weights)


def _hidden_as(dtype: Any, inputs: Inputs) -> Inputs:
    return inputs._replace(head=inputs.head._replace(hidden=inputs.head.hidden.astype(dtype)))


def _with(t: Inputs, columns: _Columns) -> Inputs:
    """Return `t` with the columns of one block."""
    return Inputs(t.head._replace(kernel=columns.kernel, bias=columns.bias), columns.targets, columns.weights)


def _tangent_of_block(plan: Plan, inputs: Inputs, fixed: Fixed, rows: Rows, kept: Kept, t: Inputs) -> Rows:
    """Return what one block contributes to the tangent of the rows."""

    def logits(head: Head) -> jax.Array:
        z = fixed.masked(affine(head, plan.dtype), -jnp.inf)
        return shaped(z, head.temperature, head.soft_cap)

    x, t_x = jax.jvp(logits, (inputs.head,), (t.head,))
    out = Rows(jnp.zeros_like(rows.top))
    level = below(x, rows.top)
    if rows.rest is not None:
        share = _share_of_rest(x, fixed, rows, kept)
        out = out._replace(at=take(t_x, fixed.labels), rest=jnp.sum(share * t_x, axis=1))
    if rows.lse is not None:
        p = jnp.exp(level - rows.lse[:, None])
        out = out._replace(lse=jnp.sum(p * t_x, axis=1))
        if rows.entropy is not None:
            heat = jnp.where(level == -jnp.inf, 0, level) + (rows.entropy - rows.lse)[:, None]
            out = out._replace(entropy=-jnp.sum(p * heat * t_x, axis=1))
    if rows.picked is not None:
        out = out._replace(picked=take(t_x, fixed.labels))
    if rows.mass is not None:
        mass = weighted_targets(inputs, fixed)
        absent = silent(plan, x, level, mass)
        t_mass = jnp.where(absent, 0, _tangent_of_targets(inputs, fixed, t))
        t_level = mass * t_x + along(level, t_mass)
        out = out._replace(mass=jnp.sum(t_mass, axis=1), level=jnp.sum(t_level, axis=1))
    if rows.share is not None:
        finite = (x > -jnp.inf).astype(x.dtype)
        weight = finite if inputs.weights is None else finite * inputs.weights
        t_weight = jnp.zeros_like(finite) if t.weights is None else finite * t.weights
        t_spread = weight * t_x + along(level, t_weight)
        out = out._replace(share=jnp.sum(t_weight, axis=1), spread=jnp.sum(t_spread, axis=1))
    return out


def _share_of_rest(x: jax.Array, fixed: Fixed, rows: Rows, kept: Kept) -> jax.Array:
    """Return each class's part of the sum over the rest, 0 at the label, with the derivative of exp(x - rest)."""
    base = jnp.minimum(kept.rest_max, float(jnp.finfo(x.dtype).max))[:, None]
    share = jnp.minimum(jnp.exp(x - base), 1) / jnp.where(kept.rest_sum == 0, 1, kept.rest_sum)[:, None]
    share = jnp.where(is_at(x, fixed.labels), 0, share)
    return attach(
        jax.lax.stop_gradient(share), jnp.where(share == 0, 0, x), jnp.where(share == 0, 0, rows.rest[:, None])
    )


@jax.custom_jvp
def attach(share: jax.Array, x: jax.Array, rest: jax.Array) -> jax.Array:
    """Return `share`, which is exp(x - rest), with that derivative."""
    del x, rest
    return share


@attach.defjvp
def _attach_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    share = attach(*primals)
    return share, share * (tangents[1] - tangents[2])


def _tangent_of_targets(inputs: Inputs, fixed: Fixed, t: Inputs) -> jax.Array:
    """Return the tangent of the weighted targets of a block."""
    moved = weighted_targets(inputs._replace(targets=t.targets), fixed)
    return moved if t.weights is None else moved + weighted_targets(inputs._replace(weights=t.weights), fixed)
