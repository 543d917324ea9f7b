"""`fit`: the host loop around the pure core, which times, reports and returns plain numbers."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from jaxinfo.fitting._loop import FitState, Options, Problem, advance, make_problem, start
from jaxinfo.fitting._objective import Loss, Penalty, float_params
from jaxinfo.fitting._result import FitResult, History, Progress, Reason

_CHUNK_SECONDS = 0.1  # the device runs about this long between two looks of the host


def fit(
    loss: Loss,
    params: Any,
    data: Any,
    *,
    method: str = "auto",
    weights: ArrayLike | None = None,
    penalty: Penalty | None = None,
    optimizer: optax.GradientTransformation | None = None,
    max_steps: int | None = None,
    tolerance: float | None = None,
    progress: Callable[[Progress], object] | None = None,
) -> FitResult:
    """Fit `params` by maximum likelihood: minimise ``sum(weights * loss(params, data)) + penalty(params)``.

    Args:
        loss: ``loss(params, data)`` returns the NLL of every example, in nats.
        params: a pytree of floating arrays, the starting point. Its dtype is the dtype of the fit.
        data: whatever `loss` takes, a pytree of arrays.
        method: "newton" (exact Hessian), "newton_cg" (Hessian-vector products), "lbfgs" (optax's), or
            "auto": the first up to 200 parameters, the second up to a million, then the third.
        weights: a weight for every example, of the shape `loss` returns; 1 each unless given.
        penalty: ``penalty(params)`` is added to the sum: a negative log-prior, and the estimate is MAP.
        optimizer: any optax optimiser, run on all of the data at every step in place of `method`.
        max_steps: 100 for Newton methods, 2,000 for "lbfgs", 10,000 for an `optimizer` unless given.
        tolerance: stop once half the squared Newton decrement, the estimated distance of the objective
            from its minimum in nats, is at most this; eps**(3/4) of the dtype unless given.
        progress: called with a `Progress` for every step as it is done.

    Returns:
        A `FitResult`. Only where its `reason` is CONVERGED or FLOAT_FLOOR are its parameters an estimate;
        a step that is not finite never replaces the best parameters.

    Raises:
        TypeError: a parameter is neither float32 nor float64.
        ValueError: an option is out of its range.

    Examples:
        >>> import jax.numpy as jnp
        >>> import jaxinfo
        >>> labels = jnp.array([0, 0, 0, 1])
        >>> def loss(logits, labels):
        ...     return jaxinfo.softmax_cross_entropy(jnp.broadcast_to(logits, (4, 2)), labels)
        >>> result = fit(loss, jnp.zeros(2), labels)
        >>> print(result.reason, jaxinfo.softmax(result.params))
        CONVERGED [0.75 0.25]
    """
    began = time.perf_counter()
    params = float_params(params)
    weights = None if weights is None else jnp.asarray(weights)
    options = Options(method, penalty, optimizer, max_steps, tolerance)
    problem = make_problem(loss, params, data, weights, options)
    state = start(problem, params)
    # the data are arguments, not constants: XLA folds constants, which takes longer than the fit
    run = jax.jit(partial(_advance, loss, options))
    compiled = run.lower(state, data, weights, 0).compile()
    compile_seconds = time.perf_counter() - began

    began = time.perf_counter()
    turns, seen = 1, 0
    while int(state.reason) == Reason.RUNNING:
        asked = time.perf_counter()
        state = compiled(state, data, weights, min(int(state.step) + turns - 1, problem.max_steps))
        jax.block_until_ready(state)
        turns *= 2 if time.perf_counter() - asked < _CHUNK_SECONDS else 1
        if progress is not None:
            seen = _tell(progress, state, seen, time.perf_counter() - began)
    run_seconds = time.perf_counter() - began
    return _result(problem, state, compile_seconds, run_seconds)


def _advance(loss: Loss, options: Options, state: FitState, data: Any, weights: Any, until: Any) -> FitState:
    return advance(make_problem(loss, state.params, data, weights, options), state, until)


def _tell(progress: Callable[[Progress], object], state: FitState, seen: int, seconds: float) -> int:
    """Report the turns from number `seen` on; return how many have been reported."""
    turns = _turns(state)
    rows = np.stack([np.asarray(series) for series in state.history])
    for step in range(seen, turns):
        objective, gradient_norm, decrement = map(float, rows[:, step])
        progress(Progress(step, objective, gradient_norm, decrement, seconds))
    return turns


def _turns(state: FitState) -> int:
    """Turns made: one more than steps once the loop has stopped."""
    return int(state.step) + (int(state.reason) != Reason.RUNNING)


def _result(problem: Problem, state: FitState, compile_seconds: float, run_seconds: float) -> FitResult:
    best = state.best
    nll, weight = float(best.parts.nll), float(best.parts.weight)
    return FitResult(
        params=best.params,
        objective=float(best.value),
        log_likelihood=-nll,
        cross_entropy=nll / weight if weight else 0.0,
        reason=Reason(int(state.reason)),
        method=problem.method.name,
        steps=int(state.step),
        evaluations=int(state.evaluations),
        gradient_norm=float(best.gradient_norm),
        decrement=float(best.decrement),
        compile_seconds=compile_seconds,
        run_seconds=run_seconds,
        history=History(*(np.asarray(series)[: _turns(state)] for series in state.history)),
    )
