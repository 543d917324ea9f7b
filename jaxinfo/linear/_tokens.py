"""The weighted sum of losses by blocks of tokens: whole rows of logits, their gradients formed at once.

Where the weights of the sum are known beforehand, a token's gradient can be formed while its logits are
there: three products with the kernel in place of four. Kept are the logits of one block of tokens, and the
kernel's gradient in the compute dtype.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxinfo.linear._blocks import cut, fold
from jaxinfo.linear._cross_entropy import Terms, losses, weighted
from jaxinfo.linear._fold import add_block, close, empty, statistics, unshaped
from jaxinfo.linear._head import Included, like, shaped
from jaxinfo.linear._modes import once
from jaxinfo.linear._products import whole_product
from jaxinfo.linear._reverse import Gradients, add_gradients, gradients
from jaxinfo.linear._rows import Fixed, Inputs, Kept, Plan, Rows
from jaxinfo.linear._strategy import Way


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
def token_sum(plan: Plan, way: Way, inputs: Inputs, wanted: Sum, known: Known) -> jax.Array:
    """Return the weighted sum of the losses; when it is differentiated, in the way that is told."""
    del way
    rows, kept = statistics(plan, inputs, known.fixed)
    return jnp.sum(_weighted_losses(plan, rows, kept.finite, wanted, known))


class Turn(NamedTuple):
    """A block of tokens: where it begins, how many it has, and which of them are new [n]; None where all are.

    All blocks have one size: the last one reaches back over tokens that are done. A smaller one would be a second
    program, whose product with the kernel XLA makes at once and holds all along.
    """

    first: jax.Array
    size: int
    new: jax.Array | None

    @classmethod
    def take(cls, i: jax.Array, size: int, count: int) -> "Turn":
        """Return block `i` of `count` tokens."""
        first = jnp.minimum(i * size, count - size)
        return cls(first, size, first + jnp.arange(size) >= i * size if count % size else None)

    def part(self, tree: Any) -> Any:
        """Return the rows of arrays that belong to the tokens."""
        return jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, self.first, self.size), tree)

    def only_new(self, a: jax.Array, old: jax.Array) -> jax.Array:
        """Return `a` for the tokens that are new, `old` for those that are done."""
        return a if self.new is None else jnp.where(self.new.reshape(-1, *[1] * (a.ndim - 1)), a, old)

    def write(self, whole: jax.Array, rows: jax.Array) -> jax.Array:
        """Return `whole` with the rows of the tokens that are new."""
        rows = rows.astype(whole.dtype)
        rows = rows if self.new is None else self.only_new(rows, self.part(whole))
        return jax.lax.dynamic_update_slice_in_dim(whole, rows, self.first, 0)


def _forward(plan: Plan, way: Way, inputs: Inputs, wanted: Sum, known: Known) -> tuple[jax.Array, tuple[Inputs, Sum]]:
    by_tokens = partial(_by_tokens, plan, way.tokens)
    if way.on_cpu == "token":
        loss, slopes = by_tokens(inputs, wanted, known)
    else:
        at_once = partial(_at_once, plan)
        loss, slopes = jax.lax.platform_dependent(inputs, wanted, known, cpu=at_once, default=by_tokens)
    return loss, slopes if plan.apart == "label" else once(slopes)


def _at_once(plan: Plan, inputs: Inputs, wanted: Sum, known: Known) -> tuple[jax.Array, tuple[Inputs, Sum]]:
    """Return the sum and its slopes of all tokens by blocks of classes, whose logits are made again."""
    rows, kept = statistics(plan, inputs, known.fixed)
    loss, g, to_wanted = _slopes_of_rows(plan, rows, kept, wanted, known)
    return loss, (gradients(plan, inputs, known.fixed, rows, kept, g), to_wanted)


def _by_tokens(
    plan: Plan, tokens: int, inputs: Inputs, wanted: Sum, known: Known
) -> tuple[jax.Array, tuple[Inputs, Sum]]:
    row, parts, count = wanted.weights, (*inputs.head[1:], None, inputs.weights), wanted.weights.shape[0]
    wide = [None if a is None else like(0, row, a.shape, plan.dtype) for a in parts]
    by_row = {"hidden": inputs.head.hidden, "targets": inputs.targets}
    start = (
        like(0, row, (), plan.dtype),
        Gradients(like(0, row, (), plan.dtype), *wide),  # type: ignore[arg-type]
        jax.tree.map(lambda a: like(0, row, a.shape, a.dtype), (by_row, wanted)),
    )

    def body(sums: tuple, i: Any) -> tuple:
        loss, shared, (rows, options) = sums
        turn = Turn.take(i, tokens, count)
        mine = turn.part(by_row)
        some = inputs._replace(head=inputs.head._replace(hidden=mine["hidden"]), targets=mine["targets"])
        weights, label_weights = turn.part((wanted.weights, wanted.label_weights))
        lines = wanted._replace(weights=turn.only_new(weights, jnp.zeros_like(weights)), label_weights=label_weights)
        new_loss, grads, to_lines = _of_block(plan, shared, some, lines, _part_of(known, turn))
        rows = jax.tree.map(turn.write, rows, {"hidden": grads.hidden, "targets": grads.targets})
        by_token = jax.tree.map(turn.write, options[:2], to_lines[:2])
        options = Sum(*by_token, *jax.tree.map(jnp.add, options[2:], to_lines[2:]))
        return (loss + new_loss, grads._replace(hidden=shared.hidden, targets=None), (rows, options)), None

    (loss, shared, (rows, options)), _ = jax.lax.scan(body, start, jnp.arange(-(-count // tokens)))
    slope = shared._replace(**rows).inputs()
    return loss, (jax.tree.map(lambda new, old: new.astype(old.dtype), slope, inputs), options)


def _backward(plan: Plan, way: Way, slopes: tuple[Inputs, Sum], g: jax.Array) -> tuple[Inputs, Sum, None]:
    del plan, way
    return (*jax.tree.map(lambda a: (a.astype(g.dtype) * g).astype(a.dtype), slopes), None)


token_sum.defvjp(_forward, _backward)


def _of_block(
    plan: Plan, shared: Gradients, inputs: Inputs, wanted: Sum, known: Known
) -> tuple[jax.Array, Gradients, Sum]:
    """Return the weighted losses of a block of tokens, the gradients with its own added, and those of the rest."""
    fixed, head = known.fixed, inputs.head
    products = whole_product(head.hidden, head.kernel, (1, 0), plan.dtype)

    def body(sums: Any, start: Any, size: int) -> Any:
        block, place = inputs.block(start, size), fixed.block(start, size)
        z = unshaped(plan, block, place, cut(products, start, size))
        return add_block(plan, sums, shaped(z, head.temperature, head.soft_cap), block, place, start)

    sums = fold(body, empty(plan, inputs, fixed), head.classes, plan.size)
    rows, kept = close(plan, sums, fixed, head.classes)
    loss, g, to_wanted = _slopes_of_rows(plan, rows, kept, wanted, known)
    onto = shared._replace(
        hidden=like(0, loss, head.hidden.shape, plan.dtype),
        targets=None if inputs.targets is None else like(0, loss, products.shape, plan.dtype),
    )
    return loss, add_gradients(plan, onto, inputs, fixed, rows, kept, g, products), to_wanted


def _slopes_of_rows(plan: Plan, rows: Rows, kept: Kept, wanted: Sum, known: Known) -> tuple[jax.Array, Rows, Sum]:
    """Return the weighted sum of the losses of these rows, and its slope to them and to what is wanted besides."""
    loss, pull = jax.vjp(lambda rows, wanted: _weighted_losses(plan, rows, kept.finite, wanted, known), rows, wanted)
    return jnp.sum(loss), *pull(jnp.ones_like(loss))


def _weighted_losses(plan: Plan, rows: Rows, finite: jax.Array, wanted: Sum, known: Known) -> jax.Array:
    smoothing, z_loss = (0.0 if option is None else option for option in (wanted.smoothing, wanted.z_loss))
    terms = Terms(known.faulty, wanted.label_weights, smoothing, z_loss, known.fixed.counted)
    return weighted(losses(rows, finite, terms, plan.dtype), wanted.weights)


def _part_of(known: Known, turn: Turn) -> Known:
    """Return what is known of the tokens of a block."""
    labels, included, counted = known.fixed
    if included is not None:
        one = included.classes.shape[0] == 1 or included.row is not None
        included = Included(included.classes if one else turn.part(included.classes), turn.part(included.row))
    return Known(Fixed(turn.part(labels), included, turn.part(counted)), turn.part(known.faulty))
