"""What is easily overlooked: a gain along a direction nobody has met, a parameter that runs away beside long ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinfo
from jaxinfo.fitting import Reason, fit
from jaxinfo.fitting._stopping import rounding_floor

METHODS = ("newton", "newton_cg", "lbfgs")
SLOW = [pytest.param(method, marks=pytest.mark.slow) for method in METHODS[1:]]


def outcome(p: jax.Array, data: tuple) -> jax.Array:
    """NLL of a logistic regression."""
    return jaxinfo.sigmoid_cross_entropy(jnp.matmul(data[0], p), data[1])


def draw(rng: np.random.Generator, logits: np.ndarray) -> np.ndarray:
    return (rng.uniform(size=len(logits)) < 1 / (1 + np.exp(-logits))) * 1.0


def left_to_gain(spread: float, dtype: type, method: str) -> tuple[Reason, float]:
    """Fit two features that differ by `spread` times what matters; say why it stopped, and by how many nats too early.

    The optimum is that of the same model in the feature that matters itself.
    """
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 300))
    y = draw(rng, b)
    collinear = np.stack([np.ones(300), a, a + spread * b], axis=1).astype(dtype)
    plain = collinear.astype(float) @ np.array([[1, 0, 0], [0, 1, -1 / spread], [0, 0, 1 / spread]])
    best = fit(outcome, jnp.zeros(3), (jnp.asarray(plain), jnp.asarray(y)))
    found = fit(outcome, jnp.zeros(3, dtype), (jnp.asarray(collinear), jnp.asarray(y, dtype)), method=method)
    p = np.asarray(found.params, float)
    logits = plain @ np.array([p[0], p[1] + p[2], spread * p[2]])
    return found.reason, float(np.sum(np.logaddexp(0, logits) - y * logits)) - best.objective


@pytest.mark.parametrize("method", ["newton_cg", pytest.param("lbfgs", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("spread", "dtype", "close"),
    [
        (1e-2, jnp.float32, 1e-5),
        pytest.param(1e-7, jnp.float64, 1e-6, marks=pytest.mark.slow),
        pytest.param(1e-8, jnp.float64, 1e-5, marks=pytest.mark.slow),
        pytest.param(3e-4, jnp.float32, 1e-4, marks=pytest.mark.slow),
    ],
)
def test_collinear_features_hide_no_gain(spread: float, dtype: type, close: float, method: str) -> None:
    reason, left = left_to_gain(spread, dtype, method)
    assert left < close or not reason.found


@pytest.mark.parametrize("method", ["newton", pytest.param("newton_cg", marks=pytest.mark.slow)])
def test_a_parameter_that_runs_away_is_seen_beside_long_ones(method: str) -> None:
    rng = np.random.default_rng(0)
    year, rare = rng.integers(1990, 2020, 300) * 1.0, np.arange(300) < 10
    y = np.where(rare, 1.0, draw(rng, year - 2005))  # the rare group has one outcome only
    features = jnp.asarray(np.stack([np.ones(300), year, rare * 1.0], axis=1))
    result = fit(outcome, jnp.zeros(3), (features, jnp.asarray(y)), method=method)
    assert float(jnp.linalg.norm(result.params)) > 1000
    assert result.reason == Reason.SEPARATED
    assert abs(result.direction[2]) > 0.9


@pytest.mark.parametrize("unit", [1.0, 1e6, 1e-6])
def test_rounding_does_not_depend_on_units(unit: float) -> None:
    rng = np.random.default_rng(9)
    x = np.asarray(rng.normal(size=(400, 7)), np.float32)
    y = jnp.asarray(draw(rng, x @ rng.normal(size=7)), jnp.float32)
    result = fit(outcome, jnp.zeros(7, jnp.float32), (jnp.asarray(x * np.float32(unit)), y))

    def objective(p: jax.Array) -> jax.Array:
        return jnp.sum(outcome(p, (jnp.asarray(x * np.float32(unit)), y)))

    value, slope = jax.value_and_grad(objective)(result.params)
    step = jnp.asarray(np.full(7, 1e-3 / unit), jnp.float32)
    floor = rounding_floor(objective, result.params, value, slope, step, jnp.asarray(1e-4, jnp.float32))
    assert 1 <= float(floor) / (np.finfo(np.float32).eps * float(value)) < 50


def two_centres(centres: jax.Array, x: jax.Array) -> jax.Array:
    """NLL, but for a constant, of a mixture of two unit normals in equal parts."""
    return jnp.log(2.0) - jax.nn.logsumexp(-((x[:, None] - centres[None, :]) ** 2) / 2, axis=-1)


@pytest.mark.parametrize("method", ["newton", *SLOW])
def test_a_saddle_is_no_maximum(method: str) -> None:
    rng = np.random.default_rng(1)
    x = jnp.asarray(np.concatenate([rng.normal(-2, 1, 60), rng.normal(2, 1, 60)]))
    best = fit(two_centres, jnp.asarray([-1.0, 1.0]), x)
    result = fit(two_centres, jnp.asarray([0.3, 0.3 + 1e-3 * (method == "newton_cg")]), x, method=method, max_steps=200)
    assert not result.reason.found or result.objective == pytest.approx(best.objective, abs=1e-6)
    if method == "newton":
        assert result.reason == Reason.CONVERGED


def test_the_least_likely_point_is_left() -> None:
    result = fit(lambda p, d: jnp.cos(p) + 0 * d, jnp.zeros(()), jnp.zeros(1))
    assert result.reason == Reason.CONVERGED
    assert result.objective == pytest.approx(-1)


@pytest.mark.parametrize("method", ["newton", *SLOW])
@pytest.mark.parametrize("case", ["label", "infinite", "overflow", "element"])
def test_an_example_of_weight_0_counts_for_nothing_whatever_its_loss_is(case: str, method: str) -> None:
    def classes(p: jax.Array, labels: jax.Array) -> jax.Array:
        return jaxinfo.softmax_cross_entropy(jnp.broadcast_to(p, (*labels.shape, 2)), labels)

    counts, ones = jnp.asarray([1, 1, 0]), jnp.ones(())
    loss, start, data, weights, best = {
        "label": (classes, jnp.zeros(2), jnp.asarray([0, 1, -100]), counts, np.zeros(2)),
        "infinite": (lambda p, x: p - jnp.log(x * p), ones, jnp.asarray([1.0, 0.5, 0.0]), counts, 1.0),
        "overflow": (lambda p, x: jnp.exp(p * x) - p * x, ones / 2, jnp.asarray([1.0, 0.5, 1e4]), counts, 0.0),
        "element": (lambda p, x: (p - x) ** 2, ones, jnp.asarray([[1.0, 2], [3, jnp.nan]]), [[1.0, 1], [1, 0]], 2.0),
    }[case]
    result = fit(loss, start, data, weights=jnp.asarray(weights), method=method)
    assert result.reason == Reason.CONVERGED
    np.testing.assert_allclose(result.params, best, atol=1e-4)


def test_rows_that_others_look_at_stay_as_they_are() -> None:
    series, weights = jnp.arange(1.0, 7.0), jnp.asarray([0, 1, 1, 0, 1, 1.0])

    def after_another(p: jax.Array, x: jax.Array) -> jax.Array:
        return (x - p * jnp.concatenate([jnp.ones(1), x[:-1]])) ** 2 / 2

    before = np.array([1, 1, 2, 3, 4, 5.0])
    best = np.sum(weights * before * series) / np.sum(weights * before**2)
    assert float(fit(after_another, jnp.zeros(()), series, weights=weights).params) == pytest.approx(best)


def square(p: jax.Array, x: jax.Array) -> jax.Array:
    return (p - x) ** 2 / 2


@pytest.mark.parametrize("options", [{}, pytest.param({"batch_size": 2}, marks=pytest.mark.slow)])
def test_validation_that_is_never_finite_is_told(options: dict) -> None:
    result = fit(square, jnp.zeros(()), jnp.arange(3.0), validation=jnp.asarray([1.0, jnp.nan]), **options)
    assert result.reason == Reason.NONFINITE or (result.reason.found and not options)
    assert np.isfinite(result.objective)
    slow = fit(square, jnp.zeros(()), jnp.arange(3.0), validation=jnp.asarray([jnp.nan]), method="lbfgs", tolerance=0.0)
    assert slow.reason != Reason.EARLY_STOPPED


@pytest.mark.parametrize("method", ["newton", *SLOW])
def test_debugging_nans_finds_none(method: str) -> None:
    with jax.debug_nans(True):
        assert fit(square, jnp.zeros(()), jnp.arange(3.0), method=method).reason == Reason.CONVERGED
