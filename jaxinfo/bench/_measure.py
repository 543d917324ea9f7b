"""measure and compare: compile, check, and time functions on jax's default device."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxinfo.bench._environment import environment
from jaxinfo.bench._errors import errors_in_eps, in_float64
from jaxinfo.bench._measurement import Comparison, Measurement
from jaxinfo.bench._peak import peak_of_device, peak_of_process
from jaxinfo.bench._program import Program, compile_program
from jaxinfo.bench._roofline import roofline
from jaxinfo.bench._rounds import Candidate, interleave, ratio, rounds_within

Function = Callable[..., Any] | Candidate


class Interrupted(KeyboardInterrupt):
    """Ctrl-C while comparing; `comparison` holds what was done, the rounds that were complete among it."""

    def __init__(self, comparison: Comparison) -> None:
        """Keep the comparison."""
        super().__init__()
        self.comparison = comparison


def measure(
    f: Callable[..., Any], *args: Any, seconds: float = 1.0, float64: bool = False, peak: bool = True
) -> Measurement:
    """Compile `f` for `args`, run it on jax's default device, and say what it costs.

    On a GPU or TPU it runs there unchanged. The time of a run is that until its results are there.

    Args:
        f: a function of arrays; jitted here.
        *args: its arguments, pytrees of arrays.
        seconds: about how long to time; at least 5 and at most 101 runs.
        float64: give the error against the same function in float64.
        peak: give the peak memory; on CPUs that takes a fresh process, a few seconds.

    Returns:
        One row: `print` shows it, `to_dict()` is for JSON.

    Raises:
        TypeError: an argument is a shape, which `compile_for` takes.
        ValueError: with `float64`, `f` rounds to a narrower dtype inside and cannot be its own reference.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from jaxinfo import bench
        >>> row = bench.measure(jax.nn.logsumexp, jnp.zeros((64, 1000)), seconds=0.0, peak=False)
        >>> row.runs, row.argument_bytes, row.output_bytes
        (5, 256000, 4)
    """
    name = getattr(f, "__name__", type(f).__name__)
    made = compare({name: f}, *args, seconds=seconds, float64=float64, peak=peak)
    return dataclasses.replace(made.measurements[0], ratios=(), environment=made.environment)


def compare(
    functions: Mapping[str, Function],
    *args: Any,
    peer: str | None = None,
    seconds: float = 1.0,
    float64: bool = False,
    peak: bool = True,
    progress: Callable[[str], None] = lambda what: None,
) -> Comparison:
    """Measure several functions side by side, interleaved in a new random order each round.

    Machines drift; the ratios are taken round by round and given with their quartiles. They are the figures to read.

    Args:
        functions: by name; a `Candidate` is run as it is and may be anything, such as a function of another library.
        *args: arguments of all functions, pytrees of arrays.
        peer: the one whose time the ratios are taken to; the first where None.
        seconds: about how long to time all; at least 5 and at most 101 rounds.
        float64: give the error of each function against itself in float64.
        peak: give the peak memory of each.
        progress: told what is being done, in a few words.

    Returns:
        A measurement for each function.

    Raises:
        TypeError: an argument is a shape, which `compile_for` takes.
        ValueError: no function is given, `peer` is none of them, or with `float64` one rounds to a narrower dtype.
        Interrupted: ctrl-C was pressed; it holds what was done.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from jaxinfo import bench
        >>> both = {"softmax": jax.nn.softmax, "log": lambda x: jnp.exp(jax.nn.log_softmax(x))}
        >>> made = bench.compare(both, jnp.zeros((64, 1000)), seconds=0.0, peak=False)
        >>> made["softmax"].ratios[0].median, made["log"].ratios[0].peer
        (1.0, 'softmax')
    """
    peer = _check(functions, args, peer)
    args = jax.tree.map(jnp.asarray, args)
    done: dict[str, Measurement] = {}
    candidates: list[Candidate] = []
    where = environment()
    try:
        for name, f in functions.items():
            progress(f"compiling {name}")
            candidate, done[name] = prepare(name, f, args, float64=float64, peak=peak)
            candidates.append(candidate)
        progress("timing")
        rounds = rounds_within(candidates, seconds, least=5, most=101)

        def after(i: int, times: Mapping[str, np.ndarray]) -> None:
            progress(f"round {i} of {rounds}")
            done.update({name: timed(row, times, (peer,)) for name, row in done.items()})

        interleave(candidates, rounds, after=after)
        progress("measuring the roofline")
        done = {name: _beside_roofline(row, args) for name, row in done.items()}
    except KeyboardInterrupt:
        raise Interrupted(Comparison({}, tuple(done.values()), where)) from None
    return Comparison({}, tuple(done.values()), where)


def prepare(
    name: str, f: Function, args: Sequence[Any], *, float64: bool = False, peak: bool = False
) -> tuple[Candidate, Measurement]:
    """Compile, and say all that can be said before it is timed."""
    nan = math.nan
    if isinstance(f, Candidate):
        row = Measurement(name, 0, nan, nan, nan, nan, f.compile_seconds, f.temp_bytes)
        return dataclasses.replace(f, name=name), row
    program = compile_program(f, *args)
    candidate = compiled_candidate(name, program, args)
    row = Measurement(
        name,
        0,
        *(nan, nan, nan, nan),
        compile_seconds=program.seconds,
        temp_bytes=program.memory["temp_bytes"],
        argument_bytes=program.memory["argument_bytes"],
        output_bytes=program.memory["output_bytes"],
        errors=errors_in_eps(candidate.run(), in_float64(f, args)) if float64 else {},
        peak_bytes=_peak(f, program, args, candidate) if peak else None,
        flops=program.flops,
        bytes=program.bytes,
        matmul_flops=program.matmul_flops,
    )
    return candidate, row


def compiled_candidate(name: str, program: Program, args: Sequence[Any]) -> Candidate:
    """Return the compiled program with its arguments."""
    temporaries = program.memory["temp_bytes"]
    return Candidate(name, lambda: jax.block_until_ready(program.run(*args)), program.seconds, temporaries)


def timed(row: Measurement, times: Mapping[str, np.ndarray], peers: Sequence[str]) -> Measurement:
    """Return `row` with its times, and the ratios to those in `peers` that were timed."""
    own = times[row.name]
    low, median, high = (float(q) for q in np.quantile(own, (0.25, 0.5, 0.75)))
    ratios = tuple(ratio(times, row.name, peer) for peer in peers if peer in times)
    spread = {"minimum": float(own.min()), "low": low, "median": median, "high": high}
    return dataclasses.replace(row, runs=len(own), ratios=ratios, **spread)


def _check(functions: Mapping[str, Function], args: Sequence[Any], peer: str | None) -> str:
    if not functions:
        raise ValueError("`functions` must hold at least one function, got none.")
    if peer is not None and peer not in functions:
        raise ValueError(f"`peer` must be one of {', '.join(functions)}, got {peer!r}.")
    if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(args)):
        raise TypeError("`args` must be arrays, got a ShapeDtypeStruct; `compile_for` takes shapes.")
    return peer or next(iter(functions))


def _peak(f: Callable[..., Any], program: Program, args: Sequence[Any], candidate: Candidate) -> int | None:
    device = jax.devices()[0]
    if device.platform == "cpu":
        return peak_of_process(f, program.run, args)
    return peak_of_device(device, candidate.run)


def _beside_roofline(row: Measurement, args: Sequence[Any]) -> Measurement:
    """Return `row` with the share of the roofline; the dtype of its arithmetic is that of the first floating leaf."""
    if row.argument_bytes is None or row.output_bytes is None:
        return row
    floats = [x.dtype.name for x in jax.tree.leaves(args) if jnp.issubdtype(x.dtype, jnp.floating)]
    flops = max(row.flops or 0.0, row.matmul_flops or 0)
    moved = row.argument_bytes + row.output_bytes
    least = roofline().seconds(bytes=moved, flops=flops, dtype=(floats or ["float32"])[0])
    return dataclasses.replace(row, roofline=least / row.median)
