"""The derivatives that the caller computes, in the caller's dtype, against an exact function that passed."""

import dataclasses

import numpy as np

from jaxinfo.verify._along import Checker
from jaxinfo.verify._choose import lower
from jaxinfo.verify._directions import first_directions
from jaxinfo.verify._engine import Engine
from jaxinfo.verify._exact import RETRACED, WIDENED
from jaxinfo.verify._exact_laws import exact_laws
from jaxinfo.verify._examine import examine
from jaxinfo.verify._outcome import Fault
from jaxinfo.verify._own import Own, compare
from jaxinfo.verify._own_laws import Asked, own_laws
from jaxinfo.verify._session import Session
from jaxinfo.verify._vectors import Vector


def in_own_dtype(mine: Own, checker: Checker, session: Session, directions: int, order: int) -> None:
    """Compare what the caller computes with the exact derivatives, then one transform with another."""
    found = session.found
    if session.out_of_time():
        found.notes.append(f"The budget ended before {mine.dtype} was checked.")
        return
    if found.rough:  # no digit of a derivative is known
        return
    v, u = checker.allowed(first_directions(checker.engine.xs, session.rng, 1)[0].v), checker.cotangent
    claimed = mine.run(mine.compiled, v, u)
    counted = _counted(mine, checker, claimed)
    rows, faults = compare(mine, checker.engine, v, u, claimed, "jit", counted)
    if faults and checker.engine.exact.form == RETRACED:
        checker = _as_traced(mine, checker, session, directions, order)
        for fault in found.faults:
            fault.dtype = mine.dtype
        if not found.faults:  # else the program as traced is wrong, and what it computes agrees with itself
            rows, faults = compare(mine, checker.engine, v, u, claimed, "jit", counted)
    found.rows += rows
    if any(row.status == "no digits to compare" for row in rows):
        found.notes.append(f"In {mine.dtype} rounding may change every digit of some derivative.")
    for mode, i, value, reference, allowed, text in faults:
        at_input = mode == "reverse" or (mode == "second" and mine.modes.second != "forward-over-forward")
        place = (i, None) if at_input else (None, i)
        found.faults.append(Fault(mode, *place, value, reference, allowed, text, mine.dtype))
    if not found.faults and not found.kinks and not found.rough:
        _hold_laws(checker, Asked(mine, checker.engine, v, u, claimed, counted), session)


def _counted(mine: Own, checker: Checker, claimed: dict[str, Vector]) -> dict[str, np.ndarray]:
    """Return which elements of each claim can be compared."""
    inputs, outputs = checker.keep != 0, checker.engine.mask
    second = outputs if mine.modes.second == "forward-over-forward" else inputs
    counted = {"value": outputs, "forward": outputs, "reverse": inputs, "second": second}
    if checker.found.kinks:
        return {"value": outputs}
    lost = outputs & ~np.isfinite(claimed["value"])
    if lost.any():  # the value is at fault there, and the derivative cannot be better
        checker.found.notes.append(f"{int(lost.sum())} outputs are not finite in {mine.dtype}.")
        rest = {name: mask & np.isfinite(claimed[name]) for name, mask in counted.items() if name in claimed}
        return rest | {"value": outputs}
    return counted


def _as_traced(mine: Own, checker: Checker, session: Session, directions: int, order: int) -> Checker:
    """Return the checker of the program as traced in this dtype, where `f` may be another function."""
    exact = lower(mine, session, order, f"in {mine.dtype} f differs from its float64 re-trace")
    if exact.form != WIDENED:
        return checker
    engine = Engine(exact, checker.engine.xs, np.ones(1, bool))
    engine = dataclasses.replace(engine, mask=np.isfinite(engine.at_zero))
    return examine(engine, checker.keep, session, directions, order, mine.eps)


def _hold_laws(checker: Checker, asked: Asked, session: Session) -> None:
    laws = [own_laws(asked)]
    if not any(row.transform == "zero of zero" for row in session.found.rows):
        laws.insert(0, exact_laws(checker, asked.v))
    for row, text in (found for law in laws for found in law):
        session.found.rows.append(row)
        if text:
            session.found.faults.append(Fault(row.mode, None, None, np.nan, np.nan, np.nan, text))
