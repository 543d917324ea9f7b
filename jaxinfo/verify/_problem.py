"""A function of pytrees as a function of a list of real arrays.

Only floating leaves are differentiated; integers, keys, strings and functions are held. A complex leaf is two real
ones. The flat function takes and returns lists of real arrays, so that everything after it is linear algebra.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxinfo.verify._floats import is_complex, is_float

Arrays = list[Any]


@dataclasses.dataclass(frozen=True)
class Part:
    """One real array of the flat function: where it comes from, and which part of a complex leaf it is."""

    path: str
    part: str
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def name(self) -> str:
        """The leaf as a person writes it."""
        return f"{self.part}({self.path})" if self.part else self.path


@dataclasses.dataclass(frozen=True)
class Problem:
    """The flat function, the point, and the names of its inputs and outputs."""

    call: Callable[[Sequence[Any]], Arrays]
    point: Arrays
    inputs: tuple[Part, ...]
    outputs: tuple[Part, ...]

    def at(self, point: Sequence[Any]) -> "Problem":
        """Return the same function at another point, in whatever dtypes that has."""
        inputs = tuple(dataclasses.replace(p, dtype=np.dtype(x.dtype)) for p, x in zip(self.inputs, point, strict=True))
        return dataclasses.replace(self, point=list(point), inputs=inputs)


def flatten(f: Callable[..., Any], args: Sequence[Any], dtype: Any = None) -> Problem:
    """Return `f` at `args` as a flat problem, floating leaves cast to `dtype` if one is given.

    Raises:
        TypeError: `f` cannot be called.
    """
    if not callable(f):
        raise TypeError(f"`f` must be a function, got {type(f).__name__}.")
    paths, tree = jax.tree_util.tree_flatten_with_path(tuple(args))
    leaves = [leaf for _, leaf in paths]
    inputs: list[Part] = []
    point: Arrays = []
    where: list[tuple[int, bool]] = []
    for i, (path, leaf) in enumerate(paths):
        array = _floating(leaf, dtype)
        if array is None:
            continue
        where.append((i, is_complex(array.dtype)))
        for part, value in _parts(array):
            inputs.append(Part(_spell(path, "args"), part, value.shape, np.dtype(value.dtype)))
            point.append(value)

    def call(xs: Sequence[Any]) -> Arrays:
        filled, rest = list(leaves), list(xs)
        for i, both in where:
            filled[i] = jax.lax.complex(rest.pop(0), rest.pop(0)) if both else rest.pop(0)
        out = jax.tree_util.tree_leaves(f(*jax.tree_util.tree_unflatten(tree, filled)))
        return [value for leaf in out for _, value in _parts(_floating(leaf))]

    def named(xs: Sequence[Any]) -> Any:
        filled, rest = list(leaves), list(xs)
        for i, both in where:
            filled[i] = jax.lax.complex(rest.pop(0), rest.pop(0)) if both else rest.pop(0)
        out = f(*jax.tree_util.tree_unflatten(tree, filled))
        return jax.tree_util.tree_map(lambda leaf: a if (a := _floating(leaf)) is not None else (), out)

    shapes = jax.eval_shape(named, point)
    outputs = [
        Part(_spell(path, "output"), part, tuple(leaf.shape), np.dtype(jnp.finfo(leaf.dtype).dtype))
        for path, leaf in jax.tree_util.tree_flatten_with_path(shapes)[0]
        for part in (("real", "imag") if is_complex(leaf.dtype) else ("",))
    ]
    return Problem(call, point, tuple(inputs), tuple(outputs))


def _floating(leaf: Any, dtype: Any = None) -> jax.Array | None:
    """Return `leaf` as an array if it is a real or complex floating number or array, in `dtype` if it is given."""
    if not isinstance(leaf, jax.Array | np.ndarray | np.generic | float | complex):
        return None
    kind = getattr(leaf, "dtype", None)
    if kind is not None and not (is_float(kind) or is_complex(kind)):
        return None
    array = jnp.asarray(leaf)
    if dtype is None:
        return array
    if is_complex(array.dtype):
        return array.astype(jnp.result_type(dtype, jnp.complex64))
    return array.astype(dtype)


def parts_of(leaf: Any) -> list[tuple[str, jax.Array]]:
    """Return the real arrays that a leaf is differentiated as: one, the two of a complex one, or none."""
    return _parts(_floating(leaf))


def _parts(array: jax.Array | None) -> list[tuple[str, jax.Array]]:
    if array is None:
        return []
    if is_complex(array.dtype):
        return [("real", jnp.real(array)), ("imag", jnp.imag(array))]
    return [("", array)]


def _spell(path: Sequence[Any], root: str) -> str:
    return root + jax.tree_util.keystr(tuple(path))


def cast_tree(args: Any, dtype: np.dtype) -> Any:
    def one(leaf: Any) -> Any:
        kind = getattr(leaf, "dtype", None)
        if kind is not None and jnp.issubdtype(kind, jnp.floating):
            return np.asarray(leaf).astype(dtype)
        return leaf

    return jax.tree_util.tree_map(one, tuple(args))
