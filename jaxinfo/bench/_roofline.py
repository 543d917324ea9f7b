"""What a device can do at best, measured on it."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxinfo.bench._rounds import Candidate, seconds

_DTYPES = ("float32", "bfloat16", "float16", "float64")
# Large enough to be bound by memory and by arithmetic: bytes of the copied array, rows of the square matrix.
_SIZES = {"cpu": (2**28, 1024)}
_ACCELERATOR = (2**30, 8192)
_RUNS = 20


@dataclasses.dataclass(frozen=True)
class Roofline:
    """Two rates that programs do not exceed, each of the fastest of several runs; on a busy machine they come out low.

    Attributes:
        device: kind of the device.
        bytes_per_second: read and written in adding a number to a large array in place.
        flops_per_second: of square matrix products at jax's default precision, by dtype.
    """

    device: str
    bytes_per_second: float
    flops_per_second: dict[str, float]

    def seconds(self, *, bytes: float, flops: float = 0.0, dtype: str = "float32") -> float:
        """Return the least time that moving `bytes` and computing `flops` of matrix products in `dtype` can take."""
        rate = self.flops_per_second.get(dtype, max(self.flops_per_second.values()))
        return max(bytes / self.bytes_per_second, flops / rate)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        """Return one line."""
        rates = ", ".join(f"{rate / 1e9:,.4g} GFLOP/s in {name}" for name, rate in self.flops_per_second.items())
        return f"{self.device}: {self.bytes_per_second / 1e9:,.4g} GB/s, {rates}"


def roofline() -> Roofline:
    """Measure the memory bandwidth and the matmul rate of jax's default device.

    A few seconds; once for each process. float64 is measured where `jax_enable_x64` is on.

    Returns:
        Bytes and floating-point operations per second.

    Examples:
        >>> from jaxinfo import bench
        >>> roof = bench.roofline()
        >>> roof.seconds(bytes=1e9) == 1e9 / roof.bytes_per_second
        True
    """
    return _measured(jax.devices()[0], bool(jax.config.jax_enable_x64))  # type: ignore[attr-defined]


@functools.cache
def _measured(device: Any, wide: bool) -> Roofline:
    copied, rows = _SIZES.get(device.platform, _ACCELERATOR)
    dtypes = _DTYPES if wide else _DTYPES[:-1]
    rates = {dtype: 2.0 * rows**3 / _matmul_seconds(rows, dtype) for dtype in dtypes}
    return Roofline(device.device_kind, 2.0 * copied / _copy_seconds(copied // 4), rates)


def _copy_seconds(length: int) -> float:
    add = jax.jit(lambda x: x + 1, donate_argnums=0)  # in place: a fresh array costs page faults besides
    held = [jnp.zeros(length, jnp.float32)]

    def run() -> None:
        held[0] = jax.block_until_ready(add(held[0]))

    return _fastest(run)


def _matmul_seconds(rows: int, dtype: str) -> float:
    x = jnp.full((rows, rows), 0.5, dtype)
    product = jax.jit(lambda x: x @ x)
    return _fastest(lambda: jax.block_until_ready(product(x)))


def _fastest(run: Callable[[], Any]) -> float:
    candidate = Candidate("", run)
    seconds(candidate)  # compiles
    return min(seconds(candidate) for _ in range(_RUNS))
