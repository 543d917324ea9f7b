"""What a function computes, read from its jaxpr: XLA's own count takes the body of a loop once."""

import math
from collections.abc import Iterator
from typing import Any


def matmul_flops(jaxpr: Any) -> int | None:
    """Return the floating-point operations of all matrix products in a jaxpr, each loop's body as often as it runs.

    Of a branch the dearer side counts; of a `shard_map` all shards. None where a `while` of unknown length holds one.
    """
    total = 0
    for eqn in jaxpr.eqns:
        one = _flops_of(eqn)
        if one is None:
            return None
        total += one
    return total


def walk(jaxpr: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every equation, also of the inner jaxprs, with the jaxpr it stands in."""
    for eqn in jaxpr.eqns:
        yield eqn, jaxpr
        for inner in _inner(eqn):
            yield from walk(inner)


def _inner(eqn: Any) -> Iterator[Any]:
    for value in eqn.params.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            part = getattr(part, "jaxpr", part)
            if hasattr(part, "eqns"):
                yield part


def _flops_of(eqn: Any) -> int | None:
    name = eqn.primitive.name
    if name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        summed = math.prod(eqn.invars[0].aval.shape[i] for i in contracted)
        return 2 * math.prod(eqn.outvars[0].aval.shape) * summed
    inner = [matmul_flops(part) for part in _inner(eqn)]
    if name == "while":
        return 0 if all(n == 0 for n in inner) else None
    counts = [n for n in inner if n is not None]
    if len(counts) < len(inner):
        return None
    if name == "cond":
        return max(counts, default=0)
    if name.startswith(("custom_jvp_call", "custom_vjp_call")):
        return counts[0] if counts else 0  # the derivative's own jaxpr is not run
    return sum(counts) * _times(name, eqn.params)


def _times(name: str, params: dict[str, Any]) -> int:
    if name == "scan":
        return int(params["length"])
    return int(params["mesh"].size) if name == "shard_map" else 1
