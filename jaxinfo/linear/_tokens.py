"""The weighted sum of losses by blocks of tokens: whole rows of logits, their gradients formed at once.

Where the weights of the sum are known beforehand, a token's gradient can be formed while its logits are
there: three products with the kernel in place of four. Kept are the logits of one block of tokens, and the
kernel's gradient in the compute dtype.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxinfo.linear._cross_entropy import Terms, losses, weighted
from jaxinfo.linear._fold import add_block, block_products, close, empty, statistics
from jaxinfo.linear._head import Included, fold, like, shaped
from jaxinfo.linear._reverse import Gradients, add_gradients
from jaxinfo.linear._rows import Fixed, Inputs, Plan, Rows


class Sum(NamedTuple):
    """What is differentiated besides the inputs: the parts of `Terms`, and the weight of each loss [N]."""

    weights: jax.Array
    label_weights: jax.Array | None
    smoothing: jax.Array | None
    z_loss: jax.Array | None


class Known(NamedTuple):
    """What is not differentiated: labels and masks, and which labels are faulty [N]."""

    fixed: Fixed
    faulty: jax.Array | None


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def token_sum(plan: Plan, tokens: int, inputs: Inputs, wanted: Sum, known: Known) -> jax.Array:
    """Return the weighted sum of the losses; when it is differentiated, `tokens` are in a block."""
    del tokens
    rows, kept = statistics(plan, inputs, known.fixed)
    return jnp.sum(_weighted_losses(plan, rows, kept.finite, wanted, known))


def _forward(
    plan: Plan, tokens: int, inputs: Inputs, wanted: Sum, known: Known
) -> tuple[jax.Array, tuple[Inputs, Sum]]:
    row, parts = wanted.weights, (*inputs.head[1:], None, inputs.weights)
    wide = [None if a is None else like(0, row, a.shape, plan.dtype) for a in parts]
    by_row = {"hidden": inputs.head.hidden, "targets": inputs.targets}
    start = (
        like(0, row, (), plan.dtype),
        Gradients(like(0, row, (), plan.dtype), *wide),  # type: ignore[arg-type]
        jax.tree.map(lambda a: like(0, row, a.shape, a.dtype), (by_row, wanted)),
    )

    def body(sums: tuple, first: Any, size: int) -> tuple:
        loss, shared, (rows, options) = sums
        part = lambda tree: jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, first, size), tree)  # noqa: E731
        some = inputs._replace(
            head=inputs.head._replace(hidden=part(by_row)["hidden"]), targets=part(by_row)["targets"]
        )
        weights, label_weights = part((wanted.weights, wanted.label_weights))
        lines = wanted._replace(weights=weights, label_weights=label_weights)
        new_loss, grads, to_lines = _of_block(plan, shared, some, lines, _part_of(known, first, size))
        write = lambda all_, new: jax.lax.dynamic_update_slice_in_dim(all_, new.astype(all_.dtype), first, 0)  # noqa: E731
        rows = jax.tree.map(write, rows, {"hidden": grads.hidden, "targets": grads.targets})
        options = Sum(
            *jax.tree.map(write, options[:2], to_lines[:2]), *jax.tree.map(jnp.add, options[2:], to_lines[2:])
        )
        return loss + new_loss, grads._replace(hidden=shared.hidden, targets=None), (rows, options)

    loss, shared, (rows, options) = fold(body, start, wanted.weights.shape[0], tokens)
    slope = shared._replace(**rows).inputs()
    return loss, (jax.tree.map(lambda new, old: new.astype(old.dtype), slope, inputs), options)


def _backward(plan: Plan, tokens: int, slopes: tuple[Inputs, Sum], g: jax.Array) -> tuple[Inputs, Sum, None]:
    del plan, tokens
    return (*jax.tree.map(lambda a: (a.astype(g.dtype) * g).astype(a.dtype), slopes), None)


token_sum.defvjp(_forward, _backward)


def _of_block(
    plan: Plan, shared: Gradients, inputs: Inputs, wanted: Sum, known: Known
) -> tuple[jax.Array, Gradients, Sum]:
    """Return the weighted losses of a block of tokens, the gradients with its own added, and those of the rest."""
    fixed, head = known.fixed, inputs.head
    shape = (head.hidden.shape[0], head.classes)

    def body(carry: tuple, start: Any, size: int) -> tuple:
        sums, products = carry
        block, place = inputs.block(start, size), fixed.block(start, size)
        z = block_products(plan, block, place)
        sums = add_block(plan, sums, shaped(z, head.temperature, head.soft_cap), block, place, start)
        return sums, jax.lax.dynamic_update_slice_in_dim(products, z, start, 1)

    products = like(0, wanted.weights, shape, plan.dtype)
    sums, products = fold(body, (empty(plan, inputs, fixed), products), head.classes, plan.size)
    rows, kept = close(plan, sums)
    loss, pull = jax.vjp(lambda rows, wanted: _weighted_losses(plan, rows, kept.finite, wanted, known), rows, wanted)
    g, to_wanted = pull(jnp.ones_like(loss))
    onto = shared._replace(
        hidden=like(0, loss, head.hidden.shape, plan.dtype),
        targets=None if inputs.targets is None else like(0, loss, shape, plan.dtype),
    )
    return jnp.sum(loss), add_gradients(plan, onto, inputs, fixed, rows, kept, g, products), to_wanted


def _weighted_losses(plan: Plan, rows: Rows, finite: jax.Array, wanted: Sum, known: Known) -> jax.Array:
    smoothing, z_loss = (0.0 if option is None else option for option in (wanted.smoothing, wanted.z_loss))
    terms = Terms(known.faulty, wanted.label_weights, smoothing, z_loss, known.fixed.counted)
    return weighted(losses(rows, finite, terms, plan.dtype), wanted.weights)


def _part_of(known: Known, first: Any, size: int) -> Known:
    """Return what is known of `size` tokens from `first`."""

    def part(a: Any) -> Any:
        return None if a is None else jax.lax.dynamic_slice_in_dim(a, first, size)

    labels, included, counted = known.fixed
    if included is not None:
        one = included.classes.shape[0] == 1 or included.row is not None
        included = Included(included.classes if one else part(included.classes), part(included.row))
    return Known(Fixed(part(labels), included, part(counted)), part(known.faulty))
