"""Derivatives of divergences between two heads: attached to a value in reverse mode, or of every order."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxinfo.linear._any import blocks_of_classes
from jaxinfo.linear._blocks import fold_written, paste
from jaxinfo.linear._fold import unshaped
from jaxinfo.linear._head import Head, like, shaped
from jaxinfo.linear._modes import once
from jaxinfo.linear._pair import Level, Terms, pair_of
from jaxinfo.linear._reverse import Gradients, product_over_classes, product_over_tokens, turned
from jaxinfo.linear._rows import Fixed, Inputs, Plan

Slopes = Callable[..., tuple[jax.Array, jax.Array]]
Heads = tuple[Head, Head]


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def attached(slopes: Slopes, plan: Plan, heads: Heads, fixed: Fixed, known: tuple) -> jax.Array:
    """Return 0 for each row, whose derivative to the logits of the two heads is `slopes(pair, *values)`.

    `known` are the levels of both, the shift between them, and the values that the slopes are made of: of all
    classes, also where the heads hold those of one shard.
    """
    del slopes, plan, heads, fixed
    return jnp.zeros_like(known[0][0].top)


def _forward(slopes: Slopes, plan: Plan, heads: Heads, fixed: Fixed, known: tuple) -> tuple[jax.Array, tuple]:
    return attached(slopes, plan, heads, fixed, known), (heads, fixed, known)


def _backward(slopes: Slopes, plan: Plan, saved: tuple, g: jax.Array) -> tuple[Heads, None, tuple]:
    heads, fixed, known = saved
    levels, shift, values = known

    def zeros(head: Head) -> Gradients:
        rest: list[Any] = [None if a is None else like(0, g, a.shape, a.dtype) for a in head[1:]]
        kernel, bias, temperature, soft_cap = rest
        hidden = like(0, g, head.hidden.shape, plan.dtype)
        return Gradients(hidden, kernel, bias, temperature, soft_cap, None, None)

    across = tuple(turned(head.hidden) for head in heads)

    def body(sums: tuple[Gradients, ...], start: Any, size: int) -> tuple[Gradients, ...]:
        place = fixed.block(start, size)
        parts = tuple(head.block(start, size) for head in heads)
        products = tuple(unshaped(plan, Inputs(part), place) for part in parts)
        shapes = [jax.vjp(shaped, z, part.temperature, part.soft_cap) for z, part in zip(products, parts, strict=True)]
        pair = pair_of(shapes[0][0], shapes[1][0], levels[0], levels[1], shift)
        out = []
        for old, turn, part, (_, pull), slope in zip(sums, across, parts, shapes, slopes(pair, *values), strict=True):
            d, to_temperature, to_cap = pull(place.masked(jnp.where(g[:, None] == 0, 0, g[:, None] * slope), 0))
            out.append(
                old._replace(
                    hidden=old.hidden + product_over_classes(plan, part, d),
                    kernel=paste(old.kernel, product_over_tokens(plan, turn, part, d), start),
                    bias=None if old.bias is None else paste(old.bias, jnp.sum(d, axis=0), start),
                    temperature=None if old.temperature is None else old.temperature + to_temperature,
                    soft_cap=None if old.soft_cap is None else old.soft_cap + to_cap,
                )
            )
        return tuple(out)

    ends = fold_written(body, tuple(map(zeros, heads)), heads[0].classes, plan.size)
    to_heads = tuple(
        end._replace(hidden=end.hidden.astype(head.hidden.dtype)).inputs().head
        for end, head in zip(ends, heads, strict=True)
    )
    return once(to_heads), None, jax.tree.map(jnp.zeros_like, known)  # type: ignore[return-value]


attached.defvjp(_forward, _backward)


def sums_any(
    terms: Terms, count: int, plan: Plan, heads: Heads, fixed: Fixed, levels: tuple[Level, Level], shift: jax.Array
) -> tuple[jax.Array, ...]:
    """Return the sums of `count` terms over the classes, differentiable in every mode and order."""

    @partial(jax.checkpoint, prevent_cse=False)
    def body(carry: tuple[jax.Array, ...], start: Any, columns: Any) -> tuple[jax.Array, ...]:
        width = columns[0][0].shape[1]
        parts = (head._replace(kernel=k, bias=b) for head, (k, b) in zip(heads, columns, strict=True))
        place = fixed.block(start, width)
        a, b = (shaped(unshaped(plan, Inputs(h), place), h.temperature, h.soft_cap) for h in parts)
        new = terms(pair_of(a, b, *levels, shift))
        return tuple(s + jnp.sum(t, axis=1) for s, t in zip(carry, new, strict=True))

    zero = like(0, levels[0].top)
    columns = tuple((head.kernel, head.bias) for head in heads)
    return blocks_of_classes(body, (zero,) * count, columns, heads[0].classes, plan.size)
