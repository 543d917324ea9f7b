"""The exact Hessian of many examples, a tile of rows at a time: on CPUs what it is made of then stays in the cache.

A loss that may be anything gives its Hessian by one product for each parameter, and their intermediate results, of
all examples, would go through memory again and again. The sum over tiles is the same number.
"""

from operator import itemgetter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from jaxinfo import _tiles
from jaxinfo._reduce import total
from jaxinfo.fitting._images import largest
from jaxinfo.fitting._newton import exact_hessian, hessian_product
from jaxinfo.fitting._objective import Loss
from jaxinfo.fitting._problem import Problem

_PROBED = 16  # rows whose losses are taken apart from the others to see that these do not matter to them
_AWAY = 0.1  # from the starting point, at which effects of other rows may happen to vanish


def tile_of(problem: Problem, params: Any) -> int | None:
    """Return how many examples a tile has, None where the Hessian is to be made of all at once.

    That is where there are few, no Newton step, several devices, or a loss whose examples are not those of the
    data row by row: each for itself, as losses are meant, but a partial likelihood is not.
    """
    data, weights = problem.inputs.data, problem.inputs.weights
    count = problem.examples
    shapes = [jnp.shape(leaf)[:1] for leaf in jax.tree.leaves((data, weights))]
    if problem.method.name != "newton" or not shapes or set(shapes) != {(count,)}:
        return None
    jaxpr = jax.make_jaxpr(problem.loss)(params, data)
    if [value.shape for value in jaxpr.out_avals] != [(count,)]:
        return None
    parameters = sum(leaf.size for leaf in jax.tree.leaves(params))
    size = _tiles.tile_size(parameters * max(1, largest(jaxpr.jaxpr) // count))
    if size is None or count < 2 * size:
        return None
    return size if _row_by_row(problem.loss, params, data, count) else None


def tiled_hessian(problem: Problem, params: Any) -> jax.Array:
    """Return the Hessian [p, p] of the objective at `params`, tile by tile of `problem.tile` examples.

    The last tile ends with the last example; what it has in common with the one before counts once.
    """
    flat, unravel = ravel_pytree(params)
    data, weights = problem.inputs.data, problem.inputs.weights
    count, size = problem.examples, problem.tile or problem.examples

    def add(tile: jax.Array, hessian: jax.Array) -> jax.Array:
        first = jnp.minimum(tile * size, count - size)
        cut = lambda leaf: jax.lax.dynamic_slice_in_dim(jnp.asarray(leaf), first, size)  # noqa: E731
        rows = jax.tree.map(cut, data)
        fresh = first + jnp.arange(size) >= tile * size

        def objective(x: jax.Array) -> jax.Array:
            losses = problem.loss(unravel(x), rows)
            ours = fresh.astype(losses.dtype)
            return total(losses, weights=ours if weights is None else ours * cut(weights).astype(losses.dtype))[0]

        return hessian + exact_hessian(hessian_product(objective, flat), flat)

    start = jnp.zeros((flat.size, flat.size), flat.dtype)
    penalty = problem.penalty
    if penalty is not None:
        start += exact_hessian(hessian_product(lambda x: jnp.asarray(penalty(unravel(x))), flat), flat)
    return jax.lax.fori_loop(0, -(-count // size), add, start)


def _row_by_row(loss: Loss, params: Any, data: Any, count: int) -> bool:
    """Whether a few rows, and half of them, have the losses without the others that they have among them."""
    # Rows are drawn at random: neighbours, as in groups or series, are torn apart. The few show what a mean over all
    # rows does, the half what only some rows do to each other.
    flat, unravel = ravel_pytree(params)
    noise, *draws = jax.random.split(jax.random.key(0), 3)
    away = unravel(flat + _AWAY * jax.random.normal(noise, flat.shape, flat.dtype))
    sizes = (min(_PROBED, count), count // 2)
    samples = [jax.random.permutation(draw, count)[:size] for draw, size in zip(draws, sizes, strict=True)]

    @jax.jit
    def losses(params: Any, data: Any) -> list[tuple[jax.Array, jax.Array]]:
        whole = loss(params, data)
        return [(whole[rows], loss(params, jax.tree.map(itemgetter(rows), data))) for rows in samples]

    try:
        pairs = losses(away, data)
    except Exception:  # made for as many rows as there are, such as one that closes over offsets
        return False
    close = jnp.finfo(flat.dtype).eps ** 0.5
    return all(among.shape == apart.shape and np.allclose(among, apart, close, close) for among, apart in pairs)
