"""The objective of a fit: the summed weighted NLL plus the penalty."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxinfo._reduce import total

Loss = Callable[[Any, Any], jax.Array]
Penalty = Callable[[Any], jax.Array]


class Parts(NamedTuple):
    """The summed NLL, and the weight it is summed over."""

    nll: jax.Array
    weight: jax.Array


def make_objective(
    loss: Loss, data: Any, weights: ArrayLike | None, penalty: Penalty | None
) -> Callable[[Any], tuple[jax.Array, Parts]]:
    """Return params -> (sum of weights * loss + penalty, its parts)."""

    def objective(params: Any) -> tuple[jax.Array, Parts]:
        nll, weight = total(loss(params, data), weights=None if weights is None else jnp.asarray(weights))
        value = nll if penalty is None else nll + jnp.asarray(penalty(params)).astype(nll.dtype)
        return value, Parts(nll, weight)

    return objective


def float_params(params: Any) -> Any:
    """Return `params` as arrays.

    Raises:
        TypeError: a leaf is neither float32 nor float64; a half precision cannot resolve an estimate.
        ValueError: there is no parameter at all.
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    for path, leaf in leaves:
        if jnp.result_type(leaf) not in (jnp.float32, jnp.float64):
            where = "params" + jax.tree_util.keystr(path)
            raise TypeError(f"`{where}` must have dtype float32 or float64, got {jnp.result_type(leaf)}.")
    if sum(jnp.size(leaf) for _, leaf in leaves) == 0:
        raise ValueError("`params` must hold at least one parameter, got none.")
    # a weakly typed leaf (a Python float, or an array made of one) would change type within the loop
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype=jnp.result_type(leaf)), params)
