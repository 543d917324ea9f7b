"""The Hessian by tiles of examples and by linear predictors: the same fit, where each example's loss is its own."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import jaxinfo
from jaxinfo import _tiles
from jaxinfo.fitting import fit
from jaxinfo.fitting._hessian import curvature_of, hessian
from jaxinfo.fitting._information import hessian_matrix
from jaxinfo.fitting._problem import Options, Problem, as_inputs, make_problem

ROWS = 137
RANDOM = np.random.default_rng(0)
X = jnp.asarray(RANDOM.standard_normal((ROWS, 3)))
Y = jnp.asarray(RANDOM.integers(0, 3, ROWS))
PARAMS = {"b": jnp.zeros(3), "w": jnp.zeros((3, 3))}


@pytest.fixture(autouse=True)
def tiles_of_ten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make tiles as on a single device, of ten rows."""
    monkeypatch.setattr(_tiles, "tile_size", lambda values: 10)


def softmax_loss(params: Any, data: Any) -> jax.Array:
    x, y = data
    return jaxinfo.softmax_cross_entropy(jnp.matmul(x, params["w"]) + params["b"][None, :], y)


def softmax_loss_by_hand(params: Any, data: Any) -> jax.Array:
    """Without a product that could be found in it."""
    x, y = data
    return jaxinfo.softmax_cross_entropy(jnp.sum(x[:, :, None] * params["w"][None], 1) + params["b"][None, :], y)


def ridge(params: Any) -> jax.Array:
    return 0.1 * jnp.sum(params["w"] ** 2) + 1e-3 * jnp.sum(params["b"] ** 2)


def problem_of(
    loss: Callable, params: Any = PARAMS, data: Any = (X, Y), weights: Any = None, penalty: Any = None
) -> Problem:
    problem = make_problem(loss, params, as_inputs(params, data, weights, None, None), Options("newton", penalty))
    return problem._replace(curvature=curvature_of(problem, params))


@pytest.mark.parametrize("loss", [softmax_loss, softmax_loss_by_hand])
@pytest.mark.parametrize(
    ("rows", "weights"),
    [
        pytest.param(20, None, marks=pytest.mark.slow),
        pytest.param(31, "counts", marks=pytest.mark.slow),
        (ROWS, "mask"),
    ],
)
def test_hessian_is_that_of_the_whole(loss: Callable, rows: int, weights: str | None) -> None:
    given = {"counts": RANDOM.integers(0, 4, rows), "mask": RANDOM.random(rows) < 0.7}
    data = (X[:rows], Y[:rows])
    problem = problem_of(loss, data=data, weights=given.get(weights or ""), penalty=ridge)
    assert problem.curvature == (10, loss is softmax_loss)
    at = jax.tree.map(
        lambda leaf: leaf + 0.3 * jnp.cos(jnp.arange(leaf.size, dtype=leaf.dtype)).reshape(leaf.shape), PARAMS
    )
    want = hessian_matrix(lambda params: problem.objective(params)[0], at)
    got = jax.jit(lambda params: hessian(problem, params))(at)
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


def test_fit_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    tiled = fit(softmax_loss, PARAMS, (X, Y), penalty=ridge, progress=False)
    monkeypatch.setattr(_tiles, "tile_size", lambda values: None)
    whole = fit(softmax_loss, PARAMS, (X, Y), penalty=ridge, progress=False)
    assert (tiled.reason, tiled.steps, tiled.evaluations) == (whole.reason, whole.steps, whole.evaluations)
    np.testing.assert_allclose(ravel_pytree(tiled.params)[0], ravel_pytree(whole.params)[0], rtol=1e-9, atol=1e-12)


def test_restarts_tile_too() -> None:
    one = fit(softmax_loss, PARAMS, (X, Y), penalty=ridge, progress=False)
    many = fit(softmax_loss, PARAMS, (X, Y), penalty=ridge, progress=False, restarts=3)
    assert many.objective == pytest.approx(one.objective, rel=1e-12)


def partial_likelihood(beta: jax.Array, data: Any) -> jax.Array:
    """Cox's: each event's risk set is made of the examples that come after it."""
    x, events = data
    score = jnp.matmul(x, beta)
    return jnp.where(events, jnp.flip(jax.lax.cumlogsumexp(jnp.flip(score))) - score, 0)


def centred(beta: jax.Array, data: Any) -> jax.Array:
    x, y = data
    return (y - jnp.matmul(x - jnp.mean(x, 0, keepdims=True), beta)) ** 2 / 2


def with_offsets(beta: jax.Array, data: Any) -> jax.Array:
    x, y = data
    return (y - jnp.matmul(x, beta) - X[:, 0]) ** 2 / 2


def paired(beta: jax.Array, data: Any) -> jax.Array:
    """A conditional logit of pairs, one row an alternative: neighbours share their normaliser, few others matter."""
    x, _ = data
    score = jnp.matmul(x, beta)
    first = jnp.arange(len(score)) % 2 == 0
    other = jnp.where(first, jnp.roll(score, -1), jnp.roll(score, 1))
    return jnp.where(first, jnp.logaddexp(score, other) - score, 0)


@pytest.mark.parametrize(
    ("loss", "curvature"),
    [
        (paired, None),
        (centred, (None, True)),
        pytest.param(partial_likelihood, None, marks=pytest.mark.slow),
        pytest.param(with_offsets, (None, True), marks=pytest.mark.slow),
    ],
)
def test_losses_that_need_all_examples_are_left_whole(loss: Callable, curvature: tuple | None) -> None:
    # a cumulative sum of exponentials takes long to compile
    data = (X[:30], Y[:30] > 0) if loss is partial_likelihood else (X, Y.astype(X.dtype))
    assert problem_of(loss, jnp.zeros(3), data).curvature == curvature
    found = fit(loss, jnp.zeros(3), data, progress=False)
    assert found.reason.name in ("CONVERGED", "FLOAT_FLOOR")
    gradient = jax.grad(lambda beta: jnp.sum(loss(beta, data)))(found.params)
    np.testing.assert_allclose(gradient, 0, atol=1e-5)


def test_data_that_are_no_rows_are_left_whole() -> None:
    def counts(logits: jax.Array, data: Any) -> jax.Array:
        return jaxinfo.cross_entropy(jnp.log(data["shares"]), logits)[None]

    assert problem_of(counts, jnp.zeros(3), {"shares": jnp.array([0.2, 0.3, 0.5])}).curvature is None
    beside = problem_of(lambda p, data: softmax_loss(p, data[0]), data=((X, Y), jnp.zeros(3)))
    assert beside.curvature == (None, True)


def test_without_examples_the_prior_decides() -> None:
    found = fit(softmax_loss, PARAMS, (X[:0], Y[:0]), method="newton", penalty=towards_one, progress=False)
    assert found.reason.name == "CONVERGED"
    np.testing.assert_allclose(ravel_pytree(found.params)[0], 1, rtol=1e-12)


def towards_one(params: Any) -> jax.Array:
    return jnp.sum((ravel_pytree(params)[0] - 1) ** 2)
