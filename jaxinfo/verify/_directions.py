"""The directions along which a derivative is checked.

One random direction sees any error with probability 1, but not equally well: an element whose gradient is a millionth
of the others' is hidden under their rounding, and errors of one sign cancel against random signs. So:

random       signs and 1.5-fold sizes, on the scale of each leaf
ascent       the signs of the claimed gradient: nothing cancels, a wrong scale or sign is seen whole
equalised    each element weighted by the inverse of its claimed gradient, so that all contribute alike
relative     each element on its own scale, for inputs near the edge of a domain, and at its own pace: no two stay equal
uniform      all ones: what should not depend on a common shift
leaf         one leaf alone

Entries have few binary places, most are 1 or 1.5 times a power of two, so that x + h v is exact for float32 inputs held
in float64.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxinfo.verify._vectors import Vector, join, split

_TANGENT = 2.0**100  # of elements near the largest float32, so that a tangent is one too
_MIXED = 2.0**20  # how many times the typical element of a leaf the largest may be


@dataclasses.dataclass(frozen=True)
class Direction:
    """A name and one float64 array per input."""

    name: str
    v: list[np.ndarray]


def direction(name: str, v: Sequence[Any]) -> Direction:
    """Return the named direction; products of arrays without axes are numbers, which a direction does not hold."""
    return Direction(name, [np.asarray(d) for d in v])


def scale_of(x: np.ndarray) -> float:
    """Return the power of two nearest to the root mean square of the finite elements; 1 for zeros and nothing."""
    finite = x[np.isfinite(x)]
    largest = float(np.abs(finite).max()) if finite.size else 0.0
    if largest == 0.0:
        return 1.0
    rms = largest * float(np.sqrt(np.mean((finite / largest) ** 2)))
    return 2.0 ** float(np.clip(np.round(np.log2(rms)), -900, 900))


def scales(x: np.ndarray) -> np.ndarray:
    """Return the scale of each element: that of its leaf, or its own where a leaf mixes sizes, as masked logits do."""
    sizes = np.sort(np.abs(x[np.isfinite(x) & (x != 0)]))
    if sizes.size and sizes[-1] > _MIXED * sizes[(sizes.size - 1) // 2]:
        return own_scale(x)
    return np.full(x.shape, scale_of(x))


def power(x: Any) -> Any:
    """Return `x` rounded to a power of two."""
    return 2.0 ** np.round(np.log2(x))


def signs(rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    """Return random elements of -1.5, -1, 1, 1.5."""
    return np.asarray(rng.choice(np.array([-1.5, -1.0, 1.0, 1.5]), size=tuple(shape)))


def first_directions(xs: list[np.ndarray], rng: np.random.Generator, count: int) -> list[Direction]:
    """Return the directions that need no claim to be known: `count` in all, at least one random."""
    kinds: list[Callable[[], Direction]] = [
        lambda: direction("random", [signs(rng, x.shape) * scales(x) for x in xs]),
        lambda: direction(
            "relative", [d * signs(rng, x.shape) * own_scale(x) for x, d in zip(xs, paces(xs, rng), strict=True)]
        ),
        lambda: direction("uniform", [np.full(x.shape, scales(x).min(initial=np.inf)) for x in xs]),
    ]
    return [kinds[i if i < len(kinds) else 0]() for i in range(max(1, count))]


def paces(xs: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """Return a different number in [1, 1.25) for each element of all leaves, with few binary places."""
    count = sum(x.size for x in xs)
    return split(1 + rng.permutation(count) / 2.0 ** (2 + int(count).bit_length()), xs)


def led_by(gradient: Vector, xs: list[np.ndarray], rng: np.random.Generator) -> list[Direction]:
    """Return the directions that the claimed gradient suggests."""
    gs = [np.where(np.isfinite(g), g, 0) for g in split(gradient, xs)]
    if not any(g.any() for g in gs):
        return []
    ascent = direction("ascent", [np.where(g == 0, 1.0, np.sign(g)) * scales(x) for g, x in zip(gs, xs, strict=True)])
    # what a leaf contributes, so that a leaf with a small gradient takes longer steps, within reason
    weights = [power(np.maximum(np.abs(g), 1e-4 * np.abs(g).max(initial=0) + np.finfo(float).tiny)) for g in gs]
    equalised = [
        signs(rng, x.shape) * scales(x) * np.clip(w.min() / w, 1e-4, 1) if w.size else np.zeros(x.shape)
        for w, x in zip(weights, xs, strict=True)
    ]
    return [ascent, direction("equalised", equalised)]


def leaf_by_leaf(xs: list[np.ndarray], rng: np.random.Generator) -> list[Direction]:
    """Return one direction for each leaf alone."""
    rows = []
    for k, x in enumerate(xs):
        v = [np.zeros(y.shape) for y in xs]
        v[k] = signs(rng, x.shape) * scales(x)
        rows.append(direction(f"leaf {k}", v))
    return rows


def own_scale(x: np.ndarray) -> np.ndarray:
    """Return each element's own power of two, that of the leaf for zeros and infinities."""
    size = np.abs(x)
    known = np.isfinite(size) & (size > 0)
    typical = np.sort(size[known])[: (known.sum() + 1) // 2]  # the smaller half, which no mask is among
    own = np.where(known, power(np.where(known, size, 1.0)), scale_of(typical))
    return np.where((own > _TANGENT) & (own <= 2.0**128), _TANGENT, own)


def largest(x: Vector) -> float:
    """Return the largest finite magnitude, 0 if there is none."""
    finite = np.abs(x[np.isfinite(x)])
    return float(finite.max()) if finite.size else 0.0


def is_symmetric(x: np.ndarray) -> bool:
    """Whether `x` holds symmetric matrices of more than one row."""
    return x.ndim >= 2 and x.shape[-1] == x.shape[-2] > 1 and bool((x == np.swapaxes(x, -1, -2)).all())


def symmetrised(v: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the symmetric part of `v` where `x` is symmetric."""
    return (v + np.swapaxes(v, -1, -2)) / 2 if is_symmetric(x) else v


def restricted(v: Sequence[np.ndarray], keep: Vector) -> list[np.ndarray]:
    """Return the direction with the elements that `keep` does not hold set to 0."""
    return split(join(v) * keep, v)


def ordinary(xs: list[np.ndarray]) -> Vector:
    """Return 1 for the elements that are neither 0 nor equal to another of their leaf: kinks mostly lie there."""
    keep = []
    for x in xs:
        flat = x.ravel()
        _, inverse, count = np.unique(flat, return_inverse=True, return_counts=True)
        keep.append(((count[inverse.ravel()] == 1) & (flat != 0) & np.isfinite(flat)).astype(float))
    return np.concatenate(keep)


def random_cotangent(rng: np.random.Generator, values: Vector, outputs: list, mask: np.ndarray) -> Vector:
    """Return a cotangent of random signs, weighted so that outputs of different size count alike; 1 for a scalar."""
    if values.size == 1:
        return np.ones(1)
    sizes = [max(largest(y), np.finfo(float).tiny) for y in split(np.where(mask, values, 0), outputs)]
    least = min(sizes)
    weights = [2.0 ** np.clip(np.round(np.log2(least / s)), -12, 0) for s in sizes]
    parts = [signs(rng, o.shape) * w for o, w in zip(outputs, weights, strict=True)]
    return join(parts) * mask
