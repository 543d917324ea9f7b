"""What was found along all directions: faults, kinks, roughness, and how finely it could be seen."""

import dataclasses
import math

from jaxinfo.verify._report import Row
from jaxinfo.verify._resolution import Resolution


@dataclasses.dataclass
class Fault:
    """An element that is wrong: of the inputs in reverse mode, with an output where forward mode named it.

    `direction` says along which one it showed, for a fault that no single element accounts for.
    """

    mode: str
    input: int | None
    output: int | None
    value: float
    reference: float
    bar: float
    text: str
    dtype: str = ""
    direction: str = ""


@dataclasses.dataclass
class Outcome:
    """What was found along all directions."""

    faults: list[Fault] = dataclasses.field(default_factory=list)
    rows: list[Row] = dataclasses.field(default_factory=list)
    kinks: list[str] = dataclasses.field(default_factory=list)
    rough: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    detectable: dict[str, float] = dataclasses.field(default_factory=dict)
    resolution: float = math.inf
    parts: Resolution = dataclasses.field(default_factory=Resolution)
    worst_ratio: dict[str, tuple[float, float, float]] = dataclasses.field(default_factory=dict)

    def saw(self, mode: str, error: float, allowed: float, detectable: float, *, first: bool = True) -> None:
        """Record one comparison of the table; the row shows the one that came closest to its bound.

        Of how finely the oracle resolves f, only first derivatives tell.
        """
        ratio = error / allowed if allowed > 0 else (0.0 if error == 0 else math.inf)
        if mode not in self.worst_ratio or ratio > self.worst_ratio[mode][0]:
            self.worst_ratio[mode] = (ratio, error, allowed)
        if first:
            self.resolution = min(self.resolution, allowed)
        self.detectable[mode] = min(self.detectable.get(mode, math.inf), detectable)

    def forget(self) -> None:
        """Forget what was measured: other bounds, or other directions, hold from here on."""
        self.worst_ratio.clear()
        self.detectable.clear()
        self.resolution = math.inf
        self.parts = Resolution()
