"""First and second derivatives of an exact function against the oracle."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from jaxinfo.verify._directions import Direction, restricted, symmetrised
from jaxinfo.verify._engine import Engine
from jaxinfo.verify._noise import NOISE, spread
from jaxinfo.verify._oracle import Derivative
from jaxinfo.verify._outcome import Fault, Outcome
from jaxinfo.verify._vectors import Vector, join, split

BARS = 8.0  # error bars of the oracle that a claim may be off
_NOISE = 32.0  # times the measured effect of rounding
_OF_VALUES = 1e-4  # a relative difference from second differences of values, which have half the digits
SINGLE = 2.0**-23
LENIENT = 16 * SINGLE  # relative differences that are float32's
MANY = 200_000  # from here on an evaluation is dear


@dataclasses.dataclass
class Checker:
    """An engine, the cotangent, which inputs are held, and what was found so far."""

    engine: Engine
    u: Vector
    keep: np.ndarray
    rng: np.random.Generator
    out_of_time: Callable[[], bool]
    found: Outcome = dataclasses.field(default_factory=Outcome)
    noise: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    symmetric: bool = False
    lenient: float = 0.0  # relative differences from the oracle that are no fault in the caller's dtype

    @cached_property
    def gradient(self) -> Vector:
        """What reverse mode claims for the cotangent."""
        return self.engine.claims([np.zeros(x.shape) for x in self.engine.xs], self.cotangent)["reverse"]

    def allowed(self, v: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return a direction without what is held; symmetric where only symmetric matrices are meant."""
        v = restricted(v, self.keep)
        return [symmetrised(d, x) for d, x in zip(v, self.engine.xs, strict=True)] if self.symmetric else v

    @property
    def tolerated(self) -> float:
        """By how much, relatively, derivatives may differ that are solved for to a tolerance of their own."""
        return max(self.lenient, LENIENT if self.engine.to_a_tolerance else 0.0)

    @property
    def part(self) -> float:
        """How much of the usual allowance for rounding is made: with few digits to lose, not much."""
        return 1.0 if self.engine.exact.eps < 1e-4 else 0.25

    @property
    def rounding(self) -> float:
        """What the measured noise is multiplied by to bound the effect of rounding."""
        return self.part * _NOISE * self.engine.exact.eps / NOISE

    @cached_property
    def cotangent(self) -> list[np.ndarray]:
        """The cotangent, one array per output."""
        return split(self.u, self.engine.outputs)

    def along(self, direction: Direction) -> Direction | None:
        """Compare all first derivatives along a direction, and give it back if an error showed.

        Returns:
            The direction without the elements that are held; None if all agreed.
        """
        v = self.allowed(direction.v)
        if not join(v).any():
            return None
        engine, modes = self.engine, self.engine.exact.modes
        claims = engine.claims(v, self.cotangent)
        reference = engine.weighted(v, self.u)
        if not self.noise or join(v).size < MANY:
            self.noise = engine.noise(v, self.cotangent)
        here = Direction(direction.name, v)
        wrong = False
        if modes.forward:
            wrong |= self._forward(here, claims["forward"], reference)
        if modes.reverse:
            wrong |= self._reverse(here, claims["reverse"], reference)
        return here if wrong else None

    def _forward(self, here: Direction, claimed: Vector, reference: Derivative) -> bool:
        counted = self.engine.mask & reference.exists[:-1] & np.isfinite(reference.value[:-1])
        if (rough := self.engine.mask & reference.rough[:-1]).any():
            self.found.rough.append(f"output {int(np.argmax(rough))} along a {here.name} direction")
            counted &= ~rough
        if self.found.kinks or not self.keep.all():  # an infinite slope times a tangent of 0 is nan, and nobody's fault
            counted &= np.isfinite(claimed)
        if (self.engine.mask & ~reference.exists[:-1]).any():
            first = int(np.flatnonzero(self.engine.mask & ~reference.exists[:-1])[0])
            self.found.kinks.append(f"output {first} along a {here.name} direction")
        if not counted.any():
            return False
        value, error, slope = reference.value[:-1], reference.error[:-1], reference.slope[:-1]
        size = _largest(np.where(counted, claimed, 0))
        part = 8 * self.part * self.engine.exact.eps + self.lenient
        allowed = BARS * error + self.rounding * spread(self.noise["forward"]) + part * size
        with np.errstate(all="ignore"):
            off = np.where(counted, np.abs(claimed - value), 0)
            off = np.where(np.isnan(off), np.inf, off)
            ratio = np.where(counted, off / (allowed + _tiny(value)), 0)
        i = int(np.argmax(ratio))
        if self.part == 1:  # of a coarse grid of values a small derivative is never resolved
            self.found.parts.of_outputs(claimed, allowed, counted)
        scale = max(size, 1e-3 * _largest(np.where(counted, slope, 0))) or 1.0
        typical = float(np.median(allowed[counted])) / scale
        self.found.saw("forward", off[i] / scale, allowed[i] / scale, float(typical))
        if not ratio[i] > 1 or self._blurred(off[i], reference.blur[i], f"output {i} along a {here.name} direction"):
            return False
        text = f"forward mode is off by {off[i]:.3g} along a {here.name} direction; {BARS:g} bars and rounding "
        text += f"allow {allowed[i]:.1e}"
        fault = Fault("forward", None, i, claimed[i], value[i], error[i], text, direction=here.name)
        self.found.faults.append(fault)
        return True

    def _reverse(self, here: Direction, claimed: Vector, reference: Derivative) -> bool:
        v = join(here.v)
        if reference.rough[-1]:
            self.found.rough.append(f"the outputs' sum along a {here.name} direction")
            return False
        if np.isnan(reference.value[-1]) or not reference.exists[-1]:
            self.found.kinks.append(f"the outputs' sum along a {here.name} direction")
            return False
        with np.errstate(all="ignore"):
            terms = np.where(v != 0, claimed * v, 0)
            total = float(np.sum(terms))
            rounding = _rms(
                np.where(v != 0, np.where(np.isfinite(n), n, 0) * v, 0).sum() for n in self.noise["reverse"]
            )
        eps = self.engine.exact.eps
        norm = float(np.sqrt(np.sum(terms**2)))
        allowed = BARS * reference.error[-1] + self.rounding * rounding
        allowed += self.lenient * (abs(total) + norm)
        allowed += 16 * (self.part * eps * (abs(total) + norm) + 2.0**-53 * float(np.sum(np.abs(terms))))
        off = abs(total - reference.value[-1])
        size = max(abs(total), norm, 1e-3 * reference.slope[-1], np.finfo(float).tiny)
        largest = max(_largest(claimed), np.finfo(float).tiny)
        typical = float(np.median(np.abs(v[v != 0])))
        if not np.isfinite(allowed):
            allowed = np.inf
        if self.part == 1 and not self.engine.exact.modes.forward and len(here.v) > 1:  # else outputs are told apart
            self.found.parts.of_leaves(terms, float(allowed), self.engine.xs)
        element = allowed / typical / largest if _largest(claimed) > 0 else allowed / size
        self.found.saw("reverse", off / size, float(allowed / size), float(element))
        if off <= allowed + _tiny(total):
            return False
        if self._blurred(off, reference.blur[-1], f"the outputs' sum along a {here.name} direction"):
            return False
        text = f"reverse mode is off by {off:.3g} along a {here.name} direction; {BARS:g} bars and rounding allow "
        text += f"{allowed:.1e}"
        value, error = float(reference.value[-1]), float(reference.error[-1])
        self.found.faults.append(Fault("reverse", None, None, total, value, error, text, direction=here.name))
        return True

    def _blurred(self, off: float, blur: float, what: str) -> bool:
        """Whether a difference lies within those of smaller steps, which rounding does not explain: F is rough."""
        # a loop that stops at a tolerance of its own has values that scatter by as much, and no finer structure
        if not off <= 2 * blur or self.engine.to_a_tolerance:
            return False
        self.found.rough.append(what)
        return True

    def second(self, direction: Direction) -> None:
        """Compare the second derivative along a direction with differences of the claimed first."""
        v = self.allowed(direction.v)
        kind = self.engine.exact.modes.second
        if kind is None or not join(v).any():
            return
        claimed = self.engine.claims(v, self.cotangent)["second"]
        levels = 9 if claimed.size > MANY else 12
        noise = self.noise if claimed.size >= MANY else self.engine.noise(v, self.cotangent)
        least = spread(noise["forward" if kind == "forward-over-forward" else "reverse"]) * (2.0**-52 / NOISE)
        reference = self.engine.derivative_of_first(v, self.cotangent, least, levels=levels)
        inputs = kind != "forward-over-forward"
        counted = reference.exists & np.isfinite(reference.value) & ~reference.rough
        counted &= (self.keep != 0) if inputs else self.engine.mask
        if not counted.size:
            return
        eps = self.engine.exact.eps
        allowed = BARS * reference.error + self.rounding * spread(noise["second"])
        allowed += (8 * self.part * eps + self.lenient) * _largest(np.where(counted, claimed, 0))
        with np.errstate(all="ignore"):
            off = np.where(counted, np.abs(claimed - reference.value), 0)
            off = np.where(np.isnan(off), np.inf, off)
            ratio = np.where(counted, off / (allowed + _tiny(reference.value)), 0)
        i = int(np.argmax(ratio))
        scale = max(_largest(np.where(counted, claimed, 0)), 1e-3 * _largest(reference.slope)) or 1.0
        self.found.saw(kind, off[i] / scale, allowed[i] / scale, float(np.median(allowed) / scale), first=False)
        if ratio[i] > 1:
            text = f"the second derivative ({kind}) is off by {off[i]:.3g}, allowed {allowed[i]:.1e}"
            where = (i, None) if inputs else (None, i)
            self.found.faults.append(Fault(kind, *where, claimed[i], reference.value[i], reference.error[i], text))
        elif not counted[self.keep != 0 if inputs else self.engine.mask].all():
            lost = ~reference.exists | reference.rough
            place = int(np.argmax(lost))
            what = "is too rough to be resolved" if reference.rough[place] else "does not exist"
            self.found.notes.append(f"The second derivative {what} at element {place}; the first was checked.")
        else:
            self._bends(Direction(direction.name, v), kind, claimed, noise["second"])

    def _bends(self, here: Direction, kind: str, claimed: Vector, noise: np.ndarray) -> None:
        """Compare the second derivative with second differences of the values.

        A claimed first derivative may be right at the point and wrong beside it, as at zeros and where a loss is 0.
        """
        if self.engine.to_a_tolerance:
            return
        found = self.engine.bend(here.v, self.u)
        if kind == "forward-over-forward":
            value, error, counted = found[0][:-1], found[1][:-1], self.engine.mask
            got, size, rounding = claimed, np.abs(claimed), spread(noise)
        else:
            v = join(here.v)
            value, error, counted = found[0][-1:], found[1][-1:], np.ones(1, bool)
            terms = np.where(v != 0, claimed * v, 0)
            got, size, rounding = terms.sum(keepdims=True), np.abs(terms).sum(), np.abs(spread(noise) * v).sum()
        with np.errstate(all="ignore"):
            allowed = BARS * error + self.rounding * rounding + max(_OF_VALUES, self.lenient) * size
            ratio = np.where(counted & np.isfinite(allowed), np.abs(got - value) / (allowed + _tiny(value)), 0)
        i = int(np.argmax(ratio))
        if ratio[i] > 1:
            text = (
                f"the second derivative ({kind}) along a {here.name} direction is off by {abs(got[i] - value[i]):.3g} "
            )
            text += f"from that of f's values, allowed {allowed[i]:.1e}: the first is wrong beside this point"
            output = i if kind == "forward-over-forward" else None
            fault = Fault(kind, None, output, got[i], value[i], error[i], text, direction=here.name)
            self.found.faults.append(fault)


def _largest(x: Vector) -> float:
    finite = np.abs(x[np.isfinite(x)])
    return float(finite.max()) if finite.size else 0.0


def _rms(values: object) -> float:
    array = np.array(list(values))  # type: ignore[call-overload]
    return float(np.sqrt(np.mean(array**2))) if array.size else 0.0


def _tiny(x: object) -> float:
    return float(np.finfo(float).tiny)
