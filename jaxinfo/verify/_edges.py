"""Inputs at which numerical code breaks."""

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxinfo.verify._floats import is_float

Edge = tuple[str, list[np.ndarray]]


def edges(leaves: list[np.ndarray], names: list[str]) -> Iterator[Edge]:
    """Yield what was done and the leaves, one leaf changed at a time: ties, infinities, masks, zeros, sizes, pairs.

    Floating leaves of any dtype come and go as arrays of that dtype; integer leaves that have the batch shape of a
    floating one get labels out of range.
    """
    yield "as given", leaves
    for k, leaf in enumerate(leaves):
        if is_float(leaf.dtype) and leaf.size:
            for name, changed in _float_edges(leaf):
                yield f"{names[k]}: {name}", [*leaves[:k], changed.astype(leaf.dtype), *leaves[k + 1 :]]
    yield from _pairs(leaves, names)
    yield from out_of_range(leaves, names)


def out_of_range(leaves: list[np.ndarray], names: list[str]) -> Iterator[Edge]:
    """Yield labels that name no class, whichever axis of the floating leaves the classes are along."""
    floats = [x for x in leaves if is_float(x.dtype) and x.ndim]
    wide = [x for x in floats if x.ndim > 1] or floats
    for k, leaf in enumerate(leaves):
        if not np.issubdtype(leaf.dtype, np.integer) or all(leaf.shape != x.shape[:-1] for x in floats):
            continue
        # of logits the last axis; of features, kernel and bias it may be any
        classes = wide[0].shape[-1] if len(wide) == 1 else max(size for x in wide for size in x.shape)
        for label in (-1, -100, classes, classes + 100):
            info = np.iinfo(leaf.dtype)
            if info.min <= label <= info.max and leaf.size:
                changed = leaf.copy()
                changed.flat[0] = label
                yield f"{names[k]}: label {label} of {classes} classes", [*leaves[:k], changed, *leaves[k + 1 :]]


def _float_edges(leaf: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    info = jnp.finfo(leaf.dtype)
    wide = leaf.astype(np.float64)
    largest, tiny = float(info.max), float(info.smallest_normal)

    def at(place: Any, value: Any, base: np.ndarray = wide) -> np.ndarray:
        changed = np.array(base, dtype=np.float64)
        changed[place] = value
        return changed

    first: Any = (0,) * leaf.ndim
    row: Any = (*(0,) * (leaf.ndim - 1), slice(None)) if leaf.ndim else ()
    yield "all equal", np.full(leaf.shape, wide.flat[0] if np.isfinite(wide.flat[0]) else 1.0)
    yield "all 0", np.zeros(leaf.shape)
    yield "all 1", np.ones(leaf.shape)
    yield "a zero", at(first, 0.0)
    yield "a negative zero", at(first, -0.0)
    yield "two maxima", at((..., slice(0, 2)) if leaf.ndim else first, wide.max() + 1)
    yield "one -inf", at(first, -np.inf)
    yield "one +inf", at(first, np.inf)
    yield "a row of -inf", at(row, -np.inf)
    yield "all but one -inf", at(first, 0.0, at(row, -np.inf))
    yield "subnormal", at(first, tiny / 4)
    yield "smallest normal", at(first, tiny)
    yield "largest", at(first, largest)
    yield "largest, negative", at(first, -largest)
    yield "all a quarter of the largest", np.full(leaf.shape, largest / 4)
    for gap in (20.0, 90.0, 200.0, 800.0):
        yield f"a gap of {gap:g}", at(first, np.max(wide) + gap)
        yield f"a gap of -{gap:g}", at(first, np.min(wide) - gap)
    for offset in (1e3, 1e4, 1e8):
        if offset < largest / 8:
            yield f"an offset of {offset:g}", wide + offset
    yield "a thousandth of it", wide / 1000
    yield "a hundred times it", np.clip(wide * 100, -largest / 8, largest / 8)


def _pairs(leaves: list[np.ndarray], names: list[str]) -> Iterator[Edge]:
    """Yield two leaves of one shape that are equal, that nearly are, and that are masked at the same place."""
    for k, one in enumerate(leaves):
        for j in range(k + 1, len(leaves)):
            other = leaves[j]
            if not (is_float(one.dtype) and is_float(other.dtype) and one.shape == other.shape):
                continue
            if one.ndim and one.size:
                masked, zeroed = np.array(one), np.array(other)
                masked[(0,) * one.ndim], zeroed[(0,) * one.ndim] = -np.inf, 0
                both = [*leaves[:k], masked, *leaves[k + 1 : j], np.array(zeroed), *leaves[j + 1 :]]
                yield f"{names[k]}: one -inf, {names[j]}: 0 there", both
                zeroed[(0,) * one.ndim] = -np.inf
                both = [*leaves[:k], masked, *leaves[k + 1 : j], np.array(zeroed), *leaves[j + 1 :]]
                yield f"{names[k]} and {names[j]}: one -inf", both
            unit = float(jnp.finfo(one.dtype).eps)
            for name, change in (("equal to", 1.0), ("all but equal to", 1 + 4 * unit)):
                changed = (one.astype(np.float64) * change).astype(other.dtype)
                yield f"{names[j]}: {name} {names[k]}", [*leaves[:j], changed, *leaves[j + 1 :]]
