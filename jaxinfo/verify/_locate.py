"""The one wrong element of a million, by halving the direction that saw it: about 2 log2(n) derivatives."""

from collections.abc import Callable

import numpy as np

from jaxinfo.verify._directions import own_scale, restricted
from jaxinfo.verify._engine import Engine
from jaxinfo.verify._vectors import Vector, join, split

_ROUNDING = 2.0**-48
_TINY = np.finfo(float).tiny


def _sum(x: Vector) -> float:
    return float(np.sum(x))


def bisect(size: int, residual: Callable[[np.ndarray], float], start: np.ndarray) -> int:
    """Return the index of an element to which `residual`, additive over sets of elements, owes most."""
    keep = np.flatnonzero(start)
    while len(keep) > 1:
        halves = keep[: len(keep) // 2], keep[len(keep) // 2 :]
        found = []
        for half in halves:
            mask = np.zeros(size)
            mask[half] = 1
            r = abs(residual(mask))
            found.append(np.inf if np.isnan(r) else r)
        keep = halves[int(found[1] > found[0])]
    return int(keep[0])


def wrong_input(engine: Engine, v: list[np.ndarray], u: Vector, claimed: Vector, *, careful: bool = False) -> int:
    """Return the input whose claimed derivative of <u, F> differs from the oracle's, by bisection of `v`."""
    weights = join(v)

    def residual(mask: np.ndarray) -> float:
        value, bar = engine.glance(restricted(v, mask), u, careful=careful)
        terms = claimed * weights * mask
        # in units of the bar, else the half with the greater rounding error looks worse
        return (_sum(terms) - value[-1]) / (bar[-1] + _ROUNDING * _sum(np.abs(terms)) + _TINY)

    return bisect(weights.size, residual, weights != 0)


def wrong_input_of_output(engine: Engine, v: list[np.ndarray], output: int, *, careful: bool = False) -> int:
    """Return the input whose tangent the forward mode carries wrongly into one output."""
    weights = join(v)
    u = np.zeros(engine.mask.size)
    u[output] = 1

    def residual(mask: np.ndarray) -> float:
        direction = restricted(v, mask)
        value, bar = engine.glance(direction, u, careful=careful)
        claim = engine.tangent(direction)[output]
        return (claim - value[output]) / (bar[output] + _ROUNDING * abs(claim) + _TINY)

    return bisect(weights.size, residual, weights != 0)


def wrong_output(engine: Engine, reference: Vector, bars: Vector, column: int, step: float) -> int:
    """Return the output whose claimed derivative with respect to one input differs, by bisection of the cotangent."""

    def residual(mask: np.ndarray) -> float:
        claim, here = engine.pulled(mask)[column] * step, mask != 0
        return (claim - _sum(reference[here])) / (_sum(bars[here]) + _ROUNDING * abs(claim) + _TINY)

    return bisect(reference.size, residual, np.isfinite(reference))


def single(xs: list[np.ndarray], index: int) -> tuple[list[np.ndarray], float]:
    """Return the direction of one element, on its own scale, and its length."""
    length = float(join([own_scale(x) for x in xs])[index])
    v = np.zeros(sum(x.size for x in xs))
    v[index] = length
    return split(v, xs), length
