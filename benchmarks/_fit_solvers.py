"""The solvers of bench_fit.py: each made ready once, then run to the same objective; what cannot is left out.

NumPy's BLAS gets one thread: on a shared machine its threads wait for one another, a hundred times the work.
"""

import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _fit_problems import Problem

from jaxinfo.fitting._problem import Options, as_inputs
from jaxinfo.fitting._run import compile_loop, run_loop


class Solver(NamedTuple):
    """A solver made ready: `run` returns parameters in the problem's structure."""

    name: str
    setting: str
    run: Callable[[], Any]
    compile_seconds: float | None


def jaxinfo_fit(problem: Problem, tolerance: float | None) -> Solver:
    """The method `auto` chooses; `tolerance` None is the default."""
    inputs = as_inputs(problem.params, problem.data, None, None, None)
    runner = compile_loop(problem.loss, problem.params, inputs, Options(penalty=problem.penalty, tolerance=tolerance))
    setting = f"{runner.problem.method.name} {runner.problem.tolerance:.0e}"
    return Solver("jaxinfo", setting, lambda: run_loop(runner, runner.first)[0].best.params, runner.compile_seconds)


def sklearn(solver: str) -> Callable[[Problem, float], Solver]:
    """scikit-learn's LogisticRegression; without a penalty its C is infinite."""

    def make(problem: Problem, tolerance: float) -> Solver:
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits

        weak = {"C": 1 / problem.l2 if problem.l2 else np.inf, "fit_intercept": problem.l2 > 0}
        model = LogisticRegression(solver=solver, tol=tolerance, max_iter=20_000, **weak)

        def run() -> Any:
            with warnings.catch_warnings(), threadpool_limits(1):
                warnings.simplefilter("ignore")
                fitted = model.fit(problem.x, problem.y)
            if problem.l2:
                return {"W": fitted.coef_.T, "b": fitted.intercept_}
            return (fitted.coef_[1:] - fitted.coef_[:1]).T

        return Solver(f"scikit-learn {solver}", f"tol={tolerance:g}", run, None)

    return make


def statsmodels(problem: Problem, tolerance: float) -> Solver:
    """statsmodels' MNLogit by Newton's method, without its covariance."""
    import statsmodels.api as sm
    from threadpoolctl import threadpool_limits

    def run() -> Any:
        model = sm.MNLogit(problem.y, problem.x)
        with threadpool_limits(1):
            return np.asarray(model.fit(method="newton", disp=0, maxiter=100, skip_hessian=True, tol=tolerance).params)

    return Solver("statsmodels newton", f"tol={tolerance:g}", run, None)


def optax_lbfgs(problem: Problem, tolerance: float) -> Solver:
    """The recipe of optax's documentation, stopped on the gradient's norm."""
    optimizer = optax.lbfgs()

    def solve(params: Any, data: Any) -> Any:
        def objective(params: Any) -> jax.Array:
            return problem.objective(params, data)

        value_and_grad = optax.value_and_grad_from_state(objective)

        def step(carry: tuple) -> tuple:
            params, state = carry
            value, grad = value_and_grad(params, state=state)
            updates, state = optimizer.update(grad, state, params, value=value, grad=grad, value_fn=objective)
            return optax.apply_updates(params, updates), state

        def unfinished(carry: tuple) -> jax.Array:
            count = optax.tree.get(carry[1], "count")
            return (count == 0) | ((count < 3_000) & (optax.tree.norm(optax.tree.get(carry[1], "grad")) >= tolerance))

        return jax.lax.while_loop(unfinished, step, (params, optimizer.init(params)))[0]

    return _compiled("optax L-BFGS recipe", f"tol={tolerance:g}", solve, problem)


def optimistix_bfgs(problem: Problem, tolerance: float) -> Solver:
    """optimistix's BFGS."""
    import optimistix

    def solve(params: Any, data: Any) -> Any:
        solver = optimistix.BFGS(rtol=tolerance, atol=tolerance)
        return optimistix.minimise(problem.objective, solver, params, args=data, max_steps=3_000, throw=False).value

    return _compiled("optimistix BFGS", f"rtol={tolerance:g}", solve, problem)


def _compiled(name: str, setting: str, solve: Callable, problem: Problem) -> Solver:
    data = problem.data
    began = time.perf_counter()
    executable = jax.jit(solve).lower(problem.params, data).compile()
    seconds = time.perf_counter() - began
    return Solver(name, setting, lambda: jax.block_until_ready(executable(problem.params, data)), seconds)


LADDERS: dict[str, tuple[Callable[[Problem, Any], Solver], tuple]] = {
    "jaxinfo": (jaxinfo_fit, (1e-4, 1e-5, 1e-6, None)),
    "scikit-learn lbfgs": (sklearn("lbfgs"), (1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10)),
    "scikit-learn newton-cholesky": (sklearn("newton-cholesky"), (1e-4, 1e-6, 1e-8)),
    "statsmodels newton": (statsmodels, (1e-6, 1e-8, 1e-10)),
    "optax L-BFGS recipe": (optax_lbfgs, (1e-2, 1e-4, 1e-6)),
    "optimistix BFGS": (optimistix_bfgs, (1e-5, 1e-8)),
}


def reach(name: str, problem: Problem, best: float, gap: float, patience: float) -> tuple[Solver, float, bool]:
    """Return the solver at the loosest setting that comes within `gap` of `best`, its gap, and whether it did.

    Settings are tried until one has taken more than `patience` seconds.
    """
    make, settings = LADDERS[name]
    objective = jax.jit(problem.objective)
    for setting in settings:
        solver = make(problem, setting)
        began = time.perf_counter()
        params = jax.tree.map(jnp.asarray, solver.run())
        took = time.perf_counter() - began
        off = float(objective(params, problem.data)) / best - 1
        if off <= gap or took > patience:
            break
    return solver, off, off <= gap
