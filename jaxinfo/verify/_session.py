"""What one call gathers, and the verdict it amounts to."""

import dataclasses
import time

import numpy as np

from jaxinfo.verify._along import Checker
from jaxinfo.verify._engine import Engine
from jaxinfo.verify._exact import RETRACED
from jaxinfo.verify._floats import eps
from jaxinfo.verify._outcome import Fault, Outcome
from jaxinfo.verify._own import Own
from jaxinfo.verify._report import GradientReport, Row, Verdict, Worst
from jaxinfo.verify._vectors import place

_ALL = ("forward", "reverse")


@dataclasses.dataclass
class Session:
    """What one call of `check_gradients` gathers."""

    start: float
    budget: float | None
    rng: np.random.Generator
    found: Outcome = dataclasses.field(default_factory=Outcome)

    def out_of_time(self) -> bool:
        """Whether the budget is spent."""
        return self.budget is not None and time.perf_counter() - self.start > self.budget

    def raised(self, mine: Own) -> None:
        """Record the modes that are not there, and those whose rules fail: a fault where a first derivative does."""
        for mode, text in mine.modes.absent.items():
            self.found.rows.append(Row(mode, "jit", mine.dtype, np.nan, np.nan, np.nan, "not available"))
            self.found.notes.append(f"{mode} mode is not available: {text}")
        for mode, text in mine.modes.raised.items():
            if mode in _ALL:
                self.found.faults.append(Fault(mode, None, None, np.nan, np.nan, np.nan, f"{mode} mode raises {text}"))
            else:  # nobody may ask for a second derivative, and nobody gets a wrong one
                self.found.rows.append(Row(mode, "jit", mine.dtype, np.nan, np.nan, np.nan, "raises"))
                self.found.notes.append(f"{mode} mode raises {text}")

    def tabulate(self, checker: Checker, mine: Own) -> None:
        """Add the rows of the comparison with the oracle, whose faults are of the dtype that they name."""
        unit = max(checker.engine.exact.eps, eps(np.float64))
        wrong = {fault.mode for fault in self.found.faults}
        label = "float64" if checker.engine.exact.form == RETRACED else mine.dtype
        for fault in self.found.faults:
            fault.dtype = fault.dtype or label
        for mode, (_, error, allowed) in self.found.worst_ratio.items():
            status = "WRONG" if mode in wrong else "ok"
            self.found.rows.append(Row(mode, "jit, against the oracle", label, error, error / unit, allowed, status))

    def undecidable(self, reason: str) -> GradientReport:
        """Return the report of a function that could not be checked."""
        return GradientReport(
            Verdict.UNDECIDABLE,
            reason,
            None,
            tuple(self.found.rows),
            np.inf,
            (),
            tuple(dict.fromkeys(self.found.notes)),
            "none",
            0,
            time.perf_counter() - self.start,
        )

    def report(self, oracle: str, engine: Engine | None, mine: Own, checker: Checker | None) -> GradientReport:
        """Return what was found, the first fault as the worst."""
        found = self.found
        if found.faults and engine is not None and engine.samples_by_rejection:
            found.notes.append(f"Seen was: {found.faults[0].text}.")
            return self.undecidable(
                "f draws samples by rejection, whose derivative in JAX is that of their distribution "
                "(implicit reparametrisation): right on average, and not the slope for a fixed key."
            )
        detectable = max(found.detectable.get(m, 0.0) for m in _ALL)
        worst = None
        if found.faults:
            verdict, reason = Verdict.WRONG, found.faults[0].text + "."
            worst = _worst(found.faults[0], mine, checker)
        elif found.rough:
            verdict = Verdict.UNDECIDABLE
            reason = f"f is too rough here: {found.rough[0]} moves within rounding of the point as much as far from it."
        elif found.kinks:
            verdict = Verdict.NOT_DIFFERENTIABLE
            reason = f"there is no derivative at this point: {found.kinks[0]} has one-sided slopes that differ."
        elif not any(m in found.detectable for m in _ALL):
            verdict, reason = Verdict.UNDECIDABLE, "nothing could be compared."
        elif found.resolution > 0.5:
            verdict = Verdict.UNDECIDABLE
            reason = f"the oracle's error bars are {found.resolution:.1g} of the gradient: f is too noisy here."
        elif found.parts.worst > 0.5:
            verdict = Verdict.UNDECIDABLE
            reason = (
                f"the oracle's error bars are {found.parts.worst:.1g} of the derivative of one output or with respect "
                "to one leaf: f is too noisy there."
            )
        else:
            modes = " and ".join(m for m in (*_ALL, mine.modes.second or "") if m in found.detectable)
            verdict, reason = Verdict.CORRECT, f"{modes} agree with the oracle."
        return GradientReport(
            verdict,
            reason,
            worst,
            tuple(found.rows),
            detectable,
            tuple(dict.fromkeys(fault.text for fault in found.faults)),
            tuple(dict.fromkeys(found.notes)),
            oracle,
            engine.counter[0] if engine is not None else 0,
            time.perf_counter() - self.start,
        )


def _worst(fault: Fault, mine: Own, checker: Checker | None) -> Worst | None:
    if checker is None or (fault.input is None and fault.output is None and not fault.direction):
        return None
    outs, ins = mine.flat.outputs, mine.flat.inputs
    dtype = fault.dtype or mine.dtype
    output = "a random combination of the outputs"
    if fault.output is not None:
        k, index = place(fault.output, outs)
        output = outs[k].name + (str(list(index)) if index else "")
    elif len(outs) == 1 and outs[0].shape == ():
        output = outs[0].name
    if fault.direction and fault.input is None:
        path, index, x = f"args along a {fault.direction} direction", (), np.nan
    elif fault.input is None:
        k, index = place(fault.output or 0, outs)
        path, x = outs[k].name, np.nan
    else:
        k, index = place(fault.input, ins)
        path, x = ins[k].name, float(checker.engine.xs[k][index])
    return Worst(
        path,
        index,
        float(fault.value),
        float(fault.reference),
        float(fault.bar),
        x,
        output,
        fault.mode,
        dtype,
    )
