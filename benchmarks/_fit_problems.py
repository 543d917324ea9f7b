"""The problems of bench_fit.py: what every solver is given, and the optimum it has to reach."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxinfo
from jaxinfo import datasets


class Problem(NamedTuple):
    """A convex objective from zeros, in float64.

    Attributes:
        name: the data set.
        scale: how often its rows are repeated.
        x: features.
        y: classes.
        classes: their number.
        l2: penalty on the weights.
        loss: params, data -> NLL per row.
        params: zeros.
        penalty: of params, None without.
    """

    name: str
    scale: int
    x: np.ndarray
    y: np.ndarray
    classes: int
    l2: float
    loss: Callable[[Any, Any], jax.Array]
    params: Any
    penalty: Callable[[Any], jax.Array] | None

    @property
    def data(self) -> tuple[jax.Array, jax.Array]:
        """What the loss takes."""
        return jnp.asarray(self.x), jnp.asarray(self.y, jnp.int32)

    def objective(self, params: Any, data: Any) -> jax.Array:
        """Return the sum that is minimised."""
        total = jnp.sum(self.loss(params, data))
        return total if self.penalty is None else total + self.penalty(params)


def digits(scale: int) -> Problem:
    """Softmax regression with ``||W||^2 / 2``, standardised: scikit-learn's LogisticRegression(C=1)."""
    data = datasets.classification("digits")
    x, y = np.tile(datasets.standardise(data.features), (scale, 1)), np.tile(data.labels, scale)

    def loss(params: Any, data: Any) -> jax.Array:
        return jaxinfo.softmax_cross_entropy(jnp.matmul(data[0], params["W"]) + params["b"][None, :], data[1])

    params = {"W": jnp.zeros((64, 10)), "b": jnp.zeros(10)}
    return Problem("digits", scale, x, y, 10, 1.0, loss, params, lambda p: jnp.sum(p["W"] ** 2) / 2)


def anes96(scale: int) -> Problem:
    """Multinomial logit on the raw scale, 36 parameters: statsmodels' MNLogit."""
    import statsmodels.api as sm

    data = sm.datasets.anes96.load_pandas()
    x = sm.add_constant(np.asarray(data.exog, float), prepend=False)
    y = np.asarray(data.endog, int)
    x, y = np.tile(x, (scale, 1)), np.tile(y, scale)

    def loss(params: Any, data: Any) -> jax.Array:
        logits = jnp.matmul(data[0], params)
        return jaxinfo.softmax_cross_entropy(jnp.concatenate([jnp.zeros_like(logits[:, :1]), logits], 1), data[1])

    return Problem("anes96", scale, x, y, 7, 0.0, loss, jnp.zeros((6, 6)), None)
