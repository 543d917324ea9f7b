"""Lists of arrays as one float64 vector, and back."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

Vector = np.ndarray


def join(arrays: Sequence[Any]) -> Vector:
    """Return all elements as one float64 vector."""
    flat = [np.asarray(a).astype(np.float64).ravel() for a in arrays]
    return np.concatenate(flat) if flat else np.zeros(0)


def split(vector: Vector, like: Sequence[Any]) -> list[Vector]:
    """Return the vector cut into float64 arrays of the shapes of `like`."""
    ends = np.cumsum([int(np.prod(a.shape)) for a in like])[:-1]
    return [part.reshape(a.shape) for part, a in zip(np.split(vector, ends), like, strict=True)]


def cast(arrays: Sequence[Any], like: Sequence[Any]) -> list[Any]:
    """Return jax arrays in the dtypes of `like`."""
    return [jnp.asarray(a, x.dtype) for a, x in zip(arrays, like, strict=True)]


def place(index: int, like: Sequence[Any]) -> tuple[int, tuple[int, ...]]:
    """Return which array an element of the joined vector lies in, and where in it."""
    for k, a in enumerate(like):
        size = int(np.prod(a.shape))
        if index < size:
            return k, tuple(int(i) for i in np.unravel_index(index, a.shape)) if a.shape else ()
        index -= size
    raise IndexError(index)
