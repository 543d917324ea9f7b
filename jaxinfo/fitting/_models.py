"""The models the command line fits: softmax regression, and the distribution of a text's words."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike

from jaxinfo._classification import softmax_cross_entropy
from jaxinfo._measures import entropy, kl_divergence
from jaxinfo._numerics import logits_from_probs
from jaxinfo._reduce import mean
from jaxinfo.fitting._objective import make_objective


class Model(NamedTuple):
    """What `fit` needs, and what the estimate is measured by.

    Attributes:
        loss: params, data -> NLL per example.
        params: the starting point: zeros.
        data: what `loss` takes.
        weights: weight of each example, None for 1 each.
        penalty: negative log-prior, None for none.
        logits: params -> [R, V], one row for each distinct feature row.
        counts: [R, V], how often each class occurs with each distinct feature row.
    """

    loss: Callable[[Any, Any], jax.Array]
    params: Any
    data: Any
    weights: jax.Array | None
    penalty: Callable[[Any], jax.Array] | None
    logits: Callable[[Any], jax.Array]
    counts: jax.Array

    @property
    def examples(self) -> int:
        """Number of examples."""
        return round(float(self.counts.sum()))

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.params))

    def objective(self, params: Any, data: Any) -> jax.Array:
        """Return the summed NLL plus the penalty."""
        return make_objective(self.loss, data, self.weights, self.penalty)(params)[0]


class Measures(NamedTuple):
    """How far a model is from the data; nats.

    Attributes:
        entropy: H(P) of the classes given the distinct feature rows.
        kl: KL(P || Q), summed from non-negative terms, not as a difference.
        accuracy: share of examples whose class is the likeliest.
    """

    entropy: float
    kl: float
    accuracy: float


def softmax_regression(features: np.ndarray, labels: np.ndarray, classes: int, l2: float) -> Model:
    """Return the model ``softmax(features @ W + b)`` with the penalty ``l2 * ||W||^2 / 2``; b is free."""
    x, y = jnp.asarray(features), jnp.asarray(labels)
    rows, which = np.unique(features, axis=0, return_inverse=True)
    counts = np.zeros((len(rows), classes), x.dtype)
    np.add.at(counts, (which.reshape(-1), labels), 1)

    def logits(params: dict[str, jax.Array], x: ArrayLike) -> jax.Array:
        return jnp.matmul(x, params["W"], preferred_element_type=params["W"].dtype) + params["b"][None, :]

    return Model(
        loss=lambda params, data: softmax_cross_entropy(logits(params, data[0]), data[1]),
        params={"W": jnp.zeros((x.shape[1], classes), x.dtype), "b": jnp.zeros(classes, x.dtype)},
        data=(x, y),
        weights=None,
        penalty=(lambda params: l2 / 2 * jnp.sum(params["W"] ** 2)) if l2 else None,
        logits=lambda params: logits(params, rows),
        counts=jnp.asarray(counts),
    )


def unigram(counts: np.ndarray) -> Model:
    """Return the model ``softmax(params)`` of a text with these counts: one example, weighted by their sum."""
    row = jnp.asarray(counts, jnp.result_type(float))[None, :]
    total = jnp.sum(row, axis=-1)
    return Model(
        loss=lambda params, targets: softmax_cross_entropy(params[None, :], targets),
        params=jnp.zeros(row.shape[1], row.dtype),
        data=row / total[:, None],
        weights=total,
        penalty=None,
        logits=lambda params: params[None, :],
        counts=row,
    )


def measure(model: Model, params: Any) -> Measures:
    """Return the measures of `model` at `params`; the labels of each distinct feature row are P there."""

    @jax.jit
    def measures(params: Any, counts: jax.Array) -> tuple[jax.Array, ...]:
        logits = model.logits(params)
        p, weights = logits_from_probs(counts), jnp.sum(counts, axis=-1)
        likeliest = jnp.argmax(logits, axis=-1)
        hits = jnp.sum(jnp.take_along_axis(counts, likeliest[:, None], axis=-1))
        return (
            mean(entropy(p), weights=weights),
            mean(kl_divergence(p, logits), weights=weights),
            hits / jnp.sum(weights),
        )

    return Measures(*map(float, measures(params, model.counts)))


class GradientCheck(NamedTuple):
    """How far a gradient is from central differences along random directions, per unit of length.

    Attributes:
        difference: largest absolute difference of a directional derivative.
        rounding: what rounding of the objective alone may put into one.
        directions: number of directions.
    """

    difference: float
    rounding: float
    directions: int


def check_gradient(model: Model, params: Any, *, directions: int = 8) -> GradientCheck:
    """Compare the gradient of the objective at `params` with central differences, seeded."""
    flat, unravel = ravel_pytree(params)
    eps = float(jnp.finfo(flat.dtype).eps)
    step = eps ** (1 / 3)

    @jax.jit
    def check(x: jax.Array, data: Any) -> tuple[jax.Array, jax.Array]:
        def objective(x: jax.Array) -> jax.Array:
            return model.objective(unravel(x), data)

        value, gradient = jax.value_and_grad(objective)(x)

        def difference(key: jax.Array) -> jax.Array:
            v = jax.random.normal(key, x.shape, x.dtype)  # every parameter moves by about one step
            up, down = jax.lax.map(lambda side: objective(x + side * step * v), jnp.asarray([1, -1], x.dtype))
            return jnp.abs(jnp.vdot(gradient, v) - (up - down) / (2 * step)) / jnp.linalg.norm(v)

        return value, jnp.max(jax.lax.map(difference, jax.random.split(jax.random.key(0), directions)))

    value, difference = check(flat, model.data)
    return GradientCheck(float(difference), eps * abs(float(value)) / step / flat.size**0.5, directions)
