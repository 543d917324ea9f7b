"""A compiled program and what the compiler says of it."""

import dataclasses
import functools
import re
import time
from collections.abc import Callable
from typing import Any

import jax

from jaxinfo.bench._jaxprs import matmul_flops

_COLLECTIVES = (
    *("all-gather", "all-reduce", "all-to-all", "ragged-all-to-all"),
    *("collective-broadcast", "collective-permute", "reduce-scatter"),
)
_CALL = re.compile(rf"[)\]}}] ({'|'.join(_COLLECTIVES)})(?:-start)?\(")


@dataclasses.dataclass(frozen=True)
class Program:
    """A function compiled for its arguments.

    Attributes:
        run: the executable, called with the arguments.
        seconds: time to trace and compile.
        memory: temp_bytes, argument_bytes and output_bytes.
        flops: of one run as XLA counts them, the body of a loop once; None where it does not say.
        bytes: read and written by all operations, counted likewise.
        optimal_seconds: the compiler's estimate of one run, the body of a loop once; None where it gives none.
        matmul_flops: of all matrix products, each loop's body as often as it runs; None where that is unknown.
    """

    run: Any
    seconds: float
    memory: dict[str, int | None]
    flops: float | None
    bytes: float | None
    optimal_seconds: float | None
    matmul_flops: int | None


def compile_program(f: Callable[..., Any], *args: Any, options: dict[str, Any] | None = None) -> Program:
    """Compile `f` for `args` ahead of time."""

    @functools.wraps(f)
    def anew(*args: Any) -> Any:  # a function jax has not seen: what it has compiled before would take no time
        return f(*args)

    start = time.perf_counter()
    traced = jax.jit(anew).trace(*args)
    executable = traced.lower().compile(options)
    seconds = time.perf_counter() - start
    costs = _costs(executable)
    return Program(
        executable,
        seconds,
        _memory(executable),
        costs.get("flops"),
        costs.get("bytes accessed"),
        costs.get("optimal_seconds"),
        matmul_flops(traced.jaxpr),
    )


def collectives(text: str) -> dict[str, int]:
    """Return how often each kind of collective stands in a program's text; a pair of start and done counts once."""
    found = _CALL.findall(text)
    return {name: found.count(name) for name in sorted(set(found))}


def _memory(executable: Any) -> dict[str, int | None]:
    stats = executable.memory_analysis()
    fields = {"temp_bytes": "temp_size", "argument_bytes": "argument_size", "output_bytes": "output_size"}
    return {k: None if stats is None else int(getattr(stats, f"{v}_in_bytes")) for k, v in fields.items()}


def _costs(executable: Any) -> dict[str, float]:
    """Return the figures XLA's cost analysis gives; a negative one means that it does not know."""
    try:
        found = executable.cost_analysis() or _host_costs(executable)
    except (NotImplementedError, jax.errors.JaxRuntimeError):
        return {}
    found = found[0] if isinstance(found, list) else found
    return {name: float(value) for name, value in found.items() if value >= 0}


def _host_costs(executable: Any) -> dict[str, float]:
    """Count operations and bytes of the compiled program on the host, where the target's compiler is silent."""
    try:
        # no public function of jax does this for a program of another platform
        from jax._src.lib import xla_client  # pyright: ignore[reportPrivateImportUsage]

        (module,) = executable.runtime_executable().hlo_modules()
        return xla_client._xla.hlo_module_cost_analysis(jax.devices("cpu")[0].client, module)  # type: ignore[attr-defined]
    except (ImportError, AttributeError, ValueError, RuntimeError):
        return {}
