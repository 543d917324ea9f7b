"""Minibatches use all rows, count each once a pass, and come to the estimate of all data."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxinfo
from jaxinfo.fitting import Options, Reason, fit
from jaxinfo.fitting._problem import as_inputs, make_problem
from jaxinfo.fitting._state import start
from jaxinfo.fitting._stochastic import _batch_objective, _plateau, _shuffle
from tests.fitting.problems import overlapping, regression

EPS = np.finfo(np.float64).eps


def counting(params: jax.Array, data: tuple) -> jax.Array:
    """NLL of a normal mean; a row of nan is one that must not count."""
    return (params - data[0]) ** 2 / 2


@pytest.mark.slow
def test_the_batches_of_a_pass_add_up_to_all_data() -> None:
    x, y = overlapping(n=50)
    problem = regression(x, y, 0.3)
    weights = jnp.asarray(np.random.default_rng(1).uniform(size=50))
    options = Options(penalty=problem.penalty, batch_size=16)
    inputs = as_inputs(problem.params, problem.data, weights, None, None)
    whole = make_problem(problem.loss, problem.params, inputs, options)
    assert whole.batches == 4
    order = _shuffle(whole, jnp.asarray(0))
    assert sorted(np.asarray(order).ravel()[np.asarray(order).ravel() < 50]) == list(range(50))
    at = jax.tree.map(lambda leaf: leaf + 0.1, problem.params)
    gradients = [jax.grad(lambda p, b=batch: _batch_objective(whole, b)(p)[0])(at) for batch in order]
    mean = jax.tree.map(lambda *g: sum(g) / 4, *gradients)
    exact = jax.grad(lambda p: whole.objective(p)[0])(at)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e3 * EPS), mean, exact)
    assert start(whole, problem.params).epoch is not None


@pytest.mark.slow
def test_it_comes_to_the_estimate_within_its_tolerance() -> None:
    x, y = overlapping(n=200)
    problem = regression(x, y, 1.0)
    best = fit(problem.loss, problem.params, problem.data, penalty=problem.penalty)
    options = {"optimizer": optax.sgd(0.5), "batch_size": 64, "max_steps": 4000}
    result = fit(problem.loss, problem.params, problem.data, penalty=problem.penalty, **options)
    assert result.reason == Reason.CONVERGED
    assert result.method == "minibatch"
    assert result.decrement <= 0.01
    assert 0 <= result.objective - best.objective <= 0.02
    again = fit(problem.loss, problem.params, problem.data, penalty=problem.penalty, **options)
    jax.tree.map(np.testing.assert_array_equal, again.params, result.params)


def test_masked_rows_may_hold_nan_and_padding_is_no_row() -> None:
    data = jnp.asarray([1.0, 2.0, jnp.nan, 3.0, 4.0])
    mask = ~jnp.isnan(data)
    options = {"optimizer": optax.sgd(0.5), "batch_size": 2, "max_steps": 300}
    result = fit(counting, jnp.zeros(()), (data,), weights=mask, **options)
    assert np.isfinite(result.history.objective[:-1]).all()
    assert float(result.params) == pytest.approx(2.5, abs=0.1)
    assert result.observations == 4
    assert fit(counting, jnp.zeros(()), (data,), weights=mask).params == pytest.approx(2.5, rel=4 * EPS)


@pytest.mark.slow
def test_validation_stops_early_at_the_best_point() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 8)), rng.integers(0, 2, 40)
    problem = regression(x[:20], y[:20], 0.0)
    held_out = (jnp.asarray(x[20:]), jnp.asarray(y[20:]))
    for options in ({"batch_size": 8}, {}):
        result = fit(
            problem.loss,
            problem.params,
            problem.data,
            optimizer=optax.adam(0.1),
            validation=held_out,
            patience=3,
            **options,
        )
        assert result.reason == Reason.EARLY_STOPPED
        loss = float(jaxinfo.mean(problem.loss(result.params, held_out)))
        assert result.validation_loss == pytest.approx(loss, rel=16 * EPS)


def test_a_maximum_that_validates_best_is_converged() -> None:
    x, y = overlapping()
    problem = regression(x, y, 0.5)
    result = fit(problem.loss, problem.params, problem.data, validation=problem.data)
    assert result.reason == Reason.CONVERGED


def test_a_plateau_is_told_from_a_slow_descent() -> None:
    problem = regression(*overlapping(), 0.0)
    inputs = as_inputs(problem.params, problem.data, None, None, None)
    epoch = start(make_problem(problem.loss, problem.params, inputs, Options(batch_size=8)), problem.params).epoch
    assert epoch is not None
    level = epoch._replace(mean=jnp.asarray([10.0, 9.9]), spread=jnp.asarray([0.3, 0.3]))
    falling = epoch._replace(mean=jnp.asarray([10.0, 8.0]), spread=jnp.asarray([0.3, 0.3]))
    assert bool(_plateau(level))
    assert not bool(_plateau(falling))


def test_auto_chooses_by_size() -> None:
    from jaxinfo.fitting._methods import choose_method

    def chosen(parameters: int, examples: int) -> str:
        params = jax.ShapeDtypeStruct((parameters,), jnp.float32)
        return choose_method("auto", None, None, params, examples).name

    assert [chosen(*size) for size in ((100, 10**7), (5_000, 10**7), (2 * 10**6, 10**5))] == [
        "newton",
        "newton_cg",
        "lbfgs",
    ]


@pytest.mark.usefixtures("own_errors")
def test_wrong_options_are_named() -> None:
    problem = regression(*overlapping(), 0.0)
    for options, message in (
        ({"batch_size": 0}, "`batch_size` must be an integer of at least 1, got 0."),
        ({"batch_size": 8, "method": "newton"}, "`method` must be 'auto' or 'minibatch' where `batch_size` is given"),
        ({"patience": 2}, "`patience` must come with `validation`"),
        ({"restarts": 0}, "`restarts` must be an integer of at least 1, got 0."),
    ):
        with pytest.raises(ValueError, match=message):
            fit(problem.loss, problem.params, problem.data, **options)
    with pytest.raises(ValueError, match="`data` must have one row per example in every leaf to be batched"):
        fit(lambda p, d: problem.loss(p, d[0]), problem.params, (problem.data, jnp.ones(3)), batch_size=8)


@pytest.mark.usefixtures("own_errors")
@pytest.mark.parametrize("count", [1, 3, 200])
@pytest.mark.parametrize("batch_size", [None, 2])
def test_weights_of_another_length_are_refused(count: int, batch_size: int | None) -> None:
    with pytest.raises(ValueError, match=rf"`weights` must have shape \(6,\), .* got \({count},\)"):
        fit(lambda p, x: (p - x) ** 2 / 2, 0.0, jnp.arange(6.0), weights=jnp.ones(count), batch_size=batch_size)


@pytest.mark.usefixtures("own_errors")
@pytest.mark.parametrize(
    "option", [{"max_steps": 2.5}, {"max_steps": float("inf")}, {"batch_size": 2.5}, {"restarts": 1.5}]
)
def test_counts_are_integers(option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"`{next(iter(option))}` must be an integer of at least"):
        fit(lambda p, x: (p - x) ** 2 / 2, 0.0, jnp.arange(6.0), **option)
