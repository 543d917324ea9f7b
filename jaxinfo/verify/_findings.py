"""What a hunt reports."""

import dataclasses
from typing import Any

TRAINED = "label out of range, gradient of another value"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One fault at one input: what kind, at which input, and the operation and line it comes from if that is known."""

    kind: str
    input: str
    args: tuple[Any, ...]
    detail: str
    primitive: str
    source: str

    def __str__(self) -> str:
        """Return a few lines."""
        origin = f"\n    from {self.primitive} at {self.source}" if self.primitive else ""
        return f"{self.kind} at {self.input}: {self.detail}{origin}"


@dataclasses.dataclass(frozen=True)
class HuntReport:
    """What `hunt` found, one of each kind and origin; true when nothing was."""

    findings: tuple[Finding, ...]
    tried: int
    notes: tuple[str, ...]

    def __bool__(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def __str__(self) -> str:
        """Return what a person reads in a terminal."""
        head = f"{len(self.findings)} faults at {self.tried} inputs."
        return "\n".join([head, *(f"  {finding}" for finding in self.findings), *(f"  note: {n}" for n in self.notes)])
