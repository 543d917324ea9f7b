"""The derivative along a line by Richardson extrapolation, with its own error bar.

    D(h) = (F(x + h v) - F(x - h v)) / 2h = F' + c2 h^2 + c4 h^4 + ...

is taken on a ladder of steps, each a quarter of the one before, and extrapolated to h = 0 (Richardson 1911; the
choice of the entry is that of Ridders, Adv. Eng. Software 4, 1982). An entry's error bar is the sum of

- how much it differs from its neighbours in the table, the truncation error;
- sigma / h, the rounding error, sigma being the scatter of D on the smallest steps, where nothing else is left;
- how far it lies outside the bars of every smaller step, so that two large steps that agree by chance (a flat
  region reached on both sides) are not believed.

Each output has its own entry. What is left over says why there is no derivative: one-sided slopes

    S(h) = (F(x + h v) - 2 F(x) + F(x - h v)) / h -> F'(x+) - F'(x-)

that stay apart down to the smallest step that can be resolved, slopes that grow without bound, a jump, or no value on
one side.
A kink *near* x ends the ladder's upper part and nothing else.

F may also be rough at every step there is: a chaotic map, sin(1e14 x). Then values a few units in the last place of x
apart differ by as much as those far apart, more than rounding explains, no difference tells anything of a slope, and
the bar is infinite.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from jaxinfo.verify._vectors import Vector

Line = Callable[[float], Vector]

_DEPTH = 3  # columns of the table: errors up to h^6 are removed
_LAST, _PART = 6, 1 / 16  # the smallest steps, on which a rough function still moves by that part of all it does
_EXPLAINED = 64.0  # times the measured rounding
_GLANCE = -9  # steps of 2^-9, 2^-11 and 2^-13
_FIRST, _LEVELS, _DEEPER = -3, 12, 12  # steps of 2^-3 down to 2^-25, or to 2^-49 where those do not decide


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
        kink = _kinks(plus, minus, middle, steps, np.maximum(sigma, floor * np.abs(middle)))
        kink |= _jumps(plus, minus, middle, np.maximum(least, floor * np.abs(middle)))
        slope = np.nanmax(np.where(np.isfinite(plus - minus), np.abs(plus - middle) + np.abs(minus - middle), 0) / h, 0)
        size = np.abs(np.concatenate([plus[-_LAST:], minus[-_LAST:], middle[None]]))
        rounding = _EXPLAINED * np.maximum(least, floor * np.where(np.isfinite(size), size, 0).max(axis=0))
        kink |= _unbounded(quotient, sigma, rounding, steps) | _one_sided(plus, minus)
        rough = _rough(plus, minus, middle, rounding)
        blur = _blur(quotient - value, level, _moves(plus, minus), rounding, steps)
    exists = ~kink & np.isfinite(middle)
    return Derivative(value, error, exists, rough, blur, slope, 2 * len(steps), float(steps[-1]))


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


def _kinks(plus: np.ndarray, minus: np.ndarray, middle: Vector, steps: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Return where the one-sided slopes stay apart down to the smallest step that resolves them."""
    apart = np.abs((plus - middle) + (minus - middle)) / steps[:, None]
    resolved = np.isfinite(apart) & (apart > 32 * sigma / steps[:, None])
    # the smallest four steps that resolve anything: a smooth function's S falls 64-fold over them
    kink = np.zeros(apart.shape[1], bool)
    last = np.where(resolved, np.arange(len(steps))[:, None], -1).max(axis=0)
    enough = last >= 3
    k = np.maximum(last, 3)
    pick = np.take_along_axis
    small, large = pick(apart, k[None], 0)[0], pick(apart, k[None] - 3, 0)[0]
    kink[enough] = (small > 0.4 * large)[enough]
    # at a kink all four bend one way and grow alike; a function that oscillates faster than the steps does neither
    bend = ((plus - middle) + (minus - middle)) / steps[:, None]
    four = np.stack([pick(bend, k[None] - i, 0)[0] for i in range(4)])
    growth = four[:-1] / four[1:]
    kink &= (growth > 0).all(axis=0) & (growth.max(axis=0) < 4 * growth.min(axis=0))
    # smaller steps that no longer resolve the same jump because it is gone, not because noise covers it, clear it
    gone = np.zeros_like(kink)
    for i in range(len(steps)):
        below = (i > last) & np.isfinite(apart[i])
        gone |= below & (apart[i] + 8 * sigma / steps[i] < 0.4 * small)
    return kink & ~gone


def _unbounded(quotient: np.ndarray, sigma: np.ndarray, rounding: Vector, steps: np.ndarray) -> np.ndarray:
    """Return where difference quotients grow on every one of the six smallest steps.

    Those of a root grow evenly, by less than a quotient of noise or of a jump does. The scatter of such a function is
    as large as its values, and says nothing of rounding.
    """
    size = np.abs(quotient[-7:])
    if len(size) < 7:
        return np.zeros(quotient.shape[1], bool)
    h = steps[1:][-6:, None]
    grows = (size[1:] > 1.5 * size[:-1] + 8 * sigma / h).all(axis=0)
    growth = quotient[-6:] / quotient[-7:-1]
    evenly = (growth > 1.25) & (growth < 0.95 * steps[0] / steps[1]) & (size[1:] > 8 * rounding / h)
    return np.asarray(grows | (evenly.all(axis=0) & (growth.max(axis=0) < 1.25 * growth.min(axis=0))))


def _jumps(plus: np.ndarray, minus: np.ndarray, middle: Vector, rounding: Vector) -> np.ndarray:
    """Return where F stays away from F(x) on some side, however small the step: by more than rounding, and visibly."""
    away = np.maximum(np.abs(plus - middle), np.abs(minus - middle))
    largest = np.max(np.where(np.isfinite(away), away, 0), axis=0)
    last = away[-6:]
    return np.asarray((last.min(axis=0) > 32 * rounding + 1e-6 * largest) & (last[-1] > 0.5 * last[0]))


def _moves(plus: np.ndarray, minus: np.ndarray) -> np.ndarray:
    """Return by how much F moves from one of the smallest steps to the next, on either side."""
    return np.stack([np.diff(plus[-_LAST:], axis=0), np.diff(minus[-_LAST:], axis=0)])


def _rough(plus: np.ndarray, minus: np.ndarray, middle: Vector, rounding: Vector) -> np.ndarray:
    """Return where F moves as much from one of the smallest steps to the next as over the whole ladder.

    Beyond a jump at x itself the values of each side run together, as those of every F with one-sided limits do.
    """
    values = np.concatenate([plus, minus, middle[None]])
    finite = np.isfinite(values)
    across = np.where(finite, values, -np.inf).max(axis=0) - np.where(finite, values, np.inf).min(axis=0)
    return np.asarray((np.abs(_moves(plus, minus)) > np.maximum(_PART * across, rounding)).mean(axis=(0, 1)) > 0.5)


def _blur(off: np.ndarray, level: np.ndarray, moves: np.ndarray, rounding: Vector, steps: np.ndarray) -> np.ndarray:
    """Return by how much smaller steps leave what was believed, without bound where F does not come to rest."""
    size = np.abs(off)
    truncated = np.take_along_axis(size, level[None], 0)  # by h^2, so that smaller steps are off by less
    leaves = np.isfinite(off) & (size > truncated + rounding / steps[:, None])
    seen = np.where(leaves & (np.arange(len(steps))[:, None] > level), size, 0).max(axis=0)
    before, last = (np.abs(part).max(axis=(0, 1)) for part in (moves[:, :2], moves[:, -2:]))
    restless = (last > rounding) & (last > before / 4)  # what has a slope moves a 64th
    to_and_fro = (np.abs(np.sign(moves).sum(axis=1)) < moves.shape[1]).any(axis=0)  # unlike a root, which runs one way
    return np.where(restless & to_and_fro, np.inf, seen)


def _one_sided(plus: np.ndarray, minus: np.ndarray) -> np.ndarray:
    """Return where F has no finite value on one side, however small the step."""
    return np.asarray(~np.isfinite(plus[-3:] + minus[-3:]).any(axis=0))
