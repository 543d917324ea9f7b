"""Which form of the exact function serves."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxinfo.verify._engine import Engine
from jaxinfo.verify._exact import AS_IS, RETRACED, WIDENED, Exact, as_it_is, retraced, widened
from jaxinfo.verify._floats import float64
from jaxinfo.verify._own import Own, same_values
from jaxinfo.verify._problem import cast_tree, flatten
from jaxinfo.verify._session import Session
from jaxinfo.verify._vectors import Vector


def choose_exact(
    f: Any,
    args: Any,
    mine: Own,
    xs: list[np.ndarray],
    values: Vector,
    modes: tuple[str, ...],
    order: int,
    session: Session,
) -> Exact:
    """Return the first form of the exact function that serves."""
    why = ""
    try:
        with float64():
            wide = flatten(f, cast_tree(args, np.dtype(np.float64)), jnp.float64)
            exact = retraced(wide, modes, order, mine.eps)
        if exact.note:
            why = "f computes in a lower precision than float64 whatever its inputs have"
        elif mine.modes != exact.modes and (mine.modes.forward, mine.modes.reverse) != (
            exact.modes.forward,
            exact.modes.reverse,
        ):
            why = "f has other modes of differentiation in float64"
        else:
            engine = Engine(exact, xs, np.ones(1, bool))
            v = [np.zeros(x.shape) for x in xs]
            if same_values(mine, values, engine, v, [np.zeros(p.shape) for p in mine.flat.outputs]):
                if exact.eps > 1e-15:
                    session.found.notes.append("Its derivative rule computes in a lower precision than its value.")
                return exact
            why = "f has other values in float64 (random numbers or constants that depend on the dtype)"
    except Exception as error:
        why = f"f cannot be traced in float64 ({type(error).__name__}: {str(error).strip().splitlines()[0][:120]})"
    return lower(mine, session, order, why)


def lower(mine: Own, session: Session, order: int, why: str) -> Exact:
    """Return the caller's program widened, or as it is; the session's notes say why."""
    try:
        with mine.settings():
            exact = widened(mine.flat, mine.modes, order)
        session.found.notes.append(f"Pinned to its dtype: {why}; the program traced in {mine.dtype} was widened.")
        return exact
    except Exception as error:
        session.found.notes.append(
            f"Pinned to its dtype: {why}; it cannot be widened ({type(error).__name__}: {str(error)[:80]}), so "
            f"differences of its values in {mine.dtype} are all there is."
        )
        return as_it_is(mine.flat, mine.modes)


def describe(exact: Exact) -> str:
    return {
        RETRACED: "Richardson extrapolation of the float64 re-trace",
        WIDENED: "Richardson extrapolation of the caller's program in float64 arithmetic",
        AS_IS: "Richardson extrapolation of values in the caller's precision",
    }[exact.form]
