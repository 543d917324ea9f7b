"""An exact function against the oracle along all directions, down to the element that is wrong."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxinfo.verify import _locate
from jaxinfo.verify._along import LENIENT, MANY, SINGLE, Checker
from jaxinfo.verify._directions import (
    Direction,
    first_directions,
    is_symmetric,
    largest,
    leaf_by_leaf,
    led_by,
    ordinary,
    random_cotangent,
    restricted,
)
from jaxinfo.verify._element import stands
from jaxinfo.verify._engine import Engine
from jaxinfo.verify._floats import float64
from jaxinfo.verify._jaxprs import primitives
from jaxinfo.verify._outcome import Fault
from jaxinfo.verify._session import Session
from jaxinfo.verify._vectors import Vector, join


def examine(engine: Engine, keep: Vector, session: Session, directions: int, order: int, own_eps: float) -> Checker:
    """Check first and second derivatives of an exact function; faults are located."""
    u = random_cotangent(session.rng, engine.at_zero, engine.outputs, engine.mask)
    checker = Checker(engine, u, keep, session.rng, session.out_of_time, session.found)
    _hold_the_undefined(checker)
    todo = directions_for(checker, directions)
    kinks_before = len(session.found.kinks)
    _along_all(checker, todo, session, own_eps)
    if session.found.faults and not math.isnan(session.found.faults[0].bar) and _means_symmetric(engine):
        _along_symmetric_matrices(checker, todo, session, own_eps)
    if not session.found.faults and len(session.found.kinks) > kinks_before and _only_near(checker, kinks_before):
        del session.found.kinks[kinks_before:]
        session.found.notes.append("A kink lies nearer than 1e-13 of the arguments' size: right on this side of it.")
    if not session.found.faults and len(session.found.kinks) > kinks_before:
        # there is a kink somewhere; what lies away from it can still be checked
        rest = Direction(
            "restricted", restricted(first_directions(engine.xs, checker.rng, 1)[0].v, ordinary(engine.xs))
        )
        wrong = checker.along(rest) if join(rest.v).any() else None
        if wrong is not None:
            stands(checker, wrong)
    settled = not session.found.faults and not session.found.rough and len(session.found.kinks) == kinks_before
    if order >= 2 and settled:
        for direction in todo[: 1 if join(engine.xs).size > 100_000 else 2]:
            if session.out_of_time():
                session.found.notes.append("The budget ended before the second derivative was checked.")
                break
            checker.second(direction)
    return checker


def _along_all(checker: Checker, todo: list[Direction], session: Session, own_eps: float) -> None:
    """Compare along one direction after another, up to the first that shows a fault, which is located."""
    for direction in todo if not session.found.faults else ():
        if session.out_of_time():
            session.found.notes.append("The budget ended before all directions were checked.")
            return
        while (wrong := checker.along(direction)) is not None:
            if not stands(checker, wrong):
                if session.found.rough:
                    break
                continue
            if not checker.lenient and (why := _immaterial(session.found.faults[0], checker, own_eps)):
                session.found.faults.clear()
                session.found.forget()
                session.found.notes.append(why)
                checker.lenient = LENIENT
                continue
            return


def _only_near(checker: Checker, before: int) -> bool:
    """Whether the kinks are gone in steps that follow each element's own size: beside the point, not at it."""
    kinks = checker.found.kinks
    if any(text.startswith("input") for text in kinks[before:]):  # seen along one element, in such steps
        return False
    count = len(kinks)
    relative = first_directions(checker.engine.xs, checker.rng, 2)[1]
    wrong = checker.along(relative)
    if wrong is not None:
        stands(checker, wrong)
    return wrong is None and len(kinks) == count


def _immaterial(fault: Fault, checker: Checker, own_eps: float) -> str:
    """Return why a fault of an element is none: no more digits are meant than float32's."""
    off, reference = abs(fault.value - fault.reference), abs(fault.reference)
    relative = off / max(reference, np.finfo(float).tiny)
    said = f"Its derivative is off by {relative:.1e}, beyond float64 and within float32"
    if own_eps >= SINGLE and off <= LENIENT * reference:  # a constant with eight digits
        return said + "."
    size = max(reference, largest(checker.gradient) if checker.engine.exact.modes.reverse else 0.0)
    if off <= LENIENT * size and checker.engine.to_a_tolerance:  # an adjoint solved by an adaptive method
        return said + ": a loop that stops at a tolerance of its own has no more digits."
    return ""


def _means_symmetric(engine: Engine) -> bool:
    """Whether a symmetric matrix goes into an operation that reads one triangle of it."""
    with float64():
        program = jax.make_jaxpr(engine.exact.value)([jnp.asarray(x) for x in engine.xs])
    return any(map(is_symmetric, engine.xs)) and bool(primitives(program) & {"cholesky", "eigh"})


def _along_symmetric_matrices(checker: Checker, todo: list[Direction], session: Session, own_eps: float) -> None:
    """Ask again in symmetric directions: a function of symmetric matrices may read one triangle only."""
    general, checker.symmetric = list(session.found.faults), True
    session.found.faults.clear()
    session.found.forget()
    _along_all(checker, todo, session, own_eps)
    if session.found.faults:
        session.found.faults[:] = general
        checker.symmetric = False
    else:
        session.found.notes.append("f reads one triangle of a symmetric matrix: right along symmetric changes only.")


def directions_for(checker: Checker, count: int) -> list[Direction]:
    """Return all directions to check, the random ones first."""
    xs = checker.engine.xs
    plain = first_directions(xs, checker.rng, 1 if join(xs).size > MANY else max(1, count - 1))
    led: list[Direction] = []
    if checker.engine.exact.modes.reverse:
        led = led_by(checker.gradient, xs, checker.rng)
    leaves = leaf_by_leaf(xs, checker.rng) if 1 < len(xs) <= 8 and join(xs).size < MANY else []
    return plain + led + leaves


def _hold_the_undefined(checker: Checker) -> None:
    """Report claims that are not finite where the oracle is, and leave their elements out of every direction."""
    engine = checker.engine
    checker.keep = checker.keep * ~np.isnan(join(engine.xs))
    if not engine.exact.modes.reverse:
        return
    pulled = checker.gradient
    bad = ~np.isfinite(pulled) & (checker.keep != 0)
    if not engine.mask.all():  # 0 times the infinite slope of an output that is not finite either is nobody's fault
        excused = bad & ~np.isfinite(engine.pulled(1.0 - engine.mask))
        _ask_forward(checker, excused)
        bad &= ~excused
    for j in _some(bad):
        direction, length = _locate.single(engine.xs, j)
        found = engine.weighted(direction, checker.u)
        if found.exists[-1] and np.isfinite(found.error[-1]):
            claim, reference, bar = float(pulled[j]), found.value[-1] / length, found.error[-1] / length
            text = f"reverse mode gives {claim} where the derivative is {reference:.6g}"
            checker.found.faults.append(Fault("reverse", j, None, claim, reference, bar, text))
            break
        checker.found.kinks.append(f"the outputs along input {j}")
    checker.keep = checker.keep * np.isfinite(pulled)


def _ask_forward(checker: Checker, excused: np.ndarray) -> None:
    """Ask forward mode for the finite outputs where reverse mode cannot tell them from those that are not finite."""
    engine = checker.engine
    if excused.any():
        checker.found.notes.append("The gradient is not finite where an output is not, and was not asked for there.")
    places = _some(excused) if engine.exact.modes.forward else []
    if not places:
        return
    # 0 times the infinite slope of a root is nobody's fault either
    smooth = engine.weighted(first_directions(engine.xs, checker.rng, 1)[0].v, checker.u).exists[:-1]
    checker.found.kinks += [
        f"output {int(i)} along a random direction" for i in np.flatnonzero(engine.mask & ~smooth)[:1]
    ]
    for j in places:
        direction, length = _locate.single(engine.xs, j)
        column, found = engine.tangent(direction), engine.weighted(direction, checker.u)
        bad = engine.mask & smooth & ~np.isfinite(column) & found.exists[:-1] & np.isfinite(found.error[:-1])
        if bad.any():
            i = int(np.argmax(bad))
            claim, reference, bar = column[i] / length, found.value[i] / length, found.error[i] / length
            text = f"forward mode gives {claim} where the derivative is {reference:.6g}"
            checker.found.faults.append(Fault("forward", j, i, claim, reference, bar, text))
            return


def _some(flags: np.ndarray) -> list[int]:
    """Return the first, the middle and the last place that is flagged."""
    places = np.flatnonzero(flags)
    return [int(places[k]) for k in np.unique(np.linspace(0, len(places) - 1, 3).astype(int))] if len(places) else []
