"""float32 fits of many examples: derivatives are right side by side, and rounding is not taken for a slope."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import jaxinfo
from jaxinfo.fitting import Reason, fit
from jaxinfo.fitting._information import hessian_matrix, outer_product
from jaxinfo.fitting._newton_cg import row_norms
from tests.fitting.problems import Problem, regression


def drawn(n: int, features: int, classes: int, dtype: type) -> Problem:
    """Softmax regression on labels drawn from a model of its kind."""
    rng = np.random.default_rng(n)
    x = rng.normal(size=(n, features))
    logits = x @ rng.normal(size=(features, classes)) + rng.gumbel(size=(n, classes))
    return regression(x, logits.argmax(axis=1), 0.0, dtype)


def matrices(problem: Problem, dtype: type) -> list[np.ndarray]:
    """Return Hessian, outer product of scores and estimated row norms of the Hessian, away from the optimum."""
    loss, params, data, _ = problem
    params = jax.tree.map(lambda x: jnp.linspace(-1, 1, x.size, dtype=dtype).reshape(x.shape), params)

    def total(params: Any) -> jax.Array:
        return jnp.sum(loss(params, data))

    def all_three(params: Any) -> tuple[jax.Array, ...]:
        norms = row_norms(jax.linearize(jax.grad(total), params)[1], params, 3)
        return hessian_matrix(total, params), outer_product(loss, params, data, None), ravel_pytree(norms)[0]

    return [np.asarray(x, np.float64) for x in jax.jit(all_three)(params)]


@pytest.mark.parametrize("shape", [(3000, 4, 6), pytest.param((5000, 3, 20), marks=pytest.mark.slow)])
def test_matrices_are_those_of_float64(shape: tuple[int, int, int]) -> None:
    single, double = (matrices(drawn(*shape, dtype), dtype) for dtype in (jnp.float32, jnp.float64))
    for ours, truth in zip(single, double, strict=True):
        assert np.linalg.norm(ours - truth) < 1e-5 * np.linalg.norm(truth)


@pytest.mark.parametrize("method", ["newton", "newton_cg"])
@pytest.mark.slow
def test_many_examples_take_few_steps(method: str) -> None:
    single, double = (fit(*drawn(20_000, 4, 6, dtype)[:3], method=method) for dtype in (jnp.float32, jnp.float64))
    assert single.reason in {Reason.CONVERGED, Reason.FLOAT_FLOOR}
    assert single.steps <= double.steps + 4
    assert single.objective == pytest.approx(double.objective, rel=1e-5)


@pytest.mark.parametrize("seed", range(2))
def test_a_free_shift_is_no_recession(seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = jnp.asarray(rng.integers(1, 3000, 1000), jnp.float32)
    words = jnp.arange(1000, dtype=jnp.int32)

    def loss(logits: jax.Array, words: jax.Array) -> jax.Array:
        return -jaxinfo.log_softmax(logits)[words]

    result = fit(loss, jnp.zeros(1000, jnp.float32), words, weights=counts)
    assert result.reason in {Reason.CONVERGED, Reason.FLOAT_FLOOR}
    p = np.asarray(counts, np.float64) / np.asarray(counts, np.float64).sum()
    total = float(np.asarray(counts, np.float64).sum())
    assert -result.log_likelihood / total == pytest.approx(-(p * np.log(p)).sum(), rel=1e-5)
