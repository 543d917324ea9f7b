"""The function whose differences are taken: the caller's, without its rounding.

Three forms, the first that serves:

re-traced   traced again with float64 inputs, and it computes in float64 and has the caller's values
widened     it pins a lower dtype, or draws other random numbers in float64: the program traced in the caller's
            dtype, every operation done in float64
as it is    neither can be done: the caller's program, its values in their own precision
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxinfo.verify._floats import as_called, eps, float64, is_float
from jaxinfo.verify._jaxprs import float_dtypes, rewritten
from jaxinfo.verify._modes import Flat, Modes, available, claims, first_of
from jaxinfo.verify._problem import Arrays, Problem
from jaxinfo.verify._rules import Widen
from jaxinfo.verify._vectors import cast

RETRACED, WIDENED, AS_IS = "re-traced", "widened", "as it is"


@dataclasses.dataclass(frozen=True)
class Exact:
    """Functions of float64 arrays, to be called under `float64()`; `eps` is the precision their author chose."""

    form: str
    value: Flat
    claims: Callable[[Arrays, Arrays, Arrays], dict[str, Arrays]]
    first: Callable[[Arrays, Arrays, Arrays], Arrays]
    modes: Modes
    eps: float
    note: str


def retraced(flat: Problem, wanted: tuple[str, ...], order: int, own_eps: float) -> Exact:
    """Return the float64 re-trace; the caller looks at `eps` to see whether it is one.

    Must be called under `float64()`.
    """
    xs, v, u = _like64(flat)
    value = jax.make_jaxpr(flat.call)(xs)
    modes = available(flat.call, xs, v, u, wanted, order)
    run = claims(flat.call, modes)
    in_value = _coarsest(float_dtypes(value))
    in_rule = _coarsest(float_dtypes(jax.make_jaxpr(run)(xs, v, u)))
    # A derivative rule that computes in float32 whatever the input serves a float32 caller well; one that is
    # coarser than the caller's dtype serves nobody, and gets no allowance.
    allowed = max(in_value, in_rule if in_rule <= own_eps else 0.0)
    kind = modes.second or ""
    return Exact(
        RETRACED,
        flat.call,
        run,
        lambda xs, v, u: first_of(kind, flat.call, xs, v, u),
        modes,
        allowed,
        "" if in_value < 1e-15 else "pinned",
    )


def widened(flat: Problem, modes: Modes, order: int) -> Exact:
    """Return the caller's own program in float64 arithmetic.

    Must be called in the caller's settings; the functions it returns, under `float64()`.
    """
    del order
    xs = flat.point
    v, u = [jnp.ones_like(x) for x in xs], [jnp.ones(p.shape, p.dtype) for p in flat.outputs]
    run = claims(flat.call, modes)
    kind = modes.second or ""
    with as_called():
        value_program = jax.make_jaxpr(flat.call)(xs)
        claim_program, shape = jax.make_jaxpr(run, return_shape=True)(xs, v, u)
        first_program = jax.make_jaxpr(lambda xs, v, u: first_of(kind, flat.call, xs, v, u))(xs, v, u) if kind else None
    tree = jax.tree_util.tree_structure(shape)
    coarsest = _coarsest(float_dtypes(value_program))

    def value(xs: Any) -> Arrays:
        return _wide(rewritten(value_program, Widen())(*xs))

    def all_claims(xs: Arrays, v: Arrays, u: Arrays) -> dict[str, Arrays]:
        return jax.tree_util.tree_unflatten(tree, _wide(rewritten(claim_program, Widen())(*xs, *v, *u)))

    def first(xs: Arrays, v: Arrays, u: Arrays) -> Arrays:
        return _wide(rewritten(first_program, Widen())(*xs, *v, *u))

    with float64():  # does it go through at all?
        wide = [jax.ShapeDtypeStruct(x.shape, jnp.float64) for x in xs]
        outs = [jax.ShapeDtypeStruct(p.shape, jnp.float64) for p in flat.outputs]
        jax.eval_shape(all_claims, wide, wide, outs)
    return Exact(WIDENED, value, all_claims, first, modes, coarsest, "")


def as_it_is(flat: Problem, modes: Modes) -> Exact:
    """Return the caller's functions behind casts: differences of rounded values."""
    kind = modes.second or ""
    run = claims(flat.call, modes)
    outs = flat.outputs
    coarsest = max([eps(p.dtype) for p in (*flat.inputs, *outs)])

    def down(xs: Any, like: Any) -> Arrays:
        return cast(xs, like)

    def value(xs: Any) -> Arrays:
        return _wide(flat.call(down(xs, flat.inputs)))

    def all_claims(xs: Arrays, v: Arrays, u: Arrays) -> dict[str, Arrays]:
        out = run(down(xs, flat.inputs), down(v, flat.inputs), down(u, outs))
        return {k: _wide(a) for k, a in out.items()}

    def first(xs: Arrays, v: Arrays, u: Arrays) -> Arrays:
        return _wide(first_of(kind, flat.call, down(xs, flat.inputs), down(v, flat.inputs), down(u, outs)))

    return Exact(AS_IS, value, all_claims, first, modes, coarsest, "")


def _like64(flat: Problem) -> tuple[Arrays, Arrays, Arrays]:
    xs = [jnp.asarray(np.asarray(x), jnp.float64) for x in flat.point]
    outs = jax.eval_shape(flat.call, xs)
    return xs, [jnp.ones_like(x) for x in xs], [jnp.ones(o.shape, o.dtype) for o in outs]


def _coarsest(dtypes: set[np.dtype]) -> float:
    return max([eps(d) for d in dtypes], default=eps(np.float64))


def _wide(arrays: Any) -> Arrays:
    return [jnp.asarray(a, jnp.float64) if is_float(jnp.result_type(a)) else a for a in arrays]
