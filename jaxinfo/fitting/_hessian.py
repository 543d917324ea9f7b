"""The exact Hessian of many examples: by linear predictors where the loss has some, a tile of rows at a time.

A loss that may be anything gives its Hessian by one product for each parameter, and their intermediate results, of
all examples, would go through memory again and again. On CPUs a tile of rows stays in the cache, and the sum over
tiles is the same number.
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
from jaxinfo.fitting._predictors import Predicted, predicted
from jaxinfo.fitting._problem import Curvature, Problem
from jaxinfo.fitting._trees import away

_PROBED = 16  # rows whose losses are taken apart from the others to see that these do not matter to them
_AT_ONCE = 2**26  # numbers of an intermediate result by predictors, where no cache bounds them


def curvature_of(problem: Problem, params: Any) -> Curvature | None:
    """Return how the exact Hessian is best made; None where a product for each parameter is, or none is wanted.

    Rows are taken a few at a time where there are many, and by their predictors where a loss has some. Both ask for
    one whose examples are those of the data, row by row, and each for itself, as losses are meant: a partial
    likelihood is not. Nothing is rearranged where data lie on several devices, or parameters have several precisions.
    """
    loss, data, count = problem.loss, problem.inputs.data, problem.examples
    arrays = jax.tree.leaves((data, problem.inputs.weights))
    if problem.method.name != "newton" or not count or jax.eval_shape(loss, params, data).shape != (count,):
        return None
    several = any(len(leaf.sharding.device_set) > 1 for leaf in arrays)
    if several or len({leaf.dtype for leaf in jax.tree.leaves(params)}) > 1:
        return None
    made = _separate(loss, params, data)
    width = _width(loss, params, data, count, made)
    size = _tiles.tile_size(width)
    if size is None and made is not None:
        size = max(1, _AT_ONCE // width)
    rows = {jnp.shape(leaf)[:1] for leaf in arrays} == {(count,)}
    tile = size if rows and size and count >= 2 * size and _row_by_row(loss, params, data, count) else None
    by_predictors = made is not None and (tile is not None or count * width <= 2 * _AT_ONCE)
    return Curvature(tile, by_predictors) if tile or by_predictors else None


def hessian(problem: Problem, params: Any) -> jax.Array:
    """Return the Hessian [p, p] of the objective at `params`, made as `problem.curvature` says."""
    assert problem.curvature is not None
    flat, unravel = ravel_pytree(params)
    data, weights = problem.inputs.data, problem.inputs.weights
    penalty, count, (size, _) = problem.penalty, problem.examples, problem.curvature
    start = jnp.zeros((flat.size, flat.size), flat.dtype)
    if penalty is not None:
        start += exact_hessian(hessian_product(lambda x: jnp.asarray(penalty(unravel(x))), flat), flat)
    if size is None:
        return start + _of_rows(problem, params, data, weights)

    def add(tile: jax.Array, hessian: jax.Array) -> jax.Array:
        # the last tile ends with the last example; what it has in common with the one before counts once
        first = jnp.minimum(tile * size, count - size)
        cut = lambda leaf: jax.lax.dynamic_slice_in_dim(jnp.asarray(leaf), first, size)  # noqa: E731
        ours = (first + jnp.arange(size) >= tile * size).astype(flat.dtype)
        ours = ours if weights is None else ours * cut(weights).astype(flat.dtype)
        return hessian + _of_rows(problem, params, jax.tree.map(cut, data), ours)

    return jax.lax.fori_loop(0, -(-count // size), add, start)


def _of_rows(problem: Problem, params: Any, rows: Any, weights: jax.Array | None) -> jax.Array:
    """Return the Hessian of the weighted sum of the losses of `rows`."""

    def summed(losses: jax.Array) -> jax.Array:
        return total(losses, weights=None if weights is None else weights.astype(losses.dtype))[0]

    assert problem.curvature is not None
    if problem.curvature.by_predictors and (made := predicted(problem.loss, params, rows)) is not None:
        return made.hessian(params, rows, summed)
    flat, unravel = ravel_pytree(params)
    return exact_hessian(hessian_product(lambda x: summed(problem.loss(unravel(x), rows)), flat), flat)


def _separate(loss: Loss, params: Any, data: Any) -> Predicted | None:
    """Return the loss by its linear predictors, if it has some and each example takes its own row of them only."""
    made = predicted(loss, params, data)
    if made is None:
        return None
    separate = made.separate
    with jax.debug_nans(False):  # away from the starting point a loss may have no value
        return made if jax.jit(lambda params, data: separate(away(params), data))(params, data) else None


def _width(loss: Loss, params: Any, data: Any, count: int, made: Predicted | None) -> int:
    """Return how many numbers an example adds to the largest intermediate result of its Hessian."""
    values = max(1, largest(jax.make_jaxpr(loss)(params, data).jaxpr) // count)
    if made is None:
        return values * sum(leaf.size for leaf in jax.tree.leaves(params))
    return max(values * made.directions, made.width)


def _row_by_row(loss: Loss, params: Any, data: Any, count: int) -> bool:
    """Whether a few rows, and half of them, have the losses without the others that they have among them."""
    # Rows are drawn at random: neighbours, as in groups or series, are torn apart. The few show what a mean over all
    # rows does, the half what only some rows do to each other.
    random = np.random.default_rng(0)
    samples = [random.permutation(count)[:size] for size in (min(_PROBED, count), count // 2)]

    @jax.jit
    def losses(params: Any, data: Any, samples: list[jax.Array]) -> list[tuple[jax.Array, jax.Array]]:
        params = away(params)
        whole = loss(params, data)
        return [(whole[rows], loss(params, jax.tree.map(itemgetter(rows), data))) for rows in samples]

    try:
        with jax.debug_nans(False):
            pairs = losses(params, data, samples)
    except Exception:  # made for as many rows as there are, such as one that closes over offsets
        return False
    close = jnp.finfo(jnp.result_type(*jax.tree.leaves(params))).eps ** 0.5
    return all(among.shape == apart.shape and np.allclose(among, apart, close, close) for among, apart in pairs)
