"""What was measured, as plain data: a Measurement of one function, a Comparison of several."""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

from jaxinfo.bench._rounds import Ratio

_MIB = 2**20
_SPREAD = ("median", "low", "high", "minima")


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What one function costs, and how wrong it is.

    Attributes:
        name: of the function.
        runs: synchronised runs that were timed.
        minimum: seconds of the fastest run; nan for no runs.
        low: lower quartile of the seconds.
        median: the seconds of a run.
        high: upper quartile.
        compile_seconds: to trace and compile; None where nothing is compiled.
        temp_bytes: what the compiled program needs beside arguments and results.
        errors: relative error of each result in eps of its dtype, of a matrix that of the worst row; inf for a nan.
        ratios: of its time to those of others measured with it.
        argument_bytes: of the compiled program.
        output_bytes: of the compiled program.
        peak_bytes: most memory in use: on CPUs what a fresh process grows by, arguments and results included; elsewhere
            what the device reports. None where that cannot be known.
        flops: floating-point operations as XLA counts them: the body of a loop once.
        bytes: bytes read and written by all operations, as XLA counts them: the body of a loop once.
        matmul_flops: those of all matrix products, the body of a loop as often as it runs.
        roofline: least time over median time. The least is that of reading the arguments and writing the results once
            and of the operations, at the measured rates of the device; above 1 where everything stays in caches.
        environment: device, versions and commit.
    """

    name: str
    runs: int
    minimum: float
    low: float
    median: float
    high: float
    compile_seconds: float | None = None
    temp_bytes: int | None = None
    errors: dict[str, float] = dataclasses.field(default_factory=dict)
    ratios: tuple[Ratio, ...] = ()
    argument_bytes: int | None = None
    output_bytes: int | None = None
    peak_bytes: int | None = None
    flops: float | None = None
    bytes: float | None = None
    matmul_flops: int | None = None
    roofline: float | None = None
    environment: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for JSON: floats of five digits, infinities as "inf", nan as None."""
        return plain(dataclasses.asdict(self))

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Measurement":
        """Return what `to_dict` was called on."""
        seconds = {k: _number(fields[k]) for k in ("minimum", "low", "median", "high")}
        errors = {k: _number(v) for k, v in fields["errors"].items()}
        ratios = tuple(Ratio(r["peer"], *(_number(r[k]) for k in _SPREAD)) for r in fields["ratios"])
        return cls(**{**fields, **seconds, "errors": errors, "ratios": ratios})

    def __str__(self) -> str:
        """Return one line: time, ratios, memory, roofline, errors, as far as they are known."""
        time = f"{seconds_text(self.median)} [{seconds_text(self.low)} {seconds_text(self.high)}] x {self.runs}"
        parts = [time if self.runs else "not timed"]
        parts += [f"{r} of {r.peer}" for r in self.ratios if r.peer != self.name]
        parts += [f"compile {self.compile_seconds:.2f} s"] if self.compile_seconds is not None else []
        for what in ("temp", "argument", "output", "peak"):
            size = getattr(self, f"{what}_bytes")
            parts += [] if size is None else [f"{what} {bytes_text(size)}"]
        parts += [f"{self.roofline:.0%} of the roofline"] if self.roofline is not None else []
        parts += ["error in eps " + ", ".join(f"{k} {e:.3g}" for k, e in self.errors.items())] if self.errors else []
        return f"{self.name}: " + "; ".join(parts)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Several functions measured side by side.

    Attributes:
        case: what tells this comparison from others.
        measurements: one for each function, in the order they were given.
        environment: device, versions and commit; None where they are kept with a whole table.
    """

    case: dict[str, Any]
    measurements: tuple[Measurement, ...]
    environment: dict[str, Any] | None = None

    def __getitem__(self, name: str) -> Measurement:
        """Return the measurement of the function `name`."""
        for m in self.measurements:
            if m.name == name:
                return m
        raise KeyError(name)

    def faster_of(self, names: Iterable[str]) -> Measurement:
        """Return the fastest by median of those in `names` that were measured."""
        return min((m for m in self.measurements if m.name in set(names)), key=lambda m: m.median)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for JSON, as `Measurement.to_dict` does."""
        rows = [m.to_dict() for m in self.measurements]
        return plain({"case": self.case, "measurements": rows, "environment": self.environment})

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Comparison":
        """Return what `to_dict` was called on."""
        measurements = tuple(Measurement.from_dict(m) for m in fields["measurements"])
        return cls(dict(fields["case"]), measurements, fields.get("environment"))

    def __str__(self) -> str:
        """Return a line for each function."""
        return "\n".join(map(str, self.measurements))


def _number(value: float | str | None) -> float:
    return math.nan if value is None else float(value)


def plain(value: Any) -> Any:
    """Return `value` as JSON can hold it: floats of five digits, infinities as "inf" and "-inf", nan as None."""
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return float(f"{value:.5g}") if math.isfinite(value) else str(value)
    return value


def seconds_text(seconds: float) -> str:
    """Return a time in a unit that fits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} us"


def bytes_text(size: float) -> str:
    """Return a size in MiB, small ones in bytes."""
    return f"{size:,.0f} B" if size < 0.1 * _MIB else f"{size / _MIB:,.1f} MiB"
