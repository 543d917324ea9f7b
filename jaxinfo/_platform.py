"""Two forms of one quantity: by arithmetic alone where a CPU runs it, with care elsewhere and where a row needs it.

XLA's CPU backend has vectorised kernels for additions, products, minima, maxima and exponentials, and leaves
them at every selection. A form without selections does not serve every row (an infinite logit, a class that is
absent), but it can tell from its own sums which it does.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

from jaxinfo._classes import typed_sharding
from jaxinfo._tiles import by_tiles

LARGEST = 1e30  # the arithmetic forms keep logits within it; a class at -1e30 is as good as absent

Results = Any
Quick = Callable[..., tuple[jax.Array, Callable[[], Results]]]


def arithmetic_first(
    quick: Quick, careful: Callable[..., Results], *arrays: jax.Array, rows_along: int | None = None
) -> Results:
    """Return `careful` of the arrays, on CPUs what `quick` makes of the rows that it serves.

    Not differentiable by itself on the CPU: each caller states its derivative.

    Args:
        quick: of the arrays, returns which rows it is right for (class axis kept) and a function that makes the
            results, in the form of those of `careful`.
        careful: the results for any rows.
        *arrays: of one number of dimensions, in the canonical form: batch axes lead.
        rows_along: the class axis if arrays are of one shape and the results values of their rows: no more than a
            tile of rows is then worked on at a time.

    Returns:
        A tree of arrays that broadcast against the rows.
    """
    if any(x.size == 0 or typed_sharding(x) for x in arrays):
        return careful(*arrays)

    def rows(*arrays: jax.Array) -> Results:
        valid, make = quick(*arrays)

        def mixed() -> Results:
            return jax.tree.map(lambda fast, slow: jnp.where(valid, fast, slow), make(), careful(*arrays))

        return jax.lax.cond(jnp.all(valid), make, mixed)

    form = rows if rows_along is None else partial(by_tiles, rows, rows_along)
    return jax.lax.platform_dependent(
        *jax.lax.stop_gradient(arrays), cpu=lambda *arrays: _on_cpu(form, arrays), default=careful
    )


def within(x: jax.Array) -> jax.Array:
    """Return `x` with what is beyond the largest at it."""
    return jnp.minimum(jnp.maximum(x, -LARGEST), LARGEST)


def _on_cpu(form: Callable[..., Results], arrays: tuple[jax.Array, ...]) -> Results:
    """Return it; vmap is one more leading axis, where its own rule would turn `cond` into running both branches."""
    batchable = custom_vmap(form)

    @batchable.def_vmap
    def _(size: int, batched: list[bool], *batch: jax.Array) -> tuple[Results, Any]:
        lying = (x if lies else jnp.broadcast_to(x, (size, *x.shape)) for x, lies in zip(batch, batched, strict=True))
        out = _on_cpu(form, tuple(lying))
        return out, jax.tree.map(lambda _: True, out)

    return batchable(*arrays)
