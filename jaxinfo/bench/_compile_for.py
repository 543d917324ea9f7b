"""Compile for devices that are not here, and read what the program would take there."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxinfo.bench._cycles import estimated_cycles
from jaxinfo.bench._measurement import bytes_text, plain, seconds_text
from jaxinfo.bench._program import collectives, compile_program
from jaxinfo.bench._targets import TARGETS, devices_for

# There is no card to try kernels on; without this the compiler fails.
_OPTIONS = {"cuda": {"xla_gpu_autotune_level": 0}}


@dataclasses.dataclass(frozen=True)
class Compiled:
    """What a program compiled for `target` takes there; bytes are those of each device.

    Attributes:
        target: kind of device.
        devices: how many.
        compile_seconds: to trace and compile, here.
        temp_bytes: needed beside arguments and results.
        argument_bytes: of the arguments.
        output_bytes: of the results.
        flops: floating-point operations of a device as XLA counts them: the body of a loop once.
        bytes: bytes read and written by all operations, counted likewise.
        matmul_flops: those of all matrix products on all devices, the body of a loop as often as it runs.
        collectives: how many of each kind stand in the program, such as all-reduce.
        seconds: the compiler's own estimate of one run; None where it gives none, and for a program with loops, whose
            bodies it would count once.
        cycles: the sum of the cycles the compiler estimates for each operation, the body of a loop as often as it runs:
            what dense and blockwise programs can be compared by. Only TPUs; None where an operation's is unknown.
    """

    target: str
    devices: int
    compile_seconds: float
    temp_bytes: int | None
    argument_bytes: int | None
    output_bytes: int | None
    flops: float | None
    bytes: float | None
    matmul_flops: int | None
    collectives: dict[str, int]
    seconds: float | None
    cycles: int | None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for JSON: floats of five digits."""
        return plain(dataclasses.asdict(self))

    def __str__(self) -> str:
        """Return one line."""
        sizes = [(what, getattr(self, f"{what}_bytes")) for what in ("temp", "argument", "output")]
        parts = [f"{what} {bytes_text(size)}" for what, size in sizes if size is not None]
        parts += [] if self.seconds is None else [f"estimated {seconds_text(self.seconds)}"]
        parts += [] if self.cycles is None else [f"{self.cycles:,} cycles"]
        parts += [f"{count} {name}" for name, count in self.collectives.items()]
        return f"{self.devices} x {self.target}: " + "; ".join(parts)


def compile_for(f: Callable[..., Any], *args: Any, target: str, devices: int | str = 1) -> Compiled:
    """Compile `f` with the real compiler of a device that is not here, and read memory, operations and collectives.

    Nothing runs. TPUs need the extra `tpu`, the H100 the extra `cuda`; neither needs the device. A function sharded
    over many devices takes its mesh from `mesh_for` with the same target and devices.

    Args:
        f: a function of arrays; jitted here.
        *args: its arguments, pytrees of arrays or of `jax.ShapeDtypeStruct`, whose `sharding` over a mesh of `mesh_for`
            counts. What has none is on every device.
        target: tpu-v5e, tpu-v5p, tpu-v6e or cuda-h100.
        devices: their number, or a topology: "16x16" chips of v5e and v6e, "8x8x8" of v5p, slices x hosts x cards of
            the H100.

    Returns:
        Memory of each device, operations, collectives, the compiler's estimate of the time where it gives one.

    Raises:
        ValueError: no such target or topology.
        MissingExtraError: the compiler is not installed; the message names the `pip install` that brings it.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from jaxinfo import bench
        >>> x = jax.ShapeDtypeStruct((1024, 32000), jnp.bfloat16)
        >>> bench.compile_for(jax.nn.logsumexp, x, target="tpu-v9")
        Traceback (most recent call last):
        ...
        ValueError: `target` must be one of tpu-v5e, tpu-v5p, tpu-v6e, cuda-h100, got 'tpu-v9'.
    """
    found = devices_for(target, devices)
    shapes = jax.tree.map(lambda x: _placed(x, found), args)
    program = compile_program(f, *shapes, options=_OPTIONS.get(TARGETS[target].extra))
    text = program.run.as_text()
    return Compiled(
        target,
        len(found),
        program.seconds,
        **program.memory,
        flops=program.flops,
        bytes=program.bytes,
        matmul_flops=program.matmul_flops,
        collectives=collectives(text),
        seconds=None if " while(" in text else program.optimal_seconds,
        cycles=estimated_cycles(text),
    )


def _placed(x: Any, found: tuple[Any, ...]) -> jax.ShapeDtypeStruct:
    """Return the shape of `x` on the target's devices: where its sharding says, else whole on each of them."""
    sharding = getattr(x, "sharding", None)
    if not isinstance(sharding, NamedSharding) or not sharding.device_set <= set(found):
        sharding = NamedSharding(Mesh(np.asarray(found), ("all",)), PartitionSpec())
    x = x if hasattr(x, "dtype") else jnp.asarray(x)
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
