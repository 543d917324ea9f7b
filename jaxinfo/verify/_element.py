"""From a direction that showed a fault to the element that is wrong, confirmed against the oracle."""

import dataclasses

import numpy as np

from jaxinfo.verify import _locate
from jaxinfo.verify._along import BARS, MANY, Checker
from jaxinfo.verify._directions import Direction
from jaxinfo.verify._outcome import Fault
from jaxinfo.verify._vectors import Vector


@dataclasses.dataclass(frozen=True)
class _Element:
    """One entry of the Jacobian: what is claimed of it, the oracle's value, and whether that one exists."""

    input: int
    output: int
    value: float
    reference: float
    bar: float
    exists: bool

    def wrong(self, unit: float) -> bool:
        """Whether the claim differs from the reference by more than bars and rounding of the claim."""
        size = abs(self.value) if np.isfinite(self.value) else abs(self.reference)
        return not abs(self.value - self.reference) <= BARS * self.bar + 4 * unit * max(size, abs(self.reference))


def stands(checker: Checker, here: Direction) -> bool:
    """Name the element that the first fault comes from, and say whether there is a derivative that it is a fault of.

    Few evaluations find the element of a smooth function; where the one they find is right, the oracle's whole ladder
    is asked; and where that names a right one too, the direction is all that is known, and the fault says so.

    Returns:
        False for a kink or roughness along that element, which is then held.
    """
    fault, found = checker.found.faults[0], checker.found
    for careful in (False, True) if checker.keep.size <= MANY else (False,):
        element = _search(checker, here, fault, careful=careful)
        rough = not np.isfinite(element.bar)
        if rough or not element.exists:  # the sum over all elements had hidden it
            found.faults.clear()
            (found.rough if rough else found.kinks).append(f"input {element.input}")
            checker.keep = checker.keep * (np.arange(checker.keep.size) != element.input)
            return False
        if element.wrong(checker.engine.exact.eps):
            fault.input, fault.output = element.input, element.output
            fault.value, fault.reference, fault.bar = element.value, element.reference, element.bar
            return True
    return True


def _search(checker: Checker, here: Direction, fault: Fault, *, careful: bool) -> _Element:
    """Return the entry of the Jacobian that bisection leads to."""
    engine = checker.engine
    if fault.mode == "forward" and fault.output is not None:
        j = _locate.wrong_input_of_output(engine, here.v, fault.output, careful=careful)
    else:
        j = _locate.wrong_input(engine, here.v, checker.u, engine.pulled(checker.u), careful=careful)
    direction, length = _locate.single(engine.xs, j)
    found = engine.weighted(direction, checker.u)
    value, bars = found.value / length, found.error / length

    def entry(i: int, claim: float) -> _Element:
        return _Element(j, i, float(claim), float(value[i]), float(bars[i]), bool(found.exists[i]))

    if fault.mode == "forward":
        column = engine.tangent(direction) / length
        i = fault.output if fault.output is not None else _furthest(column, value[:-1], bars[:-1], engine.mask)
        return entry(i, column[i])
    if engine.mask.size == 1:
        return entry(0, engine.pulled(checker.u)[j] / checker.u[0])
    i = _locate.wrong_output(engine, found.value[:-1], found.error[:-1], j, length)
    one = np.zeros(engine.mask.size)
    one[i] = 1
    return entry(i, engine.pulled(one)[j])


def _furthest(claimed: Vector, reference: Vector, bars: Vector, mask: np.ndarray) -> int:
    with np.errstate(all="ignore"):
        ratio = np.abs(claimed - reference) / (bars + np.finfo(float).tiny)
    return int(np.nanargmax(np.where(mask, ratio, 0)))
