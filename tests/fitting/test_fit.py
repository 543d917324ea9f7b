"""fit finds the optimum that independent oracles find, by every method, and reports it right."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxinfo
from jaxinfo import datasets
from jaxinfo.fitting import FitResult, Progress, Reason, fit
from tests.fitting.problems import newton_oracle, overlapping, regression

METHODS = ("newton", "newton_cg", "lbfgs")
OBJECTIVES = {  # minimum of sum CE + ||W||^2 / 2, reached by other software too
    "digits": 113.47995478033415,
    "iris": 31.378768260796466,
    "wine": 12.090335773855223,
    "breast_cancer": 33.299963176703145,
}


def counts_fit(counts: np.ndarray, dtype: type = np.float64, **options: object) -> FitResult:
    """Fit the distribution of `counts` from zeros."""
    row = jnp.asarray(counts, dtype)

    def loss(logits: jax.Array, targets: jax.Array) -> jax.Array:
        return jaxinfo.softmax_cross_entropy(logits[None, :], targets)

    targets = (row / jnp.sum(row))[None, :]
    return fit(loss, jnp.zeros_like(row), targets, weights=jnp.sum(row)[None], **options)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "name", ["digits", "iris", *(pytest.param(name, marks=pytest.mark.slow) for name in ("wine", "breast_cancer"))]
)
def test_reference_optima(name: str) -> None:
    data = datasets.classification(name)
    problem = regression(datasets.standardise(data.features), data.labels, 1.0)
    result = fit(problem.loss, problem.params, problem.data, penalty=problem.penalty)
    assert result.objective == pytest.approx(OBJECTIVES[name], rel=1e-11)
    assert result.reason == Reason.CONVERGED
    assert result.steps <= 15
    assert result.method == ("newton_cg" if name == "digits" else "newton")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("l2", [pytest.param(0.0, marks=pytest.mark.slow), 0.3])
def test_every_method_finds_the_oracles_optimum(method: str, l2: float) -> None:
    x, y = overlapping()
    problem = regression(x, y, l2)
    result = fit(problem.loss, problem.params, problem.data, penalty=problem.penalty, method=method)
    assert result.reason == Reason.CONVERGED
    assert result.objective == pytest.approx(newton_oracle(x, y, l2), rel=1e-12)
    assert result.decrement < 2e-12
    assert result.method == method


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_float32_comes_within_its_rounding(method: str) -> None:
    x, y = overlapping()
    problem = regression(x, y, 0.3, jnp.float32)
    result = fit(problem.loss, problem.params, problem.data, penalty=problem.penalty, method=method)
    assert result.reason in (Reason.CONVERGED, Reason.FLOAT_FLOOR)
    assert result.objective == pytest.approx(newton_oracle(x, y, 0.3), rel=1e-6)
    assert result.params["w"].dtype == jnp.float32


def test_any_optax_optimizer_runs() -> None:
    x, y = overlapping()
    problem = regression(x, y, 1.0)
    result = fit(problem.loss, problem.params, problem.data, penalty=problem.penalty, optimizer=optax.adam(0.05))
    assert result.reason == Reason.CONVERGED
    assert result.objective == pytest.approx(newton_oracle(x, y, 1.0), rel=1e-11)


@pytest.mark.slow
def test_units_of_the_features_do_not_matter() -> None:
    x, y = overlapping()
    scaled = x * np.array([1e-6, 1.0, 1e6])
    results = [fit(p.loss, p.params, p.data) for p in (regression(x, y, 0.0), regression(scaled, y, 0.0))]
    assert results[1].objective == pytest.approx(results[0].objective, rel=1e-12)
    assert [r.reason for r in results] == [Reason.CONVERGED] * 2
    assert results[1].steps <= results[0].steps + 1


@pytest.mark.slow
def test_unigram_reaches_its_closed_form() -> None:
    counts = np.random.default_rng(1).zipf(1.3, 3000).clip(max=10**6).astype(float)
    p = counts / counts.sum()
    result = counts_fit(counts)
    assert result.method == "newton_cg"
    assert result.reason == Reason.CONVERGED
    assert result.cross_entropy == pytest.approx(-(p * np.log(p)).sum(), abs=1e-12)
    np.testing.assert_allclose(jaxinfo.softmax(result.params), p, rtol=1e-6)
    assert counts_fit(counts, np.float32).cross_entropy == pytest.approx(-(p * np.log(p)).sum(), abs=1e-5)


def test_weights_count_examples() -> None:
    x, y = overlapping(n=20)
    weights = np.random.default_rng(2).integers(0, 4, 20)
    problem = regression(x, y, 0.5)
    weighted = fit(
        problem.loss, problem.params, problem.data, penalty=problem.penalty, weights=np.asarray(weights, float)
    )
    repeated = regression(np.repeat(x, weights, axis=0), np.repeat(y, weights), 0.5)
    assert weighted.objective == pytest.approx(
        newton_oracle(np.asarray(repeated.data[0]), np.asarray(repeated.data[1]), 0.5), rel=1e-12
    )
    assert weighted.cross_entropy == pytest.approx(-weighted.log_likelihood / weights.sum(), rel=1e-12)


def test_result_says_what_happened() -> None:
    x, y = overlapping()
    problem = regression(x, y, 1.0)
    seen: list[Progress] = []
    result = fit(problem.loss, problem.params, problem.data, penalty=problem.penalty, progress=seen.append)
    penalty = float(jnp.sum(result.params["w"] ** 2) / 2)
    assert result.objective == pytest.approx(-result.log_likelihood + penalty, rel=1e-12)
    assert result.cross_entropy == pytest.approx(-result.log_likelihood / len(y), rel=1e-12)
    assert len(result.history.objective) == result.steps + 1
    assert result.history.objective[0] == pytest.approx(len(y) * math.log(3), rel=1e-12)
    assert result.history.objective[-1] == result.objective
    assert [p.step for p in seen] == list(range(result.steps + 1))
    np.testing.assert_array_equal([p.objective for p in seen], result.history.objective)
    np.testing.assert_array_equal([p.decrement for p in seen], result.history.decrement)
    gradient = jax.grad(lambda p: jnp.sum(problem.loss(p, problem.data)) + jnp.sum(p["w"] ** 2) / 2)(result.params)
    assert result.gradient_norm == pytest.approx(float(optax.tree.norm(gradient)), rel=1e-3, abs=1e-13)
    assert result.compile_seconds > 0
    assert result.run_seconds > 0
    assert result.evaluations > result.steps


@pytest.mark.slow
def test_two_runs_are_the_same() -> None:
    x, y = overlapping()
    problem = regression(x, y, 0.1)
    first, second = (fit(problem.loss, problem.params, problem.data, method="newton_cg") for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first.params, second.params)


@pytest.mark.usefixtures("own_errors")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"method": "nelder_mead"},
            "'newton_cg', 'lbfgs' or 'minibatch', got 'nelder_mead'.",
        ),
        ({"method": "newton", "optimizer": optax.sgd(1.0)}, "`method` must be 'auto' where `optimizer` is given"),
        ({"max_steps": -1}, "`max_steps` must be an integer of at least 0, got -1."),
        ({"tolerance": -1.0}, "`tolerance` must be a number of nats, at least 0, got -1.0."),
        ({"weights": np.ones(7)}, r"`weights` must have shape \(60,\)"),
        ({"params": {}}, "`params` must hold at least one parameter, got none."),
        ({"max_steps": 10**8}, "`max_steps` must be at most 10,000,000, of which each is kept, got 100,000,000."),
        ({"penalty": lambda p: p["b"]}, r"`penalty` must return one number of nats, got shape \(3,\)."),
    ],
)
def test_wrong_options_are_named(options: dict, message: str) -> None:
    problem = regression(*overlapping(), 0.0)
    with pytest.raises(ValueError, match=message):
        fit(problem.loss, options.pop("params", problem.params), problem.data, **options)


@pytest.mark.usefixtures("own_errors")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"key": 0}, r"`key` must be one random key, such as jax.random.key\(0\), got int."),
        ({"key": np.zeros(2)}, r"`key` must be one random key, .*, got dtype float64, shape \(2,\)."),
        ({"optimizer": optax.adam}, r"`optimizer` must be one of optax's, such as optax.adam\(1e-2\), got adam."),
        ({"penalty": 3.0}, "`penalty` must be a function params -> a number of nats, got 3.0."),
        ({"penalty": lambda p: None}, "`penalty` must return a number of nats, got NoneType."),
        ({"loss": None}, r"`loss` must be a function \(params, data\) -> NLL of every example, got None."),
        ({"loss": lambda p, d: d[1]}, "`loss` must return a floating dtype, the NLL of every example, got int32."),
        ({"params": "abc"}, "`params` must be a pytree of float32 or float64 arrays, got 'abc' among them."),
        ({"weights": "none"}, "`weights` must be an array, got str."),
        ({"progress": "yes"}, "`progress` must be a callable, True, False or None, got 'yes'."),
    ],
)
def test_wrong_kinds_are_named(options: dict, message: str) -> None:
    problem = regression(*overlapping(), 0.0)
    with pytest.raises(TypeError, match=message):
        fit(options.pop("loss", problem.loss), options.pop("params", problem.params), problem.data, **options)


@pytest.mark.usefixtures("own_errors")
def test_wrong_dtypes_are_named() -> None:
    problem = regression(*overlapping(), 0.0)
    with pytest.raises(TypeError, match=r"`params\['b'\]` must have dtype float32 or float64, got int32."):
        fit(problem.loss, problem.params | {"b": jnp.zeros(3, jnp.int32)}, problem.data)


@pytest.mark.parametrize(
    ("option", "error", "message"),
    [
        (
            {"weights": [1.0, -2.0, 1.0]},
            ValueError,
            r"`weights` must be finite and not negative, got -2.0 for example 1\.",
        ),
        (
            {"weights": [1.0, 1.0, np.nan]},
            ValueError,
            "`weights` must be finite and not negative, got nan for example 2",
        ),
        (
            {"weights": [np.inf, 1.0, 1.0]},
            ValueError,
            "`weights` must be finite and not negative, got inf for example 0",
        ),
        ({"weights": [1.0, 1j, 1.0]}, TypeError, "`weights` must be real numbers, got dtype complex"),
        ({"validation": np.ones((3, 2))}, ValueError, "`validation` must be like `data`, which `loss` takes, got "),
    ],
)
def test_weights_and_validation_that_are_none(option: dict, error: type[Exception], message: str) -> None:
    def loss(p: jax.Array, x: jax.Array) -> jax.Array:
        return (p - x @ jnp.ones(3)) ** 2

    with pytest.raises(error, match=message):
        fit(loss, jnp.zeros(()), jnp.ones((3, 3)), **{name: np.asarray(value) for name, value in option.items()})
