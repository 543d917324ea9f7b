"""Two heads over one vocabulary, checked and normalised: what the divergences between them begin with."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxinfo.linear._any import rows_any
from jaxinfo.linear._arguments import (
    DIFFERENTIATION,
    Options,
    Problem,
    as_block_size,
    as_floating,
    check_choice,
    lay_out,
)
from jaxinfo.linear._head import meet
from jaxinfo.linear._modes import reverse_only
from jaxinfo.linear._pair import Level, Terms, shift_terms, sums
from jaxinfo.linear._pair_derivatives import Heads, Slopes, attached, sums_any
from jaxinfo.linear._reverse import rows_reverse
from jaxinfo.linear._rows import Fixed, Inputs, Plan
from jaxinfo.linear._shards import merge
from jaxinfo.linear._strategy import block_of


class TwoHeads(NamedTuple):
    """Two heads over one vocabulary.

    Attributes:
        plan: how their classes are gone over.
        heads: p's and q's.
        fixed: the classes included and the rows that count.
        levels: the log-normalisers of both over all classes.
        shift: by how much the difference of these is off (`jaxinfo.linear._pair`).
        problem: how results are laid out.
    """

    plan: Plan
    heads: Heads
    fixed: Fixed
    levels: tuple[Level, Level]
    shift: jax.Array
    problem: Problem

    def total(self, terms: Terms, count: int) -> tuple[jax.Array, ...]:
        """Return sums of terms over all classes, without a derivative."""
        heads, levels = jax.lax.stop_gradient((self.heads, self.levels))
        heads, fixed, levels, shift = meet(heads, self.fixed, levels, self.shift)
        return self._over_shards(sums(terms, count, self.plan, heads, fixed, levels, shift))

    def total_any(self, terms: Terms, count: int) -> tuple[jax.Array, ...]:
        """Return the same with derivatives of every mode and order."""
        heads, fixed, levels, shift = meet(self.heads, self.fixed, self.levels, self.shift)
        return self._over_shards(sums_any(terms, count, self.plan, heads, fixed, levels, shift))

    def with_slopes(self, value: jax.Array, slopes: Slopes, values: tuple) -> jax.Array:
        """Return `value`, with `slopes(pair, *values)` as its derivative to the logits of both."""
        heads, fixed, known = meet(self.heads, self.fixed, (self.levels, self.shift, values))
        with reverse_only():
            nothing: Any = attached(slopes, self.plan, heads, fixed, known)
        return value + self._over_shards((nothing,))[0]

    def settle(self, values: jax.Array) -> jax.Array:
        """Return the values in the batch shape, 0 where nothing is included."""
        counted = self.problem.counted
        return (values if counted is None else jnp.where(counted, values, 0)).reshape(self.problem.batch)

    def _over_shards(self, values: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        axis = self.problem.axis_name
        return values if axis is None else jax.lax.psum(values, axis)


def two_heads(
    p: tuple[Any, Any, Any],
    q: tuple[Any, Any, Any],
    options: Options,
    *,
    block_size: int | None,
    differentiation: str,
) -> TwoHeads:
    """Return the two heads, each given as hidden states, kernel and bias.

    Raises:
        TypeError: a dtype does not fit.
        ValueError: a shape or an option does not fit.
    """
    check_choice(differentiation, "differentiation", DIFFERENTIATION)
    size = as_block_size(block_size)
    arrays = {name: as_floating(a, name) for name, a in zip(("p_hidden", "p_kernel"), p[:2], strict=True)}
    arrays |= {name: as_floating(a, name) for name, a in zip(("q_hidden", "q_kernel"), q[:2], strict=True)}
    if arrays["q_hidden"].shape[:-1] != arrays["p_hidden"].shape[:-1]:
        wanted, got = arrays["p_hidden"].shape[:-1], arrays["q_hidden"].shape
        raise ValueError(f"`q_hidden` must have shape (*{wanted}, D), the batch shape of `p_hidden`, got {got}.")
    if arrays["q_kernel"].shape[-1:] != arrays["p_kernel"].shape[-1:]:
        wanted, got = arrays["p_kernel"].shape, arrays["q_kernel"].shape
        raise ValueError(f"`q_kernel` must have as many classes as `p_kernel` {wanted}, got {got}.")
    problems = [
        lay_out(*parts, options, also=tuple(arrays.values()), prefix=prefix) for parts, prefix in ((p, "p_"), (q, "q_"))
    ]
    first, counted = problems[0], problems[0].counted
    heads = (first.head, problems[1].head)
    if differentiation == "any":
        # level and terms have slopes of their own, which may cancel: half precisions would round each, not the sum
        heads = jax.tree.map(lambda a: a.astype(first.dtype), heads)
    heads, fixed = meet(heads, Fixed(None, first.included, counted))
    plan = Plan(block_of(size, Inputs(heads[0])), first.dtype, "top")
    normalise: Any = rows_any if differentiation == "any" else rows_reverse
    levels = []
    for head in heads:
        # in reverse mode the slopes are those of the whole, the levels' part in them included
        still = head if differentiation == "any" else jax.lax.stop_gradient(head)
        rows = merge(normalise(plan, Inputs(still), fixed)[0], None, options.axis_name)
        if counted is not None:
            rows = rows._replace(top=jnp.where(counted, rows.top, 0), lse=jnp.where(counted, rows.lse, 0))
        nan = jnp.where(rows.lse == -jnp.inf, jnp.nan, 1).astype(first.dtype)  # all -inf is no distribution
        levels.append(Level(rows.top, rows.lse * nan))
    pair = TwoHeads(plan, heads, fixed, (levels[0], levels[1]), jnp.zeros_like(levels[0].top), first)
    return pair._replace(shift=jnp.log1p(pair.total(shift_terms, 1)[0]))
