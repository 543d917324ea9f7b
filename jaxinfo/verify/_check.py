"""`check_gradients`: a function, a point, a verdict."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxinfo.verify._arguments import MODES, check_function, check_options
from jaxinfo.verify._choose import choose_exact, describe
from jaxinfo.verify._engine import Engine
from jaxinfo.verify._examine import examine
from jaxinfo.verify._floats import eps
from jaxinfo.verify._own import Own, own
from jaxinfo.verify._own_check import in_own_dtype
from jaxinfo.verify._problem import cast_tree, parts_of
from jaxinfo.verify._report import GradientReport
from jaxinfo.verify._session import Session
from jaxinfo.verify._vectors import Vector


def check_gradients(
    f: Callable[..., Any],
    *args: Any,
    order: int = 2,
    modes: Sequence[str] = MODES,
    directions: int = 3,
    dtypes: Sequence[Any] | None = None,
    seed: int = 0,
    budget_seconds: float | None = None,
    conventions: Any = None,
) -> GradientReport:
    r"""Say whether the derivatives of `f` at `args` are right, and if not, which element is wrong.

    .. math::
        \nabla f \cdot v = \lim_{h \to 0} \frac{f(x + h v) - f(x - h v)}{2 h}

    The limit is taken in float64, whatever the caller's settings and dtypes, by Richardson extrapolation along several
    directions, with an error bar; the derivatives that JAX gives for `f` are compared with it, traced in float64 and as
    the caller computes them. What rounding may do to them is measured, operation by operation, so no tolerance is asked
    for and none grows with the size of an array.

    Args:
        f: Any function of pytrees that returns a pytree. Floating and complex leaves are differentiated; integers,
            keys, strings and functions are held fixed. It must be traceable and pure.
        *args: The point, of any shapes.
        order: 1 for first derivatives, 2 for the second one as well: its product with a direction, forward over
            reverse where both exist.
        modes: Which of "forward" and "reverse" to check. One that JAX refuses, as forward mode through a `custom_vjp`
            or reverse mode through a `while_loop`, is reported as not available; that is no fault.
        directions: Number of directions that do not depend on the claims (random, each element on its own scale,
            uniform); those that the claimed gradient suggests, and one for each leaf, come on top.
        dtypes: Floating dtypes to check the derivatives in, `args` rounded to the coarsest of them; None for the
            dtypes that `args` have.
        seed: Seed of the directions: the same call gives the same report.
        budget_seconds: Stop starting new comparisons after that time; the notes say what was left out. None for no
            limit: a million inputs take seconds.
        conventions: A pytree like `args` of booleans, True where the derivative is a stated convention at an isolated
            point (0 at a probability of exactly 0): those elements are not checked. A tuple, one entry per argument.

    Returns:
        A report that is true when the verdict is CORRECT. WRONG: a claim lies outside what error bars and rounding
        allow, or is nan where the derivative is finite, or two ways to ask for it differ; `worst` names an element.
        NOT_DIFFERENTIABLE: the one-sided limits differ at this very point. UNDECIDABLE: the reason says why, as
        where f moves within rounding of the point as much as far from it.

    Raises:
        TypeError: `f` is not a function, or `dtypes` is not a sequence of floating dtypes.
        ValueError: `order`, `modes`, `directions`, `seed`, `budget_seconds` or `conventions` is none of the above.

    Accuracy:
        `smallest_detectable` is measured for each call; for a smooth function about 1e-10 of the largest element.
        `benchmarks/bench_verify.py` has the rates of detection and of false alarms.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from jaxinfo import verify
        >>> @jax.custom_jvp
        ... def cap(x):
        ...     return 30 * jnp.tanh(x / 30)
        >>> cap.defjvps(lambda t, out, x: t)  # the slope of tanh is missing
        >>> report = verify.check_gradients(cap, jnp.array([0.5, -20.0, 3.0]))
        >>> report.verdict, report.worst.index
        (<Verdict.WRONG: 'WRONG'>, (1,))

    References:
        Richardson, Phil. Trans. R. Soc. A 210 (1911); Ridders, Adv. Eng. Software 4 (1982).
    """
    check_function(f)
    check_options(order, modes, directions, dtypes, seed, budget_seconds)
    session = Session(time.perf_counter(), budget_seconds, np.random.default_rng(seed))
    if dtypes is not None:
        args = cast_tree(args, max((np.dtype(jnp.dtype(d)) for d in dtypes), key=eps))
    owns = [own(f, args, dtype, tuple(modes), order) for dtype in (dtypes if dtypes is not None else [None])]
    mine = owns[0]
    session.raised(mine)
    if nothing := _nothing_to_check(mine):
        return session.report("none", None, mine, None) if session.found.faults else session.undecidable(nothing)
    xs = [np.asarray(x).astype(np.float64) for x in mine.flat.point]
    try:
        still = [np.zeros(p.shape) for p in mine.flat.inputs], [np.zeros(p.shape) for p in mine.flat.outputs]
        values = mine.run(mine.compiled, *still)["value"]
    except Exception as error:
        return session.undecidable(f"f cannot be run in {mine.dtype}: {type(error).__name__}: {str(error)[:200]}")
    exact = choose_exact(f, args, mine, xs, values, tuple(modes), order, session)
    engine = Engine(exact, xs, np.ones(1, bool))
    engine = dataclasses.replace(engine, mask=np.isfinite(engine.at_zero))
    if not engine.mask.any():
        return session.undecidable("no output has a finite value at this point.")
    checker = examine(engine, _kept(args, conventions, xs), session, directions, order, mine.eps)
    session.tabulate(checker, mine)
    for one in owns if not session.found.faults else ():
        in_own_dtype(one, checker, session, directions, order)
    return session.report(describe(exact), engine, mine, checker)


def _nothing_to_check(mine: Own) -> str:
    """Return why there is no derivative to check, nothing if there is one."""
    if not mine.flat.inputs:
        return "`args` hold no floating leaf to differentiate with respect to."
    if not mine.flat.outputs:
        return "`f` returns no floating leaf to differentiate."
    if not (mine.modes.forward or mine.modes.reverse):
        return "no mode of differentiation is available: " + "; ".join(mine.modes.absent.values())
    return ""


def _kept(args: Any, conventions: Any, xs: list[np.ndarray]) -> Vector:
    """Return 1 for every element to be checked, 0 where the derivative is a convention."""
    if conventions is None:
        return np.ones(sum(x.size for x in xs))
    leaves, tree = jax.tree_util.tree_flatten(tuple(args))
    try:
        said = tree.flatten_up_to(tuple(conventions))
        masks = [np.broadcast_to(np.asarray(m, bool), np.shape(x)) for m, x in zip(said, leaves, strict=True)]
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`conventions` must be a pytree like `args` of booleans that broadcast to them, got {conventions!r}."
        ) from error
    # a complex leaf is two real ones; what is not differentiated is none
    kept = [1.0 - m.ravel() for m, x in zip(masks, leaves, strict=True) for _ in parts_of(x)]
    return np.concatenate([np.zeros(0), *kept])
