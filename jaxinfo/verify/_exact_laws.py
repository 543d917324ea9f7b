"""Laws within the exact function, which need no oracle: one derivative, however it is asked for.

Linear in tangent and cotangent, at any size of them; forward = reverse = transposed linearisation; the Hessian
symmetric; the value under differentiation that of the plain call.
"""

import dataclasses
from collections.abc import Iterator
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np

from jaxinfo.verify._along import Checker
from jaxinfo.verify._directions import signs
from jaxinfo.verify._engine import Engine
from jaxinfo.verify._exact import RETRACED
from jaxinfo.verify._floats import eps, float64
from jaxinfo.verify._laws import Found, hold, masked_dot, norm, size_of
from jaxinfo.verify._modes import jvp, vjp
from jaxinfo.verify._noise import NOISE, spread
from jaxinfo.verify._problem import Arrays
from jaxinfo.verify._vectors import Vector, join

_MIX = (-64.0, 0.125)  # far apart and of either sign: a rule that clips its cotangent shows it, or one of its size


def exact_laws(checker: Checker, v: list[np.ndarray]) -> Iterator[Found]:
    """Yield the laws within the exact function, where rounding hides nothing."""
    asked = _Asked(checker, v)
    modes = checker.engine.exact.modes
    yield from _linear(asked)
    if modes.forward and modes.reverse:
        yield _adjoint(asked)
        yield from _transposed(asked)
    if modes.second in ("forward-over-reverse", "reverse-over-reverse"):
        yield _symmetric(asked, modes.second)
        yield from _in_the_cotangent(asked)


@dataclasses.dataclass(frozen=True)
class _Asked:
    """The claims for one tangent and cotangent, what rounding does to them, and another tangent and cotangent."""

    checker: Checker
    v: list[np.ndarray]

    @property
    def engine(self) -> Engine:
        return self.checker.engine

    @property
    def u(self) -> list[np.ndarray]:
        return self.checker.cotangent

    @cached_property
    def other_v(self) -> list[np.ndarray]:
        flipped = [np.asarray(signs(self.checker.rng, d.shape) * np.abs(d)) for d in self.v]
        return self.checker.allowed(flipped)

    @cached_property
    def other_u(self) -> list[np.ndarray]:
        return [np.asarray(signs(self.checker.rng, c.shape) * np.abs(c)) for c in self.u]

    @cached_property
    def first(self) -> dict[str, Vector]:
        return self.engine.claims(self.v, self.u)

    @cached_property
    def noise(self) -> dict[str, np.ndarray]:
        return self.engine.noise(self.v, self.u)

    @cached_property
    def inputs(self) -> np.ndarray:
        return np.isfinite(join(self.engine.xs))

    @property
    def outputs(self) -> np.ndarray:
        return self.engine.mask

    def law(
        self, mode: str, name: str, left: Vector, right: Vector, scale: float, bars: Vector, mask: np.ndarray
    ) -> Found:
        unit = self.engine.exact.eps
        allowed = 64 * unit / NOISE * bars + (64 * max(unit, eps(np.float64)) + self.checker.tolerated) * scale
        return hold(mode, name, "float64", left, right, allowed, scale, mask, unit)


def _linear(asked: _Asked) -> Iterator[Found]:
    """Ask for a sum of tangents and cotangents, for multiples of them, and for nothing."""
    engine, first = asked.engine, asked.first
    a, b = _MIX
    second = engine.claims(asked.other_v, asked.other_u)
    mixed = engine.claims(_mixed(a, asked.v, b, asked.other_v), _mixed(a, asked.u, b, asked.other_u))
    scaled = {c: engine.claims(_times(c, asked.v), _times(c, asked.u)) for c in (0.0, *_scales(engine))}
    for mode, mask, what in (("forward", asked.outputs, "tangent"), ("reverse", asked.inputs, "cotangent")):
        if mode not in first:
            continue
        bars = spread(asked.noise[mode]).max(initial=0.0) * np.ones(1)
        scale = size_of(first[mode], mask) + size_of(second[mode], mask)
        with np.errstate(all="ignore"):
            sums = a * first[mode] + b * second[mode]
            multiples = {c: c * first[mode] for c in scaled}
        yield asked.law(mode, f"linear in the {what}", mixed[mode], sums, abs(a) * scale, abs(a) * bars, mask)
        for c, result in scaled.items():
            title = "zero of zero" if c == 0 else f"times {c:.2g}"
            yield asked.law(mode, title, result[mode], multiples[c], c * scale if c else scale, c * bars, mask)
        value, size = first["value"], size_of(first["value"], asked.outputs)
        around = spread(asked.noise["value"])
        yield asked.law(mode, "value as called", first[f"{mode} value"], value, size, around, asked.outputs)


def _adjoint(asked: _Asked) -> Found:
    """Compare <u, J v> forward with <J^T u, v> in reverse."""
    forward, reverse, u, v = asked.first["forward"], asked.first["reverse"], join(asked.u), join(asked.v)
    left, right = masked_dot(u, forward, asked.outputs), masked_dot(reverse, v, asked.inputs)
    with np.errstate(all="ignore"):
        scale = norm(u * np.where(asked.outputs, forward, 0)) + norm(reverse * v)
    bars = np.abs(masked_dot(u, asked.noise["forward"][0], asked.outputs))
    bars = bars + np.abs(masked_dot(asked.noise["reverse"][0], v, asked.inputs))
    return asked.law("forward", "= reverse", left, right, scale, bars, np.ones(1, bool))


def _transposed(asked: _Asked) -> Iterator[Found]:
    """Compare reverse mode with the transpose of forward mode."""
    engine, reverse = asked.engine, asked.first["reverse"]
    call = engine.exact.value
    if engine.exact.form != RETRACED:
        return
    with float64():
        xs = [jnp.asarray(x) for x in engine.xs]

        def back(xs: Arrays, u: Arrays) -> Arrays:
            return jax.linear_transpose(lambda t: jvp(call, xs, t)[1], xs)(u)[0]

        try:
            found = join(jax.jit(back)(xs, [jnp.asarray(c) for c in asked.u]))
        except Exception:  # forward mode need not be transposable: a loop of unknown length is not
            return
    size, bars = size_of(reverse, asked.inputs), spread(asked.noise["reverse"])
    yield asked.law("reverse", "= transposed forward", found, reverse, size, bars, asked.inputs)


def _symmetric(asked: _Asked, kind: str) -> Found:
    """Compare w . H v with v . H w."""
    here, swapped = asked.first["second"], asked.engine.claims(asked.other_v, asked.u)["second"]
    v, w, mask = join(asked.v), join(asked.other_v), asked.inputs
    left, right = masked_dot(w, here, mask), masked_dot(v, swapped, mask)
    scale = norm(w * np.where(mask, here, 0)) + norm(v * np.where(mask, swapped, 0))
    bars = np.abs(masked_dot(w, asked.noise["second"][0], mask)) * 2
    return asked.law(kind, "Hessian symmetric", left, right, scale, bars, np.ones(1, bool))


def _in_the_cotangent(asked: _Asked) -> Iterator[Found]:
    """Differentiate reverse mode by its cotangent, as the second derivative of g(f(x)) does: it is linear in it."""
    engine = asked.engine
    if engine.exact.form != RETRACED:
        return
    call = engine.exact.value

    def along(xs: Arrays, u: Arrays, du: Arrays) -> Arrays:
        return jax.jvp(lambda c: vjp(call, xs, c)[1], (u,), (du,))[1]

    with float64():
        xs, u, du = ([jnp.asarray(x) for x in arrays] for arrays in (engine.xs, asked.u, asked.other_u))
        try:
            found = join(jax.jit(along)(xs, u, du))
        except Exception:  # a rule that cannot be differentiated: `second` has the row
            return
    wanted = engine.claims(asked.v, asked.other_u)["reverse"]
    size, bars = size_of(wanted, asked.inputs), spread(asked.noise["reverse"]).max(initial=0.0) * np.ones(1)
    yield asked.law("reverse", "derivative in the cotangent", found, wanted, size, bars, asked.inputs)


def _mixed(a: float, x: list[np.ndarray], b: float, y: list[np.ndarray]) -> list[np.ndarray]:
    return [np.asarray(a * one + b * two) for one, two in zip(x, y, strict=True)]


def _times(c: float, arrays: list[np.ndarray]) -> list[np.ndarray]:
    return [np.asarray(c * x) for x in arrays]


def _scales(engine: Engine) -> tuple[float, float]:
    """Return factors of tangent and cotangent, by which a rule that has a threshold shows it."""
    return (2.0**-20, 2.0**10) if engine.exact.eps < 1e-4 else (2.0**-3, 2.0**3)  # half precision has few powers
