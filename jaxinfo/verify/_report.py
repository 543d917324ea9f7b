"""What a check found: a verdict, its reason, the worst element, one table, and what would not have been seen."""

import dataclasses
import enum
import math
from typing import Any


class Verdict(enum.StrEnum):
    """What can be said of a gradient."""

    CORRECT = "CORRECT"
    WRONG = "WRONG"
    NOT_DIFFERENTIABLE = "NOT_DIFFERENTIABLE"
    UNDECIDABLE = "UNDECIDABLE"


@dataclasses.dataclass(frozen=True)
class Worst:
    """The element that is furthest off, counted in error bars.

    `path` and `index` name an element of the inputs, `input` is its value; `value` is the derivative with respect to
    it that the function claims, `reference` the oracle's, right to `error_bar`. `output` names the output that is
    differentiated where there are several, or says which combination of them. For the second derivative `value` is
    an element of its product with a direction, for forward mode in another dtype an element of the tangent.
    """

    path: str
    index: tuple[int, ...]
    value: float
    reference: float
    error_bar: float
    input: float
    output: str
    mode: str
    dtype: str

    def __str__(self) -> str:
        """Return one line."""
        at = "" if math.isnan(self.input) else f" = {self.input:.9g}"
        place = f"{self.path}{list(self.index) if self.index else ''}{at}"
        return f"{place}: claimed {self.value:.9g}, reference {self.reference:.9g} +- {self.error_bar:.1e}"


@dataclasses.dataclass(frozen=True)
class Row:
    """One comparison: the largest error relative to the largest element, in units in the last place of the dtype."""

    mode: str
    transform: str
    dtype: str
    error: float
    ulps: float
    allowed: float
    status: str


@dataclasses.dataclass(frozen=True)
class GradientReport:
    """The result of `check_gradients`; it is true when the verdict is CORRECT.

    `smallest_detectable` is the smallest error in one element of the first derivative that would have been seen, as a
    fraction of the largest element; `oracle` says how the reference was computed.
    """

    verdict: Verdict
    reason: str
    worst: Worst | None
    table: tuple[Row, ...]
    smallest_detectable: float
    findings: tuple[str, ...]
    notes: tuple[str, ...]
    oracle: str
    evaluations: int
    seconds: float

    def __bool__(self) -> bool:
        """Whether the gradient is correct."""
        return self.verdict is Verdict.CORRECT

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold; numbers that are not finite become strings."""
        return _plain(dataclasses.asdict(self))

    def __str__(self) -> str:
        """Return what a person reads in a terminal."""
        lines = [f"{self.verdict}: {self.reason}"]
        if self.worst is not None:
            lines.append(f"  worst    {self.worst}")
            lines.append(f"           {self.worst.mode}, {self.worst.dtype}; {self.worst.output}")
        lines += [f"  fault    {text}" for text in self.findings]
        if self.table:
            lines += ["", f"  {'mode':22} {'transform':24} {'dtype':10} {'error':>9} {'ulps':>9} {'allowed':>9}"]
            lines += [
                f"  {r.mode:22} {r.transform:24} {r.dtype:10} {_short(r.error):>9} {_short(r.ulps):>9} "
                f"{_short(r.allowed):>9}  {r.status}"
                for r in self.table
            ]
        lines += ["", f"  oracle   {self.oracle}, {self.evaluations} evaluations, {self.seconds:.1f} s"]
        lines.append(f"  seen     an error of {_short(self.smallest_detectable)} of the largest element, or more")
        lines += [f"  note     {text}" for text in self.notes]
        return "\n".join(lines)


def _short(x: float) -> str:
    return "-" if math.isnan(x) else f"{x:.1e}"


def _plain(x: Any) -> Any:
    if isinstance(x, dict):
        return {k: _plain(v) for k, v in x.items()}
    if isinstance(x, list | tuple):
        return [_plain(v) for v in x]
    if isinstance(x, float) and not math.isfinite(x):
        return str(x)
    return str(x) if isinstance(x, enum.Enum) else x
