"""Problems with known answers, and NumPy oracles for them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxinfo


class Problem(NamedTuple):
    """What `fit` takes."""

    loss: Callable[[Any, Any], jax.Array]
    params: Any
    data: Any
    penalty: Callable[[Any], jax.Array] | None = None


def regression(x: np.ndarray, y: np.ndarray, l2: float, dtype: Any = jnp.float64) -> Problem:
    """Softmax regression with an unpenalised intercept, from zeros."""
    classes = int(y.max()) + 1

    def loss(params: Any, data: Any) -> jax.Array:
        x, y = data
        return jaxinfo.softmax_cross_entropy(x @ params["w"] + params["b"][None, :], y)

    params = {"w": jnp.zeros((x.shape[1], classes), dtype), "b": jnp.zeros(classes, dtype)}
    data = (jnp.asarray(x, dtype), jnp.asarray(y, jnp.int32))
    return Problem(loss, params, data, (lambda p: l2 / 2 * jnp.sum(p["w"] ** 2)) if l2 else None)


def overlapping(n: int = 60, features: int = 3, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Data whose classes overlap, so that the likelihood has a maximum."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, features)), rng.integers(0, classes, n)


def newton_oracle(x: np.ndarray, y: np.ndarray, l2: float, steps: int = 60) -> float:
    """Minimum of the regression's objective by plain damped Newton in float64 NumPy, from its formulas."""
    n, d = x.shape
    classes = int(y.max()) + 1
    a = np.concatenate([x, np.ones((n, 1))], axis=1)
    ridge = np.diag(np.repeat([l2] * d + [0.0], classes))
    theta = np.zeros((d + 1) * classes)

    def objective(theta: np.ndarray) -> float:
        logits = a @ theta.reshape(d + 1, classes)
        top = logits.max(axis=1)
        lse = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
        return float((lse - logits[np.arange(n), y]).sum() + theta @ ridge @ theta / 2)

    for _ in range(steps):
        logits = a @ theta.reshape(d + 1, classes)
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        gradient = (a.T @ (p - np.eye(classes)[y])).reshape(-1) + ridge @ theta
        spread = np.einsum("nk,kl->nkl", p, np.eye(classes)) - np.einsum("nk,nl->nkl", p, p)
        hessian = np.einsum("ni,nkl,nj->ikjl", a, spread, a).reshape(len(theta), -1) + ridge
        step = np.linalg.lstsq(hessian, gradient, rcond=1e-12)[0]
        share = 1.0
        while objective(theta - share * step) > objective(theta) and share > 1e-9:
            share /= 2
        theta = theta - share * step
    return objective(theta)
