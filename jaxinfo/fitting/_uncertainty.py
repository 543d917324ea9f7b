"""How sure an estimate is: covariances and standard errors, by matrix or by conjugate gradients."""

from collections.abc import Callable
from functools import cached_property
from statistics import NormalDist
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from jaxinfo import _checks
from jaxinfo.fitting._information import (
    EXACT_UP_TO,
    Inverse,
    hessian_matrix,
    outer_product,
    pseudo_inverse,
    solve,
)
from jaxinfo.fitting._objective import Loss, Penalty, make_objective

KINDS = ("observed", "outer", "sandwich")


class Likelihood(NamedTuple):
    """What was fitted: loss, data, weights, penalty, and how many examples are taken at once."""

    loss: Loss
    data: Any
    weights: jax.Array | None
    penalty: Penalty | None
    block: int | None = None


class Uncertainty:
    """Information, covariances and standard errors at an estimate, computed when first asked for."""

    def __init__(self, likelihood: Likelihood, params: Any) -> None:
        """Hold what was fitted; nothing is computed."""
        self._likelihood = likelihood
        self._params = params
        self._flat, self._unravel = ravel_pytree(params)

    @property
    def size(self) -> int:
        """Number of parameters."""
        return self._flat.size

    @property
    def rank(self) -> int:
        """Rank of the observed information; the number of parameters where it is not formed."""
        return int(self._inverse.rank) if self.size <= EXACT_UP_TO else self.size

    @property
    def condition(self) -> float:
        """Condition number of the observed information scaled to a unit diagonal; nan where it is not formed."""
        return float(self._inverse.condition) if self.size <= EXACT_UP_TO else float("nan")

    @property
    def indefinite(self) -> bool:
        """Whether the observed information has a negative eigenvalue: the point is no maximum."""
        return self.size <= EXACT_UP_TO and float(self._inverse.lowest) < 0

    @cached_property
    def _inverse(self) -> Inverse:
        def inverse(params: Any, data: Any, weights: jax.Array | None) -> Inverse:
            return pseudo_inverse(hessian_matrix(lambda p: self._objective(p, data, weights), params))

        return self._run(inverse)

    @cached_property
    def _covariances(self) -> dict[str, np.ndarray]:
        return {"observed": np.asarray(self._inverse.matrix)}

    def covariance(self, kind: str = "observed") -> np.ndarray:
        """Return the covariance [p, p]; `FitResult.covariance` says more.

        Raises:
            ValueError: there is no such kind, or too many parameters.
        """
        _check_kind(kind)
        if self.size > EXACT_UP_TO:
            raise ValueError(
                f"A covariance matrix is formed for up to {EXACT_UP_TO:,} parameters, got {self.size:,}: "
                "ask for the `contrast` of interest."
            )
        if kind not in self._covariances:
            scores = self._run(lambda p, data, weights: outer_product(self._likelihood.loss, p, data, weights))
            if kind == "outer":
                penalty = self._likelihood.penalty
                if penalty is not None:
                    scores = scores + self._run(lambda p, *_: hessian_matrix(penalty, p))
                self._covariances[kind] = np.asarray(self._run(lambda *_: pseudo_inverse(scores).matrix))
            else:
                observed = self._covariances["observed"]
                self._covariances[kind] = observed @ np.asarray(scores) @ observed
        return self._covariances[kind]

    def errors(self, kind: str = "observed") -> Any:
        """Return standard errors in the structure of the parameters."""
        variances = np.diagonal(self.covariance(kind))
        errors = np.sqrt(np.where(variances >= 0, variances, np.nan))  # negative where this is no maximum
        with self._precision():
            return self._unravel(jnp.asarray(errors, self._flat.dtype))

    def intervals(self, level: float, kind: str) -> tuple[Any, Any]:
        """Return the lower and upper ends of normal confidence intervals.

        Raises:
            ValueError: `level` is not between 0 and 1.
        """
        wanted = "a number between 0 and 1"
        _checks.check_number(level, "level", low=0, high=1, wanted=wanted)
        if not 0 < level < 1:
            raise ValueError(f"`level` must be {wanted}, got {level!r}.")
        reach = NormalDist().inv_cdf((1 + level) / 2)
        errors = self.errors(kind)
        low = jax.tree.map(lambda x, e: x - reach * e, self._params, errors)
        return low, jax.tree.map(lambda x, e: x + reach * e, self._params, errors)

    def contrast(self, of: Callable[[Any], jax.Array] | Any, kind: str) -> tuple[float, float]:
        """Return the estimate and the standard error of a quantity; `FitResult.contrast` says more.

        Raises:
            ValueError: there is no such kind, or the coefficients do not have the structure of the parameters.
        """
        _check_kind(kind)
        if not callable(of):
            shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(of)]
            wanted = [leaf.shape for leaf in jax.tree.leaves(self._params)]
            if shapes != wanted or jax.tree.structure(of) != jax.tree.structure(self._params):
                raise ValueError(f"`of` must be a function, or have the leaves' shapes {wanted}, got {shapes}.")

        else:
            with self._precision():
                value = jax.eval_shape(of, self._params)
            if not isinstance(value, jax.ShapeDtypeStruct) or value.shape != ():
                got = getattr(value, "shape", type(value).__name__)
                raise ValueError(f"`of` must return one number, got {got}.")
        if self.size <= EXACT_UP_TO:
            return self._small_contrast(of, kind)

        def measure(params: Any, data: Any, weights: jax.Array | None) -> tuple[jax.Array, ...]:
            if callable(of):
                value, coefficients = jax.value_and_grad(of)(params)
            else:
                coefficients = jax.tree.map(lambda c, p: jnp.asarray(c, p.dtype), of, params)
                value = sum(jnp.vdot(c, p) for c, p in _pairs(coefficients, params))
            variance, residual = self._variance(coefficients, kind, params, data, weights)
            return jnp.asarray(value), variance, residual

        value, variance, residual = map(float, self._run(measure))
        solved = residual <= 1e4 * float(jnp.finfo(self._flat.dtype).eps) ** 0.75 and variance >= 0
        return value, variance**0.5 if solved else float("nan")

    def _small_contrast(self, of: Callable[[Any], jax.Array] | Any, kind: str) -> tuple[float, float]:
        """Return the same from the matrix."""
        with self._precision():
            if callable(of):
                value, slope = jax.value_and_grad(of)(self._params)
            else:
                slope = jax.tree.map(lambda c, p: jnp.asarray(c, p.dtype), of, self._params)
                value = sum(jnp.vdot(c, p) for c, p in _pairs(slope, self._params))
            a = np.asarray(ravel_pytree(slope)[0], np.float64)
        units = np.sqrt(np.abs(np.asarray(self._inverse.diagonal, np.float64)))
        free = np.asarray(self._inverse.free, np.float64)
        share = np.abs(free.T @ a) / max(np.linalg.norm(a / np.where(units > 0, units, 1)), 1e-300)
        variance = float(a @ self.covariance(kind).astype(np.float64) @ a)
        determined = np.all(share <= float(jnp.finfo(self._flat.dtype).eps) ** 0.5) and variance >= 0
        return float(value), variance**0.5 if determined else float("nan")

    def _variance(self, a: Any, kind: str, params: Any, data: Any, weights: jax.Array | None) -> tuple[Any, Any]:
        """Return a^T C a without C: one system solved by conjugate gradients, and its relative residual."""
        losses, push = jax.linearize(lambda p: self._likelihood.loss(p, data), params)
        pull = jax.linear_transpose(push, params)
        counted = jnp.ones_like(losses) if weights is None else weights.astype(losses.dtype)
        penalty = self._likelihood.penalty
        prior = None if penalty is None else jax.linearize(jax.grad(penalty), params)[1]

        def scores_product(v: Any) -> Any:
            return pull(counted * jnp.where(counted == 0, 0, push(v)))[0]

        def outer(v: Any) -> Any:
            image = scores_product(v)
            return image if prior is None else jax.tree.map(jnp.add, image, prior(v))

        observed = jax.linearize(jax.grad(lambda p: self._objective(p, data, weights)), params)[1]
        x, residual = solve(outer if kind == "outer" else observed, a)
        image = scores_product(x) if kind == "sandwich" else a
        return sum(jnp.vdot(u, v) for u, v in _pairs(x, image)), residual

    def _objective(self, params: Any, data: Any, weights: jax.Array | None) -> jax.Array:
        loss, _, _, penalty, block = self._likelihood
        return make_objective(loss, data, weights, penalty, block)(params)[0]

    def _run(self, f: Callable[..., Any]) -> Any:
        with self._precision():
            return jax.jit(f)(self._params, self._likelihood.data, self._likelihood.weights)

    def _precision(self) -> Any:
        """Compute as the fit did: in float64 even if it was switched on for the fit only."""
        return jax.enable_x64(self._flat.dtype == jnp.float64 or jax.config.read("jax_enable_x64"))


def _pairs(x: Any, y: Any) -> Any:
    return zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True)


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise ValueError(f"`kind` must be one of 'observed', 'outer' or 'sandwich', got {kind!r}.")
