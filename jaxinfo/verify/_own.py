"""The derivatives as the caller computes them, in the caller's dtype, against the exact ones."""

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any

import jax
import numpy as np

from jaxinfo.verify._engine import Engine
from jaxinfo.verify._floats import as_called, eps, float64
from jaxinfo.verify._modes import Modes, available, claims
from jaxinfo.verify._noise import NOISE, spread
from jaxinfo.verify._problem import Problem, flatten
from jaxinfo.verify._report import Row
from jaxinfo.verify._vectors import Vector, cast, join

_NOISE = 16.0  # times the measured effect of rounding
_NO_DIGITS = 0.5
_HALF = 0.3
_MORE = 16  # samples before an element is called wrong

MODES = ("value", "forward", "reverse", "second")


@dataclasses.dataclass(frozen=True)
class Own:
    """The caller's function in one dtype, with its modes and its compiled derivatives."""

    flat: Problem
    modes: Modes
    dtype: str
    settings: Callable[[], AbstractContextManager[None]]

    @property
    def eps(self) -> float:
        """The unit in the last place of the coarsest input or output."""
        return max(eps(p.dtype) for p in (*self.flat.inputs, *self.flat.outputs))

    @property
    def least(self) -> float:
        """What numbers below the normal range lose."""
        infos = [jax.numpy.finfo(p.dtype) for p in (*self.flat.inputs, *self.flat.outputs)]
        return max(64 * float(i.smallest_subnormal) if i.bits == 16 else 4 * float(i.smallest_normal) for i in infos)

    @property
    def largest(self) -> float:
        """The largest number of the narrowest input or output."""
        return min(float(jax.numpy.finfo(p.dtype).max) for p in (*self.flat.inputs, *self.flat.outputs))

    @cached_property
    def compiled(self) -> Any:
        """All claims in one jitted program."""
        return jax.jit(claims(self.flat.call, self.modes))

    def run(self, program: Any, v: Any, u: Any, point: Any = None) -> dict[str, Vector]:
        """Return what a program of claims says for a tangent and a cotangent given in float64."""
        xs = self.flat.point if point is None else point
        with self.settings():
            out = program(xs, cast(v, self.flat.inputs), cast(u, self.flat.outputs))
            return {name: join(arrays) for name, arrays in out.items()}


def own(f: Callable[..., Any], args: Any, dtype: Any, wanted: Any, order: int) -> Own:
    """Return the caller's function in `dtype`, or as it is for None."""
    wide = dtype is not None and np.dtype(dtype) == np.float64
    settings = float64 if wide and jax.dtypes.canonicalize_dtype(np.float64) != np.float64 else as_called
    with settings():
        flat = flatten(f, args, dtype)
        ones = [jax.numpy.ones_like(x) for x in flat.point]
        back = [jax.numpy.ones(p.shape, p.dtype) for p in flat.outputs]
        modes = available(flat.call, flat.point, ones, back, wanted, order) if flat.point and flat.outputs else None
    kinds = sorted({str(p.dtype) for p in flat.inputs}) or ["none"]
    absent = Modes(False, False, None, {}, {})
    return Own(flat, modes or absent, "/".join(kinds), settings)


def same_values(mine: Own, values: Vector, engine: Engine, v: Any, u: Any) -> bool:
    """Whether the exact function has the caller's values, within what rounding does to them."""
    exact, unit = engine.at_zero, max(mine.eps, engine.exact.eps)
    both = np.isfinite(values) & np.isfinite(exact)
    if not both.any():
        return True
    off = np.where(both, np.abs(values - exact), 0)
    size = np.abs(exact[both]).max()
    if (off <= 16 * unit * np.where(both, np.abs(exact), 0)).all():
        return True
    noise = engine.noise(v, u, _amount(unit))["value"] * unit / _amount(unit)
    local = spread(noise)
    return bool((off <= _NOISE * (local + 0.25 * local.max() + unit * size)).all())


def compare(
    mine: Own, engine: Engine, v: Any, u: Any, claimed: dict[str, Vector], transform: str, counted: dict[str, Any]
) -> tuple[list[Row], list[tuple[str, int, float, float, float, str]]]:
    """Return rows of the table and the elements of `claimed` that rounding cannot explain."""
    exact = engine.claims(v, u)
    unit = max(mine.eps, engine.exact.eps)
    amount = _amount(unit)
    noise = engine.noise(v, u, amount)
    rows, faults = [], []
    for mode in MODES:
        if mode not in claimed or mode not in exact or mode not in counted:
            continue
        mask = counted[mode] & np.isfinite(exact[mode])
        name = (mine.modes.second or mode) if mode == "second" else mode
        if not mask.any():
            continue
        off, allowed, size = _bounds(claimed[mode], exact[mode], noise[mode] * unit / amount, mask, mine, unit)
        if (off > allowed).any():  # look harder: a sign that flips within rounding may not have shown
            more = engine.noise(v, u, amount, _MORE)[mode] * unit / amount
            off, allowed, size = _bounds(claimed[mode], exact[mode], more, mask, mine, unit)
            allowed = np.maximum(allowed, 2 * np.nanmax(np.where(np.isfinite(more), np.abs(more), 0), axis=0))
        scale = size if size > 0 else 1.0
        with np.errstate(all="ignore"):
            ratio = off / np.maximum(allowed, np.finfo(float).tiny)
        # where rounding may change all digits nothing can be said, except of a nan
        digits = allowed < _NO_DIGITS * scale
        wrong = (off > allowed) & (digits | (~np.isfinite(off) & (mode != "value")))
        i = int(np.argmax(np.where(wrong | ~wrong.any(), ratio, -1)))
        status = "WRONG" if wrong[i] else "ok" if allowed[i] < _NO_DIGITS * scale else "no digits to compare"
        rows.append(Row(name, transform, mine.dtype, off[i] / scale, off[i] / scale / unit, allowed[i] / scale, status))
        if wrong[i]:
            what = "is not finite" if not np.isfinite(claimed[mode][i]) else f"is off by {off[i]:.3g}"
            text = f"{name}, {transform}, in {mine.dtype} {what}; rounding explains {allowed[i]:.1e}"
            faults.append((mode, i, float(claimed[mode][i]), float(exact[mode][i]), float(allowed[i]), text))
    return rows, faults


def _bounds(
    claimed: Vector, exact: Vector, noise: np.ndarray, mask: np.ndarray, mine: Own, unit: float
) -> tuple[Vector, Vector, float]:
    """Return deviations, what rounding explains of each, and the size of the largest element."""
    local = spread(noise)
    size = float(np.abs(exact[mask]).max())
    # with few digits to lose, more than a third of the noise cannot be given away
    part = 1.0 if unit < 1e-4 else _HALF
    allowed = part * (_NOISE * local + 2 * float(local[mask].max()) + 4 * unit * size) + mine.least
    with np.errstate(all="ignore"):
        off = np.where(mask, np.abs(claimed - exact), 0)
        # what overflows the dtype is rightly infinite
        over = mask & ~np.isfinite(claimed) & (np.abs(exact) > 0.5 * mine.largest) & ~np.isnan(claimed)
        off = np.where(np.isnan(off), np.inf, np.where(over, 0, off))
    return off, allowed, size


def _amount(unit: float) -> float:
    return unit if unit > 1e-4 else NOISE
