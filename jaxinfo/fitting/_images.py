"""Many derivatives at one point: a block of directions at a time, as many as are fast and right."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import jaxprs_in_params
from jaxlib import version

_AT_ONCE = 64  # directions together at most
VALUES_AT_ONCE = 2**18  # of an intermediate result of theirs: what stays in a core's cache is many times faster


def images(push: Callable[[jax.Array], Any], directions: jax.Array, values: int = VALUES_AT_ONCE) -> Any:
    """Return what `push` makes of each of the directions [K, ...], stacked: `vmap` in blocks.

    A block is of so many directions as keep an intermediate result of theirs within so many `values`.
    """
    like = jax.ShapeDtypeStruct(directions.shape[1:], directions.dtype)
    if _wrong_together(like.dtype):
        return jax.lax.map(push, directions)
    at_once = min(_AT_ONCE, max(1, values // largest(jax.make_jaxpr(push)(like).jaxpr)))
    if len(directions) <= at_once:
        return jax.vmap(push)(directions)
    return jax.lax.map(push, directions, batch_size=at_once)


def _wrong_together(dtype: jnp.dtype) -> bool:
    """Return whether XLA gets tangents wrong that are taken together: from the first digit, in 3,000 rows of 6.

    In jaxlib 0.10.2, neither in 0.10.1 nor from 0.11 on, the CPU backend's kernel for a sum over the last axis and
    a use of it misreads a factor that has an axis less than the tangents, as every primal has.
    """
    return version.__version__ == "0.10.2" and jax.default_backend() == "cpu" and dtype != jnp.float64


def largest(jaxpr: Any) -> int:
    """Return the size of the largest result in a jaxpr and those within it."""
    sizes = [1]
    for eqn in jaxpr.eqns:
        sizes += [variable.aval.size for variable in eqn.outvars if hasattr(variable.aval, "size")]
        sizes += [largest(inner) for inner in jaxprs_in_params(eqn.params)]
    return max(sizes)
