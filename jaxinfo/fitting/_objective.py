"""The objective of a fit: the summed weighted NLL plus the penalty, at once or a block of examples at a time."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxinfo._reduce import mean, total

Loss = Callable[[Any, Any], jax.Array]
Penalty = Callable[[Any], jax.Array]


class Parts(NamedTuple):
    """The summed NLL, and the weight it is summed over."""

    nll: jax.Array
    weight: jax.Array


def make_objective(
    loss: Loss, data: Any, weights: ArrayLike | None, penalty: Penalty | None, block: int | None = None
) -> Callable[[Any], tuple[jax.Array, Parts]]:
    """Return params -> (sum of weights * loss + penalty, its parts).

    With a `block` the examples are taken that many at a time and each block's intermediate results are
    computed anew for the derivative, so that memory does not grow with the number of examples.
    """

    def objective(params: Any) -> tuple[jax.Array, Parts]:
        if block is None:
            nll, weight = total(loss(params, data), weights=None if weights is None else jnp.asarray(weights))
        else:
            nll, weight = _blocked_total(loss, params, data, weights, block)
        value = nll if penalty is None else nll + jnp.asarray(penalty(params)).astype(nll.dtype)
        return value, Parts(nll, weight)

    return objective


def mean_loss(loss: Loss, params: Any, data: Any, block: int | None = None) -> jax.Array:
    """Return the NLL per example, in nats."""
    if block is None:
        return mean(loss(params, data))
    nll, weight = _blocked_total(loss, params, data, None, block)
    return nll / weight


def _blocked_total(
    loss: Loss, params: Any, data: Any, weights: ArrayLike | None, block: int
) -> tuple[jax.Array, jax.Array]:
    count = examples(data)
    blocks = -(-count // block)

    @jax.checkpoint
    def add(sums: tuple[jax.Array, jax.Array], rows: jax.Array) -> tuple:
        batch, batch_weights = take(data, weights, rows, count)
        losses = loss(params, batch)
        nll, weight = total(losses, weights=batch_weights.astype(losses.dtype))
        return (sums[0] + nll, sums[1] + weight), None

    rows = jnp.arange(blocks * block, dtype=jnp.int32).reshape(blocks, block)
    one = jax.eval_shape(lambda: loss(params, take(data, weights, rows[0], count)[0]))
    zero = jnp.zeros((), one.dtype)
    return jax.lax.scan(add, (zero, zero), rows)[0]


def examples(data: Any) -> int:
    """Return the number of examples: the length of the first axis, which all leaves of `data` share.

    Raises:
        ValueError: they do not share it, or there is no leaf.
    """
    leaves = jax.tree_util.tree_leaves_with_path(data)
    lengths = {"data" + jax.tree_util.keystr(path): jnp.shape(leaf)[:1] for path, leaf in leaves}
    if len(set(lengths.values())) != 1 or () in lengths.values():
        got = ", ".join(f"{name} {shape[0] if shape else 'a scalar'}" for name, shape in lengths.items())
        raise ValueError(f"`data` must have one row per example in every leaf to be batched, got {got or 'no leaf'}.")
    return int(next(iter(lengths.values()))[0])


def take(data: Any, weights: ArrayLike | None, rows: jax.Array, count: int) -> tuple[Any, jax.Array]:
    """Return the examples at `rows` and their weights: 0 for a row beyond the last, which only fills the batch."""
    there = rows < count
    index = jnp.where(there, rows, 0)
    batch = jax.tree.map(lambda leaf: jnp.asarray(leaf)[index], data)
    if weights is None:
        return batch, there.astype(jnp.float32)
    weights = jnp.asarray(weights)
    return batch, jnp.where(there, weights[index], jnp.zeros((), weights.dtype))


def float_params(params: Any) -> Any:
    """Return `params` as arrays.

    Raises:
        TypeError: a leaf is neither float32 nor float64; a half precision cannot resolve an estimate.
        ValueError: there is no parameter at all.
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    for path, leaf in leaves:
        if not (hasattr(leaf, "dtype") or isinstance(leaf, int | float | complex)):
            raise TypeError(f"`params` must be a pytree of float32 or float64 arrays, got {leaf!r} among them.")
        if jnp.result_type(leaf) not in (jnp.float32, jnp.float64):
            where = "params" + jax.tree_util.keystr(path)
            raise TypeError(f"`{where}` must have dtype float32 or float64, got {jnp.result_type(leaf)}.")
    if sum(jnp.size(leaf) for _, leaf in leaves) == 0:
        raise ValueError("`params` must hold at least one parameter, got none.")
    # a weakly typed leaf (a Python float, or an array made of one) would change type within the loop
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype=jnp.result_type(leaf)), params)
