"""Meshes of explicit axes: what JAX cannot lay out is left to its compiler, and results lie as arguments do."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
from jax.sharding import AxisType, PartitionSpec

Given = ParamSpec("Given")
Out = TypeVar("Out")


def explicit_axes(x: Any) -> tuple[str, ...]:
    """Return the mesh axes that arrays of this mesh carry in their type."""
    if not isinstance(x, jax.Array):
        return ()
    mesh = jax.typeof(x).sharding.mesh  # type: ignore[attr-defined]
    return tuple(name for name, kind in zip(mesh.axis_names, mesh.axis_types, strict=True) if kind is AxisType.Explicit)


def like_first(f: Callable[..., jax.Array], x: jax.Array, *others: jax.Array) -> jax.Array:
    """Return f(x, *others), which is laid out as x is."""
    axes = explicit_axes(x)
    if not axes:
        return f(x, *others)
    automatic: Any = jax.sharding.auto_axes(f, axes=axes, out_sharding=jax.typeof(x).sharding.spec)
    return automatic(x, *others)


def by_tokens(f: Callable[Given, Out]) -> Callable[Given, Out]:
    """Return f, whose results per example lie as its first argument, hidden states [..., D], lies by examples."""
    name = next(iter(inspect.signature(f).parameters))

    @functools.wraps(f)
    def call(*args: Given.args, **kwargs: Given.kwargs) -> Out:
        first = args[0] if args else kwargs.get(name)
        axes = explicit_axes(first)
        if not axes:
            return f(*args, **kwargs)
        leaves, tree = jax.tree.flatten((args, kwargs), is_leaf=lambda leaf: leaf is None)
        arrays = [leaf for leaf in leaves if isinstance(leaf, jax.Array)]

        def of_arrays(*arrays: jax.Array) -> Out:
            rest = iter(arrays)
            filled = [next(rest) if isinstance(leaf, jax.Array) else leaf for leaf in leaves]
            args, kwargs = jax.tree.unflatten(tree, filled)
            return f(*args, **kwargs)  # pyright: ignore[reportCallIssue]

        whole = kwargs.get("reduction", "none") in ("sum", "mean")
        spec = PartitionSpec() if whole else PartitionSpec(*jax.typeof(first).sharding.spec[:-1])
        automatic: Any = jax.sharding.auto_axes(of_arrays, axes=axes, out_sharding=spec)
        return automatic(*arrays)

    return call
