"""The derivative along a line by Richardson extrapolation, with its own error bar.

    D(h) = (F(x + h v) - F(x - h v)) / 2h = F' + c2 h^2 + c4 h^4 + ...

is taken on a ladder of steps, each a quarter of the one before, and extrapolated to h = 0 (Richardson 1911; the
choice of the entry is that of Ridders, Adv. Eng. Software 4, 1982). An entry's error bar is the sum of

- how much it differs from its neighbours in the table, the truncation error;
- sigma / h, the rounding error, sigma being the scatter of D on the smallest steps, where nothing else is left;
- how far it lies outside the bars of every smaller step, so that two large steps that agree by chance (a flat
  region reached on both sides) are not believed.

Each output has its own entry. `_defects` says why there may be none.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from jaxinfo.verify._defects import LAST, blur, jumps, kinks, moves, one_sided, rough, unbounded
from jaxinfo.verify._vectors import Vector

Line = Callable[[float], Vector]

_DEPTH = 3  # columns of the table: errors up to h^6 are removed
_EXPLAINED = 64.0  # times the measured rounding
_GLANCE = -9  # steps of 2^-9, 2^-11 and 2^-13
_FIRST, _LEVELS, _DEEPER = -3, 12, 12  # steps of 2^-3 down to 2^-25, or to 2^-49 where those do not decide
_BENT = 8  # second differences have no digits in smaller steps than 2^-17


@dataclasses.dataclass(frozen=True)
class Derivative:
    """Along one direction, one entry per output.

    `slope` bounds the size of difference quotients seen: what a derivative of 0 is 0 in comparison with. Where F is
    `rough` nothing is known of its derivative, and the error is infinite; `blur` is by how much quotients of smaller
    steps than the one that was believed leave it beyond what rounding explains.
    """

    value: Vector
    error: Vector
    exists: np.ndarray
    rough: np.ndarray
    blur: Vector
    slope: Vector
    evaluations: int
    step: float


def differentiate(
    line: Line, at_zero: Vector, *, floor: float, least: Vector, levels: int = _LEVELS, coarse: bool = False
) -> Derivative:
    """Return the derivative of `line` at 0.

    `floor` is the unit of rounding of F's values, `least` what rounding inside F does to each of them; `coarse` says
    that F itself is computed in a low precision, whose steps a small h would not leave.
    """
    ratio, first = (2.0, 0) if coarse else (4.0, _FIRST)
    usable = max(2, int(-0.6 * np.log2(floor))) if coarse else levels
    steps = 2.0**first * ratio ** -np.arange(usable)
    plus, minus = _both_sides(line, steps)
    found = _read(steps, plus, minus, at_zero, floor, least, ratio)
    if coarse:
        # on so few large steps, in so low a precision, all may look rough
        return dataclasses.replace(found, rough=np.zeros_like(found.rough), blur=np.zeros_like(found.blur))
    if not _unsettled(found):
        return _unresolved_where_rough(found)
    more = steps[-1] * ratio ** -np.arange(1, _DEEPER + 1)
    further = _both_sides(line, more)
    steps, plus, minus = (np.concatenate(pair) for pair in ((steps, more), (plus, further[0]), (minus, further[1])))
    return _unresolved_where_rough(_read(steps, plus, minus, at_zero, floor, least, ratio))


def _unresolved_where_rough(found: Derivative) -> Derivative:
    """Return what is found with no bar where F is rough: nothing was seen of a slope there, or of a kink."""
    error = np.where(found.rough, np.inf, found.error)
    return dataclasses.replace(found, error=error, exists=found.exists | found.rough | np.isinf(found.blur))


def glance(line: Line, at_zero: Vector, *, floor: float, least: Vector, coarse: bool = False) -> tuple[Vector, Vector]:
    """Return derivative and bar from the three steps that serve smooth functions best: six evaluations."""
    if coarse:
        found = differentiate(line, at_zero, floor=floor, least=least, coarse=True)
        return found.value, found.error
    steps = 2.0**_GLANCE * 4.0 ** -np.arange(3)
    plus, minus = _both_sides(line, steps)
    sigma = 8 * floor * np.maximum(np.abs(plus), np.abs(minus)).max(axis=0) + least
    return _extrapolate((plus - minus) / (2 * steps[:, None]), sigma, steps, 4.0)[:2]


def bend(line: Line, at_zero: Vector, least: Vector, *, floor: float, coarse: bool) -> tuple[Vector, Vector]:
    """Return the second derivative of `line` at 0, from its values alone, and its bar: none in a low precision."""
    if coarse:
        return np.full_like(at_zero, np.nan), np.full_like(at_zero, np.inf)
    steps = 2.0**_FIRST * 4.0 ** -np.arange(_BENT)
    plus, minus = _both_sides(line, steps)
    with np.errstate(all="ignore"):
        quotient = ((plus - at_zero) + (minus - at_zero)) / steps[:, None] ** 2
        sigma = 8 * floor * np.maximum(np.abs(plus), np.abs(minus)).max(axis=0) + least
        return _extrapolate(quotient, 2 * sigma / steps[:, None], steps, 4.0)[:2]


def _both_sides(line: Line, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sides = [(line(h), line(-h)) for h in steps]
    return np.stack([p for p, _ in sides]), np.stack([m for _, m in sides])


def _unsettled(found: Derivative) -> bool:
    bad = ~found.exists | found.rough | ~(found.error <= 1e-5 * np.maximum(np.abs(found.value), 1e-3 * found.slope))
    return bool(bad.any()) if bad.size <= 4096 else bool((~found.exists | found.rough).any() or bad.mean() > 0.5)


def _read(
    steps: np.ndarray, plus: np.ndarray, minus: np.ndarray, middle: Vector, floor: float, least: Vector, ratio: float
) -> Derivative:
    """Return the best entry of the extrapolation table for each output."""
    with np.errstate(all="ignore"):
        h = steps[:, None]
        quotient = (plus - minus) / (2 * h)
        # the scatter is nothing where values fall on a coarse grid, as those of a difference of large numbers do
        sigma = np.maximum(_scatter(quotient, plus, minus, steps, floor), least)
        value, error, level = _extrapolate(quotient, sigma, steps, ratio)
        kink = kinks(plus, minus, middle, steps, np.maximum(sigma, floor * np.abs(middle)))
        kink |= jumps(plus, minus, middle, np.maximum(least, floor * np.abs(middle)))
        slope = np.nanmax(np.where(np.isfinite(plus - minus), np.abs(plus - middle) + np.abs(minus - middle), 0) / h, 0)
        size = np.abs(np.concatenate([plus[-LAST:], minus[-LAST:], middle[None]]))
        rounding = _EXPLAINED * np.maximum(least, floor * np.where(np.isfinite(size), size, 0).max(axis=0))
        kink |= unbounded(quotient, sigma, rounding, steps) | one_sided(plus, minus)
        unseen = rough(plus, minus, middle, rounding)
        smeared = blur(quotient - value, level, moves(plus, minus), rounding, steps)
    exists = ~kink & np.isfinite(middle)
    return Derivative(value, error, exists, unseen, smeared, slope, 2 * len(steps), float(steps[-1]))


def _scatter(quotient: np.ndarray, plus: np.ndarray, minus: np.ndarray, steps: np.ndarray, floor: float) -> np.ndarray:
    """Return the rounding error of F for each output, from the smallest steps of the ladder."""
    tail = np.abs(np.diff(quotient[-5:], axis=0)) * steps[1:][-4:, None]
    seen = np.nanmax(np.where(np.isfinite(tail), tail, 0), axis=0) if len(tail) else np.zeros(quotient.shape[1])
    size = np.maximum(np.abs(plus), np.abs(minus))[-4:]
    return np.maximum(seen, floor * np.nanmax(np.where(np.isfinite(size), size, 0), axis=0))


def _extrapolate(
    quotient: np.ndarray, sigma: np.ndarray, steps: np.ndarray, ratio: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the best entry of the table for each output, its bar, and the row that it stands in."""
    count, size = quotient.shape
    rounding = 2 * sigma / steps[:, None]
    best, bar, level = np.full(size, np.nan), np.full(size, np.inf), np.zeros(size, int)
    columns: list[list[np.ndarray]] = []
    for k in range(count):
        row = [quotient[k]]
        for j in range(1, min(k, _DEPTH) + 1):
            row.append(row[j - 1] + (row[j - 1] - columns[k - 1][j - 1]) / (ratio ** (2 * j) - 1))
        columns.append(row)
    low, high = np.full(size, -np.inf), np.full(size, np.inf)
    for k in range(count - 1, 0, -1):  # from the smallest step up
        for j, entry in enumerate(columns[k]):
            before = columns[k - 1][max(j - 1, 0)]
            spread = np.abs(entry - before)
            if j:
                spread = np.maximum(spread, np.abs(entry - columns[k][j - 1]))
            outside = np.maximum(np.maximum(low - entry, entry - high), 0)
            candidate = spread + rounding[k] + outside
            better = candidate < bar
            best, bar = np.where(better, entry, best), np.where(better, candidate, bar)
            level = np.where(better, k, level)
        own = 2 * (rounding[k] + np.abs(quotient[k] - quotient[k - 1]))
        own = np.where(np.isfinite(own), own, np.inf)
        centre = np.where(np.isfinite(quotient[k]), quotient[k], 0)
        low, high = np.maximum(low, centre - own), np.minimum(high, centre + own)
    return best, bar, level
