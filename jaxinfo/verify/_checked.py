"""Conditions on values, which a compiled function cannot raise on, made errors."""

import functools
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np


def checked(f: Callable[..., Any]) -> Callable[..., Any]:
    """Return `f`, compiled, raising where its arguments' values make no sense.

    A label out of range makes a loss nan, and a nan logit everything after it; inside `jit` nothing can be raised. This
    runs `f` through `chex.chexify`, so that these conditions, and every value assertion of chex inside `f`, are errors:

    - every floating array is finite;
    - an integer array of the batch shape of the first floating array holds labels in [0, V), V its last axis.

    What a keyword argument `where` excludes is not looked at.

    Args:
        f: A function of arrays, options and pytrees. Compile it here and not outside: `checked(f)` is jitted already,
            and errors cannot leave an outer `jit`. For gradients, check the gradient: `checked(jax.grad(f))`.

    Returns:
        A function of the same arguments, which raises an AssertionError before it returns.

    Examples:
        >>> import jax.numpy as jnp, optax
        >>> from jaxinfo import verify
        >>> loss = verify.checked(optax.softmax_cross_entropy_with_integer_labels)
        >>> loss(jnp.zeros((1, 3)), jnp.array([3]))  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        AssertionError: labels must be in [0, 3)
    """

    @functools.partial(jax.jit, static_argnums=0)
    def run(static: "_Static", arrays: list[Any]) -> Any:
        leaves = list(static.leaves)
        for place, array in zip(static.places, arrays, strict=True):
            leaves[place] = array
        args, kwargs = jax.tree_util.tree_unflatten(static.tree, leaves)
        _assert_values(args, kwargs)
        return f(*args, **kwargs)

    guarded = chex.chexify(run, async_check=False)

    @functools.wraps(f)
    def call(*args: Any, **kwargs: Any) -> Any:
        leaves, tree = jax.tree_util.tree_flatten((args, kwargs))
        places = tuple(i for i, leaf in enumerate(leaves) if isinstance(leaf, jax.Array | np.ndarray | np.generic))
        rest = tuple(None if i in places else leaf for i, leaf in enumerate(leaves))
        return guarded(_Static(tree, places, rest), [leaves[i] for i in places])

    return call


class _Static(tuple):
    """What is not an array: the tree, where arrays go, and everything else; hashable, as jit wants it."""

    def __new__(cls, tree: Any, places: tuple[int, ...], leaves: tuple[Any, ...]) -> "_Static":
        return super().__new__(cls, (tree, places, leaves))

    @property
    def tree(self) -> Any:
        return self[0]

    @property
    def places(self) -> tuple[int, ...]:
        return self[1]

    @property
    def leaves(self) -> tuple[Any, ...]:
        return self[2]


def _assert_values(args: Any, kwargs: dict[str, Any]) -> None:
    where = kwargs.get("where")
    arrays = [x for x in jax.tree_util.tree_leaves((args, kwargs)) if isinstance(x, jax.Array)]
    floats = [x for x in arrays if jnp.issubdtype(x.dtype, jnp.inexact)]
    if not floats:
        return
    logits = floats[0]
    counts = jnp.ones(logits.shape, bool) if where is None else jnp.broadcast_to(where, logits.shape)
    for x in floats:
        shown = jnp.where(counts, x, 0) if x.shape == logits.shape else x
        chex.assert_tree_all_finite(shown)
    if logits.ndim == 0:
        return
    classes, rows = logits.shape[-1], counts.any(axis=-1)
    for x in arrays:
        if jnp.issubdtype(x.dtype, jnp.integer) and x.shape == logits.shape[:-1]:
            wide = x.astype(jnp.int32)
            inside = jnp.where(rows, (wide >= 0) & (wide < classes), True)
            _assert_all(inside, f"labels must be in [0, {classes})")


def _assert_all(condition: jax.Array, text: str) -> None:
    chex.assert_trees_all_equal(condition, jnp.ones_like(condition), custom_message=text)
