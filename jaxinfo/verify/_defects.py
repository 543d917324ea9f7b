"""Why there is no derivative along a line, or none that can be seen: values on a ladder of steps say so.

One-sided slopes

    S(h) = (F(x + h v) - 2 F(x) + F(x - h v)) / h -> F'(x+) - F'(x-)

that stay apart down to the smallest step that can be resolved, slopes that grow without bound, a jump, or no value on
one side. A kink *near* x ends the ladder's upper part and nothing else.

F may also be rough at every step there is: a chaotic map, sin(1e14 x). Then values a few units in the last place of x
apart differ by as much as those far apart, more than rounding explains, and no difference tells anything of a slope.
"""

import numpy as np

from jaxinfo.verify._vectors import Vector

LAST = 6  # the smallest steps
_PART = 1 / 16  # by that part of all it does a rough function still moves on them


def kinks(plus: np.ndarray, minus: np.ndarray, middle: Vector, steps: np.ndarray, sigma: np.ndarray) -> np.ndarray:
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


def unbounded(quotient: np.ndarray, sigma: np.ndarray, rounding: Vector, steps: np.ndarray) -> np.ndarray:
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


def jumps(plus: np.ndarray, minus: np.ndarray, middle: Vector, rounding: Vector) -> np.ndarray:
    """Return where F stays away from F(x) on some side, however small the step: by more than rounding, and visibly."""
    away = np.maximum(np.abs(plus - middle), np.abs(minus - middle))
    largest = np.max(np.where(np.isfinite(away), away, 0), axis=0)
    last = away[-6:]
    return np.asarray((last.min(axis=0) > 32 * rounding + 1e-6 * largest) & (last[-1] > 0.5 * last[0]))


def moves(plus: np.ndarray, minus: np.ndarray) -> np.ndarray:
    """Return by how much F moves from one of the smallest steps to the next, on either side."""
    return np.stack([np.diff(plus[-LAST:], axis=0), np.diff(minus[-LAST:], axis=0)])


def rough(plus: np.ndarray, minus: np.ndarray, middle: Vector, rounding: Vector) -> np.ndarray:
    """Return where F moves as much from one of the smallest steps to the next as over the whole ladder.

    Beyond a jump at x itself the values of each side run together, as those of every F with one-sided limits do.
    """
    values = np.concatenate([plus, minus, middle[None]])
    finite = np.isfinite(values)
    across = np.where(finite, values, -np.inf).max(axis=0) - np.where(finite, values, np.inf).min(axis=0)
    return np.asarray((np.abs(moves(plus, minus)) > np.maximum(_PART * across, rounding)).mean(axis=(0, 1)) > 0.5)


def blur(off: np.ndarray, level: np.ndarray, moves: np.ndarray, rounding: Vector, steps: np.ndarray) -> np.ndarray:
    """Return by how much smaller steps leave what was believed, without bound where F does not come to rest."""
    size = np.abs(off)
    truncated = np.take_along_axis(size, level[None], 0)  # by h^2, so that smaller steps are off by less
    leaves = np.isfinite(off) & (size > truncated + rounding / steps[:, None])
    seen = np.where(leaves & (np.arange(len(steps))[:, None] > level), size, 0).max(axis=0)
    before, last = (np.abs(part).max(axis=(0, 1)) for part in (moves[:, :2], moves[:, -2:]))
    restless = (last > rounding) & (last > before / 4)  # what has a slope moves a 64th
    to_and_fro = (np.abs(np.sign(moves).sum(axis=1)) < moves.shape[1]).any(axis=0)  # unlike a root, which runs one way
    return np.where(restless & to_and_fro, np.inf, seen)


def one_sided(plus: np.ndarray, minus: np.ndarray) -> np.ndarray:
    """Return where F has no finite value on one side, however small the step."""
    return np.asarray(~np.isfinite(plus[-3:] + minus[-3:]).any(axis=0))
