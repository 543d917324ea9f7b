"""Regressions whose outcome is not a class: one of two kinds, a count, a number; each by its likelihood."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxinfo._likelihoods import gaussian_nll, poisson_nll
from jaxinfo._sigmoid import sigmoid_cross_entropy

FAMILIES = ("categorical", "bernoulli", "poisson", "gaussian")


class Regression(NamedTuple):
    """What `fit` needs for a generalised linear model ``outcome ~ features @ W + b``."""

    loss: Callable[[Any, Any], jax.Array]
    params: Any
    data: Any
    penalty: Callable[[Any], jax.Array] | None


def regression(family: str, features: np.ndarray, outcome: np.ndarray, l2: float) -> Regression:
    """Return the model of `family`, "bernoulli", "poisson" or "gaussian", with penalty ``l2 * ||W||^2 / 2``.

    It starts from zeros; the variance of a gaussian from that of the outcome, which has no scale of its own.

    Raises:
        ValueError: the outcome is none of this family; the message says what it must be.
    """
    x, y = jnp.asarray(features), jnp.asarray(outcome, features.dtype)
    params = {"W": jnp.zeros(x.shape[1], x.dtype), "b": jnp.zeros((), x.dtype)}
    _check(family, outcome)
    if family == "gaussian":
        params["log_variance"] = jnp.log(jnp.var(y))

    def loss(params: dict[str, jax.Array], data: tuple[jax.Array, jax.Array]) -> jax.Array:
        x, y = data
        mean = jnp.matmul(x, params["W"], preferred_element_type=x.dtype) + params["b"]
        match family:
            case "bernoulli":
                return sigmoid_cross_entropy(mean, y)
            case "poisson":
                return poisson_nll(y, mean)
        return gaussian_nll(y, mean, jnp.exp(params["log_variance"]))

    return Regression(loss, params, (x, y), (lambda p: l2 / 2 * jnp.sum(p["W"] ** 2)) if l2 else None)


def _check(family: str, outcome: np.ndarray) -> None:
    counts = bool(np.all((outcome >= 0) & (outcome == np.round(outcome))))
    if family == "bernoulli" and not np.isin(outcome, (0, 1)).all():
        raise ValueError("must be two classes, or the numbers 0 and 1")
    if family == "poisson" and not counts:
        raise ValueError("must be whole numbers of at least 0")
    if family == "gaussian" and np.ptp(outcome) == 0:
        raise ValueError("must not be one number throughout: its variance would have no maximum likelihood")
