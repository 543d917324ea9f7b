"""Linear predictors: found however the product is written, and the Hessian by them is the Hessian."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import jaxinfo
from jaxinfo import _tiles
from jaxinfo.fitting import _hessian, fit
from jaxinfo.fitting._hessian import curvature_of, hessian
from jaxinfo.fitting._information import hessian_matrix
from jaxinfo.fitting._predictors import predicted
from jaxinfo.fitting._problem import Options, as_inputs, make_problem

ROWS, FEATURES, CLASSES = 23, 4, 3
RANDOM = np.random.default_rng(0)
X = jnp.asarray(RANDOM.standard_normal((ROWS, FEATURES)))
Y = jnp.asarray(RANDOM.integers(0, CLASSES, ROWS))
Z = jnp.asarray(RANDOM.standard_normal(ROWS))
MATRIX, VECTOR = jnp.zeros((FEATURES, CLASSES)), jnp.zeros(FEATURES)
softmax = jaxinfo.softmax_cross_entropy


def with_bias(params: Any, data: Any) -> jax.Array:
    x, y, _ = data
    return softmax(jnp.matmul(x, params["w"]) + params["b"][None, :], y)


def of_one_example(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    return softmax(jnp.matmul(params["w"], x) + params["b"], y)


def example_by_example(params: Any, data: Any) -> jax.Array:
    return jax.vmap(of_one_example, (None, 0, 0))(params, *data[:2])


def transposed(w: Any, data: Any) -> jax.Array:
    return softmax(jnp.einsum("kd,dn->kn", w, data[0].T).T, data[1])


def with_reference_class(w: Any, data: Any) -> jax.Array:
    logits = jnp.matmul(data[0], w.T)
    return softmax(jnp.concatenate([jnp.zeros_like(logits[:, :1]), logits], 1), data[1])


def of_one_vector(theta: Any, data: Any) -> jax.Array:
    w = theta[: FEATURES * CLASSES].reshape(FEATURES, CLASSES)
    return softmax(jnp.matmul(data[0], w) + theta[FEATURES * CLASSES :][None, :], data[1])


def logistic(params: Any, data: Any) -> jax.Array:
    return jaxinfo.sigmoid_cross_entropy(jnp.matmul(data[0], params["w"]) + params["b"], jnp.minimum(data[1], 1))


def gaussian(params: Any, data: Any) -> jax.Array:
    return jaxinfo.gaussian_nll(data[2], jnp.matmul(data[0], params["w"]), jnp.exp(params["log_variance"]))


def mean_and_variance(params: Any, data: Any) -> jax.Array:
    mean = jnp.squeeze(jnp.matmul(data[0], params["w"][:, None]), 1)
    return jaxinfo.gaussian_nll(data[2], mean, jnp.exp(jnp.matmul(data[0][:, :2], params["v"])))


def of_differences(w: Any, data: Any) -> jax.Array:
    return softmax(jnp.matmul(data[0], w) - jnp.matmul(jnp.sin(data[0]), w), data[1])


def with_its_penalty(w: Any, data: Any) -> jax.Array:
    return softmax(jnp.matmul(data[0], w), data[1]) + jnp.sum(jnp.tanh(w[0]) ** 2) / ROWS


def of_two_layers(params: Any, data: Any) -> jax.Array:
    return softmax(jnp.matmul(jnp.tanh(jnp.matmul(data[0], params["w"])), params["v"]), data[1])


# The others are slow: each takes seconds to compile.
ALWAYS = ("jitted", "of one vector")
LOSSES: dict[str, tuple[Callable, Any, int]] = {  # loss, where it starts, directions that it needs
    "with a bias": (with_bias, {"b": jnp.zeros(CLASSES), "w": MATRIX}, 2 * CLASSES),
    "jitted": (jax.jit(with_bias), {"b": jnp.zeros(CLASSES), "w": MATRIX}, 2 * CLASSES),
    "example by example": (example_by_example, {"b": jnp.zeros(CLASSES), "w": MATRIX.T}, 2 * CLASSES),
    "transposed": (transposed, MATRIX.T, CLASSES),
    "with a reference class": (with_reference_class, MATRIX.T[1:], CLASSES - 1),
    "of one vector": (of_one_vector, jnp.zeros((FEATURES + 1) * CLASSES), 2 * CLASSES),
    "logistic": (logistic, {"b": jnp.zeros(()), "w": VECTOR}, 2),
    "gaussian": (gaussian, {"log_variance": jnp.zeros(()), "w": VECTOR}, 2),
    "mean and variance": (mean_and_variance, {"v": VECTOR[:2], "w": VECTOR}, 2),
    "of differences": (of_differences, MATRIX, 2 * CLASSES),
    "with its penalty": (with_its_penalty, MATRIX, 2 * CLASSES),
    "of two layers": (of_two_layers, {"v": jnp.zeros((2, CLASSES)), "w": jnp.zeros((FEATURES, 2))}, 2 + 2 * CLASSES),
}


def ridge(params: Any) -> jax.Array:
    return 0.1 * jnp.sum(ravel_pytree(params)[0] ** 2)


@pytest.mark.parametrize(
    ("name", "tile", "dtype"),
    [
        *(pytest.param(name, 5, "float64", marks=() if name in ALWAYS else pytest.mark.slow) for name in LOSSES),
        ("transposed", None, "float32"),
        pytest.param("gaussian", None, "float32", marks=pytest.mark.slow),
    ],
)
def test_hessian_by_them_is_the_hessian(
    name: str, tile: int | None, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_tiles, "tile_size", lambda width: tile)
    loss, params, directions = LOSSES[name]
    data = (X.astype(dtype), Y, Z.astype(dtype))
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), params)
    found = predicted(loss, params, data)
    assert found is not None
    assert found.directions == directions
    weights = jnp.asarray(RANDOM.random(ROWS), dtype)
    problem = make_problem(loss, params, as_inputs(params, data, weights, None, None), Options("newton", ridge))
    problem = problem._replace(curvature=curvature_of(problem, params))
    assert problem.curvature == (tile, True)
    flat, unravel = ravel_pytree(params)
    at = unravel(flat + jnp.asarray(RANDOM.normal(size=flat.shape), dtype))
    want = hessian_matrix(lambda params: problem.objective(params)[0], at)
    got = jax.jit(lambda params: hessian(problem, params))(at)
    assert got.dtype == dtype
    tolerance = 64 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * np.abs(want).max())


def test_fits_are_the_same_with_and_without(monkeypatch: pytest.MonkeyPatch) -> None:
    loss, params, _ = LOSSES["with a bias"]
    by_predictors = fit(loss, params, (X, Y, Z), penalty=ridge, progress=False)
    monkeypatch.setattr(_hessian, "predicted", lambda *_: None)
    otherwise = fit(loss, params, (X, Y, Z), penalty=ridge, progress=False)
    assert (by_predictors.reason, by_predictors.steps) == (otherwise.reason, otherwise.steps)
    np.testing.assert_allclose(by_predictors.params["w"], otherwise.params["w"], rtol=1e-9, atol=1e-12)


def scaled_by_hand(w: Any, data: Any) -> jax.Array:
    return jaxinfo.sigmoid_cross_entropy(jnp.sum(data[0] * w[None, :], -1), jnp.minimum(data[1], 1))


def quadratic(w: Any, data: Any) -> jax.Array:
    return jnp.matmul(data[0], w) * jnp.sum(w**2)


def of_products_of_parameters(params: Any, data: Any) -> jax.Array:
    return jnp.matmul(data[0], jnp.matmul(params["u"], params["v"])) ** 2


@pytest.mark.parametrize(
    ("loss", "params"),
    [
        (scaled_by_hand, VECTOR),
        (quadratic, VECTOR),
        (of_products_of_parameters, {"u": jnp.ones((FEATURES, 2)), "v": jnp.ones(2)}),
        (lambda w, data: jnp.matmul(data[0][:, :1], w) ** 2, jnp.ones(1)),
        (lambda w, data: jnp.cos(w) * data[2], jnp.ones(())),
    ],
    ids=["a sum", "used otherwise too", "a product of its own", "one feature", "no product"],
)
def test_there_are_none(loss: Callable, params: Any) -> None:
    assert predicted(loss, params, (X, Y, Z)) is None


@pytest.mark.slow
def test_a_table_of_as_many_rows_as_examples_does_not_pass_for_features() -> None:
    table = jnp.asarray(RANDOM.standard_normal((ROWS, FEATURES)))

    def choice(w: Any, data: Any) -> jax.Array:
        """One of as many things is chosen as there are examples, by what the things are like."""
        return softmax(jnp.outer(data[2], jnp.matmul(table, w)), data[1])

    made = predicted(choice, VECTOR, (X, Y, Z))
    assert made is not None
    assert not made.separate(VECTOR + 1, (X, Y, Z))
    problem = make_problem(choice, VECTOR, as_inputs(VECTOR, (X, Y, Z), None, None, None), Options("newton"))
    assert curvature_of(problem, VECTOR) is None


def test_many_examples_are_taken_some_at_a_time_where_no_cache_bounds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tiles, "tile_size", lambda width: None)
    monkeypatch.setattr(_hessian, "_AT_ONCE", 50)
    loss, params, _ = LOSSES["transposed"]
    inputs = as_inputs(params, (X, Y, Z), None, None, None)
    curvature = curvature_of(make_problem(loss, params, inputs, Options("newton")), params)
    assert curvature is not None
    assert curvature.by_predictors
    assert 1 < (curvature.tile or 0) <= ROWS // 2
    beside = as_inputs(params, (X, Y, Z, jnp.zeros(2)), None, None, None)  # no rows: they cannot be cut
    assert curvature_of(make_problem(loss, params, beside, Options("newton")), params) is None


def test_parameters_of_two_precisions_are_fitted_as_they_are() -> None:
    def loss(params: Any, data: Any) -> jax.Array:
        score = jnp.matmul(data[0].astype(jnp.float32), params["w"]).astype(jnp.float64)
        return jaxinfo.gaussian_nll(data[2], score + params["b"], 1.0)

    params = {"b": jnp.zeros((), jnp.float64), "w": VECTOR.astype(jnp.float32)}
    with jax.numpy_dtype_promotion("standard"):
        found = fit(loss, params, (X, Y, Z), method="newton", tolerance=1e-6, progress=False)
    features = np.column_stack([np.ones(ROWS), X])
    np.testing.assert_allclose(found.params["b"], np.linalg.lstsq(features, Z)[0][0], rtol=1e-4)
