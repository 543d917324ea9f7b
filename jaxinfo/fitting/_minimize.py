"""`minimize`: the pure core, which can be jitted, vmapped and differentiated."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxinfo.fitting._information import symmetric_solve
from jaxinfo.fitting._loop import advance
from jaxinfo.fitting._objective import Loss, float_params
from jaxinfo.fitting._problem import Options, as_inputs, make_problem
from jaxinfo.fitting._progress import seconds_left
from jaxinfo.fitting._result import Progress, Reason
from jaxinfo.fitting._state import FitState, start


def minimize(
    loss: Loss,
    params: Any,
    data: Any,
    *,
    weights: ArrayLike | None = None,
    validation: Any = None,
    key: jax.Array | None = None,
    progress: Callable[[Progress], object] | None = None,
    every: int = 10,
    **options: Any,
) -> tuple[Any, FitState]:
    r"""Minimise ``sum(weights * loss(params, data)) + penalty(params)``, in nats.

    The pure core of `fit`, which explains the arguments; `options` are the fields of `Options`. `progress` is
    called from inside the compiled loop after `every` so many steps and at the end, also under the caller's jit.

    Returns:
        The best parameters, and the final state; its `reason` is a `Reason` as an integer.

    Gradient:
        That of the optimum, by the implicit function theorem:
        :math:`d\theta = -H^{+} \, \partial_x \nabla_\theta f \, dx`, for everything the objective depends on:
        data, weights, and what `loss` and `penalty` close over. It is 0 to the starting point, and right only
        where the fit converged. Along directions that leave the objective as it is (the common shift of a
        full softmax) the optimum is taken to stay. `best.value` and `best.parts` are differentiated too,
        the rest of the state is not. All modes and orders, under jit and vmap.

    Raises:
        TypeError: an option is none of them, a parameter is neither float32 nor float64.
        ValueError: an option is out of its range.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> def ridge(strength):  # data (1, 3) about a centre drawn to 0
        ...     penalty = lambda centre: strength * centre**2 / 2
        ...     loss = lambda centre, x: (x - centre) ** 2 / 2
        ...     return minimize(loss, jnp.zeros(()), jnp.array([1.0, 3.0]), penalty=penalty)[0]
        >>> print(ridge(2.0), jax.grad(ridge)(2.0))
        1.0 -0.25
    """
    unknown = sorted(set(options) - set(Options._fields))
    if unknown:
        raise TypeError(f"`options` must be among {', '.join(Options._fields)}, got {', '.join(unknown)}.")
    params = float_params(params)
    inputs = as_inputs(params, data, weights, validation, key)
    problem = make_problem(loss, params, inputs, Options(**options))

    began = time.perf_counter()

    def tell(step: jax.Array, state: FitState) -> None:
        def told(step: Any, decrements: Any, *values: Any) -> None:
            seconds = time.perf_counter() - began
            per_step = seconds / (int(step) + 1)
            left = seconds_left(np.asarray(decrements), int(step), problem.max_steps, problem.tolerance, per_step)
            assert progress is not None
            objective, gradient_norm, decrement = map(float, values)
            progress(Progress(int(step), objective, gradient_norm, decrement, seconds, left))

        values = [series[step] for series in state.history]
        due = (step % every == 0) | (state.reason != Reason.RUNNING)
        jax.lax.cond(
            due, lambda: jax.debug.callback(told, step, state.history.decrement, *values, ordered=False), lambda: None
        )

    def solve(_: Any, params: Any) -> tuple[Any, FitState]:
        final = advance(problem, start(problem, params), problem.max_steps, tell if progress is not None else None)
        return final.best.params, jax.tree.map(_as_float, final)

    def gradient(params: Any) -> Any:
        return jax.grad(lambda p: problem.objective(p)[0])(params)

    # custom_root sees what the objective closes over, which a custom derivative rule of ours could not
    found, final = jax.lax.custom_root(gradient, params, solve, symmetric_solve, has_aux=True)
    final = jax.tree.map(_from_float, final, jax.eval_shape(lambda p: start(problem, p), params))
    value, parts = problem.objective(found)
    tried = jnp.isfinite(final.best.value)  # a fit without one finite point has no best value
    value = jnp.where(tried, value, final.best.value)
    return found, final._replace(best=final.best._replace(params=found, value=value, parts=parts))


def _as_float(leaf: jax.Array) -> jax.Array:
    """Return an integer's bits as a float: custom_root gives integers a derivative that JAX then refuses."""
    return leaf if jnp.issubdtype(leaf.dtype, jnp.floating) else jax.lax.bitcast_convert_type(leaf, jnp.float32)


def _from_float(leaf: Any, like: jax.ShapeDtypeStruct) -> jax.Array:
    leaf = jax.lax.stop_gradient(jnp.asarray(leaf))
    return leaf if leaf.dtype == like.dtype else jax.lax.bitcast_convert_type(leaf, like.dtype)
