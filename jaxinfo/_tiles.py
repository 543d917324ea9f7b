"""Rows taken a few at a time on CPUs, so that what a long formula writes out stays in the cache."""

import math
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

_ELEMENTS = 2**17  # of each array that a core works on at a time: half a megabyte of float32


def by_tiles(form: Callable[..., Any], axis: int, *arrays: jax.Array) -> Any:
    """Return what `form` makes of the rows of `arrays`, tile after tile where that pays.

    Not differentiable. The last tile ends with the last row: where tiles do not divide the rows, some come twice.

    Args:
        form: of arrays with their classes along `axis`, returns a tree of values of rows, that axis kept as 1.
        axis: of the classes; the rows are cut only where it is the last.
        *arrays: of one shape.
    """
    *batch, classes = arrays[0].shape
    rows, size = math.prod(batch), tile_size(classes)
    if axis != -1 or size is None or rows < 2 * size:
        return form(*arrays)
    flat = [x.reshape(rows, classes) for x in arrays]
    starts = jnp.arange(0, rows, size)  # the slice that would end beyond the last row is moved back to end with it
    tiles = jax.lax.map(lambda start: form(*(_cut(x, start, size) for x in flat)), starts)
    last = rows - size * (len(starts) - 1)

    def joined(x: jax.Array) -> jax.Array:
        return jnp.concatenate([x[:-1].reshape(rows - last, 1), x[-1, size - last :]]).reshape(*batch, 1)

    return jax.tree.map(joined, tiles)


def _cut(x: jax.Array, start: jax.Array, size: int) -> jax.Array:
    """Return rows of `x`, half precision as bits: XLA's CPU backend would convert all its floats to cut some of them.

    The barrier ties the bits to the tile; from outside of the loop they would be a copy of the whole array.
    """
    if x.dtype.itemsize != 2:
        return jax.lax.dynamic_slice_in_dim(x, start, size)
    x, start = jax.lax.optimization_barrier((x, start))
    bits = jax.lax.bitcast_convert_type(x, jnp.uint16)
    return jax.lax.bitcast_convert_type(jax.lax.dynamic_slice_in_dim(bits, start, size), x.dtype)


def tile_size(classes: int) -> int | None:
    """Return the number of rows of a tile, None if rows are to stay in one piece.

    Over several devices they are: rows may lie on all of them, and XLA would gather them to cut them.
    """
    if jax.default_backend() != "cpu" or jax.device_count() > 1:
        return None
    return _cores() * max(1, _ELEMENTS // max(classes, 1))


def _cores() -> int:
    """Return how many cores this process may run on: XLA splits each tile among them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
