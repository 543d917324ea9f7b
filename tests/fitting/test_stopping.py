"""fit says why it stopped, and never calls an estimate what is none."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxinfo import datasets
from jaxinfo.fitting import Reason, fit
from jaxinfo.fitting._stopping import Evidence, judge
from tests.fitting.problems import overlapping, regression


def quadratic(params: jax.Array, data: jax.Array) -> jax.Array:
    """One example for each row of `data`."""
    return jnp.sum((params[None, :] - data) ** 2, axis=-1) / 2


@pytest.mark.parametrize(
    "method", ["newton", *(pytest.param(m, marks=pytest.mark.slow) for m in ("newton_cg", "lbfgs"))]
)
@pytest.mark.parametrize("dtype", [jnp.float64, pytest.param(jnp.float32, marks=pytest.mark.slow)])
def test_iris_without_penalty_is_separated(method: str, dtype: type) -> None:
    data = datasets.classification("iris")
    problem = regression(datasets.standardise(data.features), data.labels, 0.0, dtype)
    result = fit(problem.loss, problem.params, problem.data, method=method)
    assert result.reason == Reason.SEPARATED
    assert -result.log_likelihood == pytest.approx(5.949273, abs=2e-5)


@pytest.mark.slow
def test_complete_separation_is_separated() -> None:
    data = datasets.classification("wine")
    problem = regression(datasets.standardise(data.features), data.labels, 0.0)
    assert fit(problem.loss, problem.params, problem.data).reason == Reason.SEPARATED


def test_a_faint_penalty_makes_a_maximum_again() -> None:
    data = datasets.classification("iris")
    problem = regression(datasets.standardise(data.features), data.labels, 1e-8)
    result = fit(problem.loss, problem.params, problem.data, penalty=problem.penalty)
    assert result.reason == Reason.CONVERGED
    assert result.gradient_norm < 1e-8


@pytest.mark.slow
def test_steps_run_out() -> None:
    problem = regression(*overlapping(), 0.0)
    for max_steps in (0, 1, 3):
        result = fit(problem.loss, problem.params, problem.data, max_steps=max_steps)
        assert result.reason == Reason.MAX_STEPS
        assert result.steps == max_steps
        assert len(result.history.objective) == max_steps + 1


@pytest.mark.slow
@pytest.mark.parametrize("method", ["newton", "newton_cg"])
@pytest.mark.parametrize("tolerance", [1e-2, 1e-6])
def test_a_loose_tolerance_tells_a_maximum_from_none_and_understates_nothing(method: str, tolerance: float) -> None:
    data = datasets.classification("wine")
    options = {"method": method, "tolerance": tolerance}
    problem = regression(datasets.standardise(data.features), data.labels, 1.0)
    loose = fit(problem.loss, problem.params, problem.data, penalty=problem.penalty, **options)
    assert loose.reason == Reason.CONVERGED
    assert loose.objective - 12.09033577 <= 1.1 * loose.decrement + 1e-8
    assert loose.decrement <= tolerance
    free = regression(datasets.standardise(data.features), data.labels, 0.0)
    assert fit(free.loss, free.params, free.data, **options).reason == Reason.SEPARATED


@pytest.mark.parametrize(
    ("decrement", "floor", "stalled", "reason"),
    [
        (5e-3, 0.0, False, Reason.RUNNING),
        (5e-3, 1e-2, False, Reason.SEPARATED),
        (5e-3, 0.0, True, Reason.SEPARATED),
        (1e-13, 0.0, False, Reason.SEPARATED),
        (5e-2, 0.0, True, Reason.DIVERGED),
    ],
)
def test_a_doubtful_point_is_left_to_further_steps(
    decrement: float, floor: float, stalled: bool, reason: Reason
) -> None:
    """One that is within the tolerance of 1e-2, whose decrement falls threefold and whose parameters grow."""
    numbers = map(jnp.asarray, (decrement, 3 * decrement, 0.1))
    evidence = Evidence(*numbers, stalled=jnp.asarray(stalled))
    assert int(judge(evidence, 1e-2, jnp.asarray(floor), doubt=1e-12)) == reason


@pytest.mark.parametrize(("stalled", "reason"), [(False, Reason.RUNNING), (True, Reason.CONVERGED)])
def test_a_decrement_that_falls_thirtyfold_is_not_that_of_a_flight(stalled: bool, reason: Reason) -> None:
    evidence = Evidence(*map(jnp.asarray, (1e-7, 3e-6, 0.1)), stalled=jnp.asarray(stalled))
    assert int(judge(evidence, 1e-6, jnp.asarray(0.0), doubt=1e-6)) == reason


@pytest.mark.slow
def test_tolerance_is_in_nats() -> None:
    problem = regression(*overlapping(), 0.0)
    best = fit(problem.loss, problem.params, problem.data)
    loose = fit(problem.loss, problem.params, problem.data, tolerance=0.1)
    assert loose.reason == Reason.CONVERGED
    assert loose.steps < best.steps
    assert 1e-9 < loose.objective - best.objective < 0.2


def test_a_start_at_the_optimum_stays_there() -> None:
    data = jnp.asarray(np.random.default_rng(0).normal(size=(9, 2)))
    for start in (jnp.mean(data, axis=0), jnp.zeros(2)):
        shifted = data - jnp.mean(data, axis=0)[None, :] + start[None, :]
        result = fit(quadratic, start, shifted)
        assert result.reason == Reason.CONVERGED
        np.testing.assert_allclose(result.params, start, atol=1e-15)


def test_the_floor_of_the_dtype_is_found() -> None:
    # the objective is about 1e9, so its rounding hides what is left to gain from a tolerance of 0
    data = jnp.asarray(np.random.default_rng(0).normal(size=(50, 3)), jnp.float32)

    def loss(params: jax.Array, data: jax.Array) -> jax.Array:
        return quadratic(params, data) ** 1.5 + 1e7

    result = fit(loss, jnp.ones(3, jnp.float32), data, tolerance=0.0)
    assert result.reason in (Reason.FLOAT_FLOOR, Reason.CONVERGED)
    assert result.steps < 20


def test_a_step_that_is_not_finite_never_replaces_the_best() -> None:
    def loss(params: jax.Array, data: jax.Array) -> jax.Array:  # nan beyond 1, and the steps lead there
        return jnp.where(params < 1, (params - 2) ** 2, jnp.nan) + 0 * data

    result = fit(loss, jnp.asarray(0.0), jnp.zeros(1), optimizer=optax.sgd(0.2))
    assert result.reason == Reason.NONFINITE
    assert 0 < float(result.params) < 1
    assert result.objective == pytest.approx((float(result.params) - 2) ** 2)
    newton = fit(loss, jnp.asarray(0.0), jnp.zeros(1), method="newton")
    assert newton.reason not in (Reason.CONVERGED, Reason.FLOAT_FLOOR)
    assert 0 < float(newton.params) < 1
    assert np.isfinite(newton.objective)


def test_a_start_that_is_not_finite_is_named() -> None:
    data = jnp.asarray([[np.nan, 1.0]])
    for method in ("newton", "newton_cg", "lbfgs"):
        result = fit(quadratic, jnp.zeros(2), data, method=method)
        assert result.reason == Reason.NONFINITE
        assert result.steps == 0
        np.testing.assert_array_equal(result.params, [0, 0])


def test_running_away_is_divergence() -> None:
    def unbounded(params: jax.Array, data: jax.Array) -> jax.Array:
        return -jnp.exp(params) + 0 * data

    assert fit(unbounded, jnp.asarray(0.5), jnp.zeros(1), method="newton").reason == Reason.DIVERGED
    data = jnp.ones((3, 2))
    assert fit(quadratic, jnp.zeros(2), data, optimizer=optax.sgd(3.0)).reason == Reason.DIVERGED


def test_a_wrong_gradient_is_no_estimate() -> None:
    @jax.custom_jvp
    def wrong(x: jax.Array) -> jax.Array:
        return x**2

    wrong.defjvp(lambda primals, tangents: (wrong(primals[0]), -2 * primals[0] * tangents[0]))
    result = fit(lambda p, data: wrong(p) + 0 * data, jnp.asarray(1.0), jnp.zeros(1), method="newton")
    assert result.reason == Reason.DIVERGED


def test_saddles_are_left() -> None:
    # a double well: the curvature at the start is negative
    def well(params: jax.Array, data: jax.Array) -> jax.Array:
        return (params**2 - 1) ** 2 + 0 * data

    for method in ("newton", "newton_cg"):
        result = fit(well, jnp.asarray(0.1), jnp.zeros(1), method=method)
        assert result.reason == Reason.CONVERGED
        assert float(result.params) == pytest.approx(1, abs=1e-6)


def test_reasons_have_names_and_sentences() -> None:
    for reason in Reason:
        assert str(reason) == reason.name
        assert len(reason.sentence) > 20


@pytest.mark.parametrize("weight", [1.0, 1e-6])
def test_small_weights_neither_make_nor_hide_a_separation(weight: float) -> None:
    random = np.random.default_rng(1)
    features = random.normal(size=(60, 3))
    logits = features @ random.normal(size=(3, 3))
    drawn = np.argmax(logits + random.gumbel(size=logits.shape), axis=1)
    for labels, reason in ((drawn, Reason.CONVERGED), (np.argmax(logits, axis=1), Reason.SEPARATED)):
        problem = regression(features, labels, 0.0, jnp.float32)
        result = fit(problem.loss, problem.params, problem.data, weights=jnp.full(60, weight, jnp.float32))
        assert result.reason == reason, labels
