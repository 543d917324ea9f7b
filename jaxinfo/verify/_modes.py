"""What a function claims its derivatives are: one program for all modes that it has."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxinfo.verify._jaxprs import primitives
from jaxinfo.verify._problem import Arrays

Flat = Callable[[Sequence[Any]], Arrays]

# What JAX says where a mode does not exist, as opposed to a rule that fails.
_NOT_THERE = re.compile(
    r"can't apply forward-mode|Reverse-mode differentiation does not work|do not support JVP|not differentiable|"
    r"[Dd]ifferentiation rule .* not implemented|Transpose rule .* not implemented|Linearization .*not|"
    r"JVP rule .* not implemented|does not support (JVP|reverse|forward)|not implemented for",
    re.DOTALL,
)


@dataclasses.dataclass(frozen=True)
class Modes:
    """Which derivatives exist, how the second is taken, and what was said of those that do not."""

    forward: bool
    reverse: bool
    second: str | None
    absent: dict[str, str]
    raised: dict[str, str]


def value_of(inner: Flat, xs: Sequence[Any]) -> Arrays:
    """Return the outputs."""
    return inner(xs)


def jvp(call: Flat, xs: Arrays, v: Arrays) -> tuple[Arrays, Arrays]:
    """Return outputs and tangents."""
    return jax.jvp(call, (xs,), (v,))


def vjp(call: Flat, xs: Arrays, u: Arrays) -> tuple[Arrays, Arrays]:
    """Return outputs and cotangents of the inputs."""
    out, pull = jax.vjp(call, xs)
    (back,) = pull([_like(c, y) for c, y in zip(u, out, strict=True)])
    return out, back


def second(call: Flat, kind: str, xs: Arrays, v: Arrays, u: Arrays) -> Arrays:
    """Return the second derivative along `v`: of the pulled-back `u` where reverse mode exists, else of the tangent."""
    if kind == "forward-over-reverse":
        return jax.jvp(lambda x: vjp(call, x, u)[1], (xs,), (v,))[1]
    if kind == "reverse-over-reverse":

        def along(x: Arrays) -> jax.Array:
            return sum((jnp.sum(g * t) for g, t in zip(vjp(call, x, u)[1], v, strict=True)), jnp.zeros(()))

        return jax.grad(along)(xs)
    return jax.jvp(lambda x: jvp(call, x, v)[1], (xs,), (v,))[1]


def first_of(kind: str, call: Flat, xs: Arrays, v: Arrays, u: Arrays) -> Arrays:
    """Return the first derivative that `second` of this kind is the derivative of."""
    return jvp(call, xs, v)[1] if kind == "forward-over-forward" else vjp(call, xs, u)[1]


def available(call: Flat, xs: Arrays, v: Arrays, u: Arrays, wanted: Sequence[str], order: int) -> Modes:
    """Return which modes can be traced; a mode that JAX says does not exist is absent, any other failure is kept."""
    absent: dict[str, str] = {}
    raised: dict[str, str] = {}

    def works(name: str, run: Callable[..., Any]) -> bool:
        try:
            program = jax.make_jaxpr(run)(xs, v, u)
        except Exception as error:
            text = str(error)
            there = _NOT_THERE.search(text) or isinstance(error, NotImplementedError)
            (absent if there else raised)[name] = f"{type(error).__name__}: {_first_sentence(text)}"
            return False
        if "custom_lin" in primitives(program):  # what tracing leaves of forward mode through a custom_vjp
            absent[name] = "a custom_vjp forbids it."
            return False
        return True

    forward = "forward" in wanted and works("forward", lambda x, v, u: jvp(call, x, v))
    reverse = "reverse" in wanted and works("reverse", lambda x, v, u: vjp(call, x, u))
    kinds = ("forward-over-reverse", "reverse-over-reverse") if reverse else ("forward-over-forward",) * forward
    chosen = None
    for kind in kinds if order >= 2 else ():
        if works(kind, lambda x, v, u, kind=kind: second(call, kind, x, v, u)):
            chosen = kind
            break
    if chosen == "reverse-over-reverse":
        raised.pop("forward-over-reverse", None)  # forward mode is what is missing; the other order was checked
    return Modes(forward, reverse, chosen, absent, raised)


def claims(call: Flat, modes: Modes) -> Callable[[Arrays, Arrays, Arrays], dict[str, Arrays]]:
    """Return one function of point, tangent and cotangent that gives every derivative there is, and the values."""

    def run(xs: Arrays, v: Arrays, u: Arrays) -> dict[str, Arrays]:
        out: dict[str, Arrays] = {"value": call(xs)}
        if modes.forward:
            out["forward value"], out["forward"] = jvp(call, xs, v)
        if modes.reverse:
            out["reverse value"], out["reverse"] = vjp(call, xs, u)
        if modes.second:
            out["second"] = second(call, modes.second, xs, v, u)
        return out

    return run


def _like(cotangent: Any, output: Any) -> jax.Array:
    return jnp.asarray(cotangent, output.dtype)


def _first_sentence(text: str) -> str:
    line = next((part.strip() for part in text.splitlines() if part.strip()), "no message")
    return line if len(line) <= 160 else line[:157] + "..."
