"""`fit`: the host loop around the pure core, which times, reports, saves, diagnoses and returns plain numbers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from jaxinfo import _checks
from jaxinfo.fitting._arguments import as_key
from jaxinfo.fitting._checkpoint import Checkpoint, Saver, check_same
from jaxinfo.fitting._diagnosis import Diagnosis, Physician
from jaxinfo.fitting._estimate import FitResult
from jaxinfo.fitting._objective import Loss, Penalty, float_params
from jaxinfo.fitting._problem import Inputs, Options, Problem, as_inputs
from jaxinfo.fitting._progress import Reporter, turns
from jaxinfo.fitting._restarts import best_of, lane_count, starts
from jaxinfo.fitting._result import History, Progress, Restart
from jaxinfo.fitting._run import Runner, compile_loop, run_loop
from jaxinfo.fitting._state import FitState, Point
from jaxinfo.fitting._uncertainty import Likelihood


def fit(
    loss: Loss,
    params: Any,
    data: Any,
    *,
    method: str = "auto",
    weights: ArrayLike | None = None,
    penalty: Penalty | None = None,
    optimizer: optax.GradientTransformation | None = None,
    batch_size: int | None = None,
    max_steps: int | None = None,
    tolerance: float | None = None,
    validation: Any = None,
    patience: int | None = None,
    restarts: int = 1,
    checkpoint: str | Path | Checkpoint | None = None,
    resume: bool = False,
    progress: Callable[[Progress], object] | bool | None = None,
    key: jax.Array | None = None,
) -> FitResult:
    """Fit `params` by maximum likelihood: minimise ``sum(weights * loss(params, data)) + penalty(params)``.

    Args:
        loss: ``loss(params, data)`` returns the NLL of every example, in nats.
        params: a pytree of floating arrays, the starting point. Its dtype is the dtype of the fit. With
            `restarts` it may be a function of a random key that returns one.
        data: whatever `loss` takes, a pytree of arrays; on minibatches each has a row per example. Arrays that
            are sharded over a mesh stay so, and the fit runs on all of its devices and processes.
        method: "newton" (exact Hessian), "newton_cg" (Hessian-vector products), "lbfgs" (optax's),
            "minibatch", or "auto": the first up to 200 parameters, the second up to a million, then the third,
            and beyond a million examples the fourth.
        weights: a weight of at least 0 for every example, of the shape `loss` returns; 1 each unless given. A mask
            is one; an example of weight 0 counts for nothing whatever its loss is.
        penalty: ``penalty(params)`` is added to the sum: a negative log-prior, and the estimate is MAP.
        optimizer: any optax optimiser, run on all of the data at every step, or on minibatches with
            `batch_size`. It sees the objective divided by the total weight, as learning rates are meant.
        batch_size: examples in a minibatch. Every pass takes all rows once in a new order; the last batch is
            filled up with rows of weight 0. Without an `optimizer` it is adam's. At a plateau, judged over
            passes against their own scatter, the updates are scaled down.
        max_steps: 100 for Newton methods, 2,000 for "lbfgs", 10,000 for an `optimizer`, 100 passes for
            minibatches unless given.
        tolerance: stop once half the squared Newton decrement, the estimated distance of the objective
            from its minimum in nats, is at most this; eps**(3/4) of the dtype unless given, 0.01 on minibatches.
        validation: data like `data` whose loss is watched, after each step or each pass through minibatches.
            The parameters returned are those with the lowest.
        patience: stop after so many such looks without gain; 10 unless given.
        restarts: fits from so many starting points: `params` itself, then `params` plus standard normal noise,
            or what the function `params` draws. The best maximum is returned, degenerate ones never before
            others; all are listed in the result.
        checkpoint: a directory, or a `Checkpoint` that says how often, to save the fit in (with orbax).
        resume: go on from the last checkpoint that is whole, to the same bits as if never interrupted; from the
            start if there is none. Needs the same arguments; only `max_steps` and `tolerance` may be others.
        progress: called with a `Progress` for every step as it is done, with `restarts` of one fit after the other
            (of those side by side when each is over); False for silence. Unless given a fit of more than two
            seconds shows a live line on a terminal or in a notebook, and prints a line every five seconds to
            stderr where that is a file.
        key: random key of minibatches and restarts; fixed unless given.

    Returns:
        A `FitResult`. Only where its `reason` is CONVERGED or FLOAT_FLOOR are its parameters a maximum;
        a step that is not finite never replaces the best parameters.

    Raises:
        TypeError: a parameter is neither float32 nor float64.
        ValueError: an option is out of its range, a weight negative or not finite.

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
    _checks.check_integer(restarts, "restarts", low=1)
    if not (progress is None or isinstance(progress, bool) or callable(progress)):
        raise TypeError(f"`progress` must be a callable, True, False or None, got {progress!r}.")
    if checkpoint is not None and restarts > 1:
        raise ValueError(f"`checkpoint` must be None where `restarts` is above 1, got {checkpoint!r}.")
    if resume and checkpoint is None:
        raise ValueError("`resume` must be False where there is no `checkpoint`, got True.")
    key = as_key(key)
    points = starts(params, restarts, key)
    params = float_params(next(points))
    options = Options(method, penalty, optimizer, batch_size, max_steps, tolerance, patience)
    with jax.debug_nans(False):  # what is not known yet is nan here, and what goes wrong is told by the reason
        inputs = as_inputs(params, data, weights, validation, key)
        runner = compile_loop(loss, params, inputs, options)
        reporter = Reporter(progress, runner.problem.max_steps, runner.problem.tolerance)
        try:
            if restarts > 1:
                state, found, listed, seconds = best_of(runner, points, lane_count(runner), reporter)
            else:
                state, found, seconds = _single(runner, reporter, checkpoint, resume=resume)
                listed = ()
        finally:
            reporter.close()
        return _result(runner, state, found, listed, seconds)


def _single(
    runner: Runner, reporter: Reporter, checkpoint: str | Path | Checkpoint | None, *, resume: bool
) -> tuple[FitState, Diagnosis, float]:
    state, saver = runner.first, None
    if checkpoint is not None:
        where = checkpoint if isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)
        saver = Saver(where, runner.problem, resume=resume)
        restored = saver.restore(state) if resume else None
        if restored is not None:
            state = runner.place(restored)
            check_same(runner.problem, state)
            reporter.skip(state)
    state, lowest, seconds = run_loop(runner, state, reporter, saver)
    return state, Physician(runner.problem).diagnose(state, lowest), seconds


def _result(
    runner: Runner, state: FitState, found: Diagnosis, listed: tuple[Restart, ...], seconds: float
) -> FitResult:
    best, problem = state.best, runner.problem
    nll, weight = float(best.parts.nll), float(best.parts.weight)
    loss, penalty, inputs = problem.loss, problem.penalty, runner.inputs
    return FitResult(
        params=best.params,
        objective=float(best.value),
        log_likelihood=-nll,
        cross_entropy=nll / weight if weight else 0.0,
        observations=weight,
        reason=found.reason,
        detail=found.detail,
        direction=found.direction,
        method=problem.method.name,
        steps=int(state.step),
        evaluations=int(state.evaluations),
        gradient_norm=_gradient_norm(problem, best),
        decrement=float(best.decrement),
        validation_loss=None if problem.validate is None else float(state.validation),
        entropy=_entropy(inputs.data, inputs.weights),
        compile_seconds=runner.compile_seconds,
        run_seconds=seconds,
        history=History(*(np.asarray(series)[: turns(state)] for series in state.history)),
        restarts=listed,
        likelihood=Likelihood(loss, inputs.data, inputs.weights, penalty, problem.method.batch_size),
    )


def _gradient_norm(problem: Problem, best: Point) -> float:
    """Return the norm at the best point; minibatches have not computed it over all data."""
    if not problem.method.batch_size:
        return float(best.gradient_norm)

    def norm(params: Any, inputs: Inputs) -> jax.Array:
        return optax.tree.norm(jax.grad(lambda p: problem.at(inputs).objective(p)[0])(params))

    return float(jax.jit(norm)(best.params, problem.inputs))


def _entropy(data: Any, weights: jax.Array | None) -> float | None:
    """Return the entropy of the outcomes, in nats, where the data are one array of integers and so outcomes alone."""
    leaves = jax.tree.leaves(data)
    if len(leaves) != 1 or not jnp.issubdtype(jnp.result_type(leaves[0]), jnp.integer) or jnp.ndim(leaves[0]) != 1:
        return None
    if not getattr(leaves[0], "is_fully_addressable", True):
        return None
    outcomes = np.unique(np.asarray(leaves[0]), return_inverse=True)[1]
    counts = np.bincount(outcomes, None if weights is None else np.asarray(weights, np.float64))
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum())
