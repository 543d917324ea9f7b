"""What a law is made of: two sides that should be one, their difference, and what rounding explains of it."""

from typing import Any

import numpy as np

from jaxinfo.verify._report import Row
from jaxinfo.verify._vectors import Vector

Found = tuple[Row, str | None]  # a row of the table, and the fault if it is one


def hold(
    mode: str, name: str, dtype: str, left: Any, right: Any, allowed: Any, scale: float, mask: np.ndarray, unit: float
) -> Found:
    """Compare the two sides of a law where `mask` counts."""
    left, right = np.atleast_1d(left), np.atleast_1d(right)
    with np.errstate(all="ignore"):
        # where both are not finite they agree: a point that one of them cannot be asked at
        same = ~np.isfinite(left) & ~np.isfinite(right)
        off = np.where(mask & ~same, np.abs(left - right), 0)
        off = np.where(np.isnan(off), np.inf, off)
    bound = np.broadcast_to(np.where(np.isfinite(allowed), allowed, np.inf), off.shape)
    if not off.size:  # nothing that could differ
        return Row(mode, name, dtype, 0.0, 0.0, 0.0, "ok"), None
    wrong = bool((off > bound).any())
    with np.errstate(all="ignore"):
        beyond = np.where(off > bound, off, 0) if wrong else np.where(np.isfinite(bound), off - bound, -np.inf)
    i = int(np.argmax(beyond))
    size = scale if scale > 1e-300 else 1.0
    largest = float(off.max(initial=0.0)) / size
    row = Row(mode, name, dtype, largest, largest / unit, float(bound[i]) / size, "WRONG" if wrong else "ok")
    return row, f"{mode}: {name} fails by {off[i]:.3g}, rounding explains {bound[i]:.1e}" if wrong else None


def size_of(x: Vector, mask: np.ndarray) -> float:
    """Return the largest finite magnitude that counts."""
    finite = np.abs(x[mask & np.isfinite(x)])
    return float(finite.max()) if finite.size else 0.0


def norm(x: Vector) -> float:
    """Return the Euclidean norm of the finite elements."""
    return float(np.sqrt(np.sum(np.where(np.isfinite(x), x, 0) ** 2)))


def masked_dot(a: Vector, b: Vector, mask: np.ndarray) -> Vector:
    """Return the sum of products over what counts, as an array of one element for vectors."""
    with np.errstate(all="ignore"):
        return np.atleast_1d(np.sum(np.where(mask, a * b, 0), axis=-1))
