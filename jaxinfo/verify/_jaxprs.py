"""A program as equations: walked, looked into, and evaluated again under other arithmetic.

A traced program is a jaxpr. `evaluate` walks it and lets a `Rule` decide what each equation does; calls are
inlined, and the bodies of scan, while and cond are rewritten and bound again.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.extend.core as jex
import numpy as np

from jaxinfo.verify._floats import is_complex, is_float

_INLINED = ("call_jaxpr", "jaxpr", "fun_jaxpr")
# Programs in their parameters belong to the operation and are left as they are.
_WHOLE = frozenset(["custom_linear_solve"])
_LOOPS = ("scan", "while", "cond")
# They see the bits, leave the program, or name devices: no other arithmetic can be put in.
OPAQUE = frozenset(
    "bitcast_convert_type pure_callback io_callback pallas_call ffi_call custom_call tpu_custom_call shard_map "
    "triton_kernel_call nextafter random_bits".split()
)


class Rule:
    """What an equation does with its operands; the base computes it as it stands."""

    loops = _LOOPS

    def enters(self, eqn: jex.JaxprEqn) -> bool:
        """Whether `eqn` is a loop whose body is rewritten."""
        return eqn.primitive.name in self.loops

    def touches(self, operands: list[Any]) -> bool:
        """Whether a loop over `operands` is to be rewritten at all."""
        del operands
        return True

    def apply(self, eqn: jex.JaxprEqn, operands: list[Any]) -> list[Any]:
        """Return the results of `eqn`."""
        return bind(eqn, operands, eqn.params)

    def enter(self, aval: Any) -> jax.ShapeDtypeStruct:
        """Return shape and dtype that an operand of a loop's body has under this rule."""
        return jax.ShapeDtypeStruct(aval.shape, aval.dtype)

    def leave(self, value: Any) -> Any:
        """Return a result of a loop's body as every caller of the body expects it."""
        return value


def evaluate(jaxpr: Any, consts: Sequence[Any], args: Sequence[Any], rule: Rule) -> list[Any]:
    """Return the outputs of `jaxpr` under `rule`."""
    env: dict[Any, Any] = dict(zip(jaxpr.constvars, consts, strict=True))
    env.update(zip(jaxpr.invars, args, strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, jex.Literal) else env[atom]

    for eqn in jaxpr.eqns:
        operands = [read(atom) for atom in eqn.invars]
        env.update(zip(eqn.outvars, _results(eqn, operands, rule), strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def rewritten(closed: Any, rule: Rule) -> Callable[..., list[Any]]:
    """Return the traced program as a function that computes under `rule`."""
    return lambda *args: evaluate(closed.jaxpr, closed.consts, args, rule)


def float_dtypes(closed: Any) -> set[np.dtype]:
    """Return the floating dtypes of everything that depends on an argument, of a complex one that of its parts."""
    results: list[Any] = [v.aval for eqn in dependent(closed) for v in eqn.outvars]
    return {np.dtype(jax.numpy.finfo(aval.dtype).dtype) for aval in results if _inexact(aval.dtype)}


def dependent(closed: Any) -> list[jex.JaxprEqn]:
    """Return the operations with an operand that depends on a floating argument, those of inner programs included."""
    found: list[jex.JaxprEqn] = []

    def walk(jaxpr: Any, depends: Sequence[bool]) -> None:
        tainted = {v for v, flag in zip(jaxpr.invars, depends, strict=True) if flag}
        for eqn in jaxpr.eqns:
            flags = [not isinstance(atom, jex.Literal) and atom in tainted for atom in eqn.invars]
            if any(flags):
                found.append(eqn)
                tainted.update(v for v in eqn.outvars if _inexact(v.aval.dtype))
                for inner in _jaxprs_in(eqn.params):
                    whole = len(inner.invars) != len(flags)
                    walk(inner, [_inexact(v.aval.dtype) and (whole or f) for v, f in _padded(inner.invars, flags)])

    walk(closed.jaxpr, [_inexact(v.aval.dtype) for v in closed.jaxpr.invars])
    return found


def _inexact(dtype: Any) -> bool:
    return is_float(dtype) or is_complex(dtype)


def primitives(closed: Any) -> set[str]:
    """Return the names of all primitives in a program, those of its inner programs included."""
    found: set[str] = set()

    def walk(jaxpr: Any) -> None:
        for eqn in jaxpr.eqns:
            found.add(eqn.primitive.name)
            for inner in _jaxprs_in(eqn.params):
                walk(inner)

    walk(closed.jaxpr)
    return found


def stops_by_values(closed: Any) -> bool:
    """Whether the program holds a loop that stops where floats say so: an iteration to a tolerance of its own."""

    def found(jaxpr: Any) -> bool:
        for eqn in jaxpr.eqns:
            if eqn.primitive.name == "while":
                tests = [v for e in eqn.params["cond_jaxpr"].jaxpr.eqns for v in e.invars]
                if any(not isinstance(v, jex.Literal) and is_float(v.aval.dtype) for v in tests):
                    return True
            if any(found(inner) for inner in _jaxprs_in(eqn.params)):
                return True
        return False

    return found(closed.jaxpr)


def counts(eqn: jex.JaxprEqn) -> bool:
    """Whether a `while` makes the same steps whatever the floats: what it tests comes from integers alone."""
    test, body = eqn.params["cond_jaxpr"].jaxpr, eqn.params["body_jaxpr"].jaxpr
    known, fixed = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
    carried = _sources(test, test.outvars)
    seen: set[int] = set()
    while carried:
        if any(is_float(v.aval.dtype) for v in carried):
            return False
        places = {test.invars.index(v) - known for v in carried if v in test.invars}
        places |= {body.invars.index(v) - fixed for v in carried if v in body.invars}
        new = {place for place in places if place >= 0} - seen
        seen |= new
        carried = _sources(body, [body.outvars[place] for place in new])
    return True


def _sources(jaxpr: Any, wanted: Sequence[Any]) -> set[Any]:
    """Return the arguments of a program that `wanted` are computed from."""
    needed = {v for v in wanted if not isinstance(v, jex.Literal)}
    for eqn in reversed(jaxpr.eqns):
        if needed.intersection(eqn.outvars):
            needed |= {v for v in eqn.invars if not isinstance(v, jex.Literal)}
    return needed.intersection(jaxpr.invars)


def count_operations(closed: Any) -> int:
    """Return the number of operations in a program, those of its inner programs included."""

    def count(jaxpr: Any) -> int:
        return sum(1 + sum(count(inner) for inner in _jaxprs_in(eqn.params)) for eqn in jaxpr.eqns)

    return count(closed.jaxpr)


def count_elements(closed: Any) -> int:
    """Return how many numbers the operations of a program take and give, a loop's body counted once."""

    def count(jaxpr: Any) -> int:
        shapes = [getattr(v.aval, "shape", ()) for e in jaxpr.eqns for v in (*e.invars, *e.outvars)]
        return sum(math.prod(shape) for shape in shapes) + sum(
            count(inner) for e in jaxpr.eqns for inner in _jaxprs_in(e.params)
        )

    return count(closed.jaxpr)


def bind(eqn: jex.JaxprEqn, operands: list[Any], params: dict[str, Any]) -> list[Any]:
    """Return the results of the equation's primitive as a list."""
    results = eqn.primitive.bind(*operands, **params)
    return list(results) if eqn.primitive.multiple_results else [results]


def _results(eqn: jex.JaxprEqn, operands: list[Any], rule: Rule) -> list[Any]:
    name = eqn.primitive.name
    if rule.enters(eqn) and rule.touches(operands):
        return _loop(eqn, operands, rule)
    if name in _LOOPS or name in OPAQUE or name in _WHOLE:
        return rule.apply(eqn, operands)
    for key in _INLINED:
        inner: Any = eqn.params.get(key)
        if hasattr(inner, "eqns") and len(inner.invars) == len(operands):
            return evaluate(inner, getattr(inner, "consts", ()), operands, rule)
        if hasattr(inner, "jaxpr") and len(inner.jaxpr.invars) == len(operands):
            return evaluate(inner.jaxpr, inner.consts, operands, rule)
    return rule.apply(eqn, operands)


def _loop(eqn: jex.JaxprEqn, operands: list[Any], rule: Rule) -> list[Any]:
    """Bind scan, while or cond again, its bodies rewritten."""
    return bind(eqn, [rule.leave(x) for x in operands], renewed(eqn.params, rule))


def renewed(value: Any, rule: Rule) -> Any:
    """Return parameters of an equation with every program in them rewritten."""
    if isinstance(value, dict):
        return {k: renewed(v, rule) for k, v in value.items()}
    if isinstance(value, tuple):
        parts = [renewed(v, rule) for v in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if not hasattr(value, "eqns") and not hasattr(value, "jaxpr"):
        return value
    jaxpr, consts = getattr(value, "jaxpr", value), getattr(value, "consts", ())

    def run(*args: Any) -> list[Any]:
        return [rule.leave(x) for x in evaluate(jaxpr, consts, args, rule)]

    program = jax.make_jaxpr(run)(*(rule.enter(v.aval) for v in jaxpr.invars))
    return program if hasattr(value, "consts") else program.jaxpr


def _jaxprs_in(params: dict[str, Any]) -> list[Any]:
    values = [v for p in params.values() for v in (p if isinstance(p, tuple | list) else (p,))]
    return [getattr(v, "jaxpr", v) for v in values if hasattr(v, "eqns") or hasattr(v, "consts")]


def _padded(invars: Sequence[Any], flags: Sequence[bool]) -> list[tuple[Any, bool]]:
    return [(v, flags[i] if i < len(flags) else True) for i, v in enumerate(invars)]
