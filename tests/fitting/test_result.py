"""What a result says: errors against their formulas, the table, the dictionary, the picture."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import jaxinfo
from jaxinfo.fitting import FitResult, Progress, Reason, fit
from tests.fitting.problems import overlapping, regression

EPS = np.finfo(np.float64).eps


@pytest.fixture(scope="module")
def logit() -> tuple[FitResult, np.ndarray, np.ndarray]:
    """Logistic regression with weights."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(80, 2)), np.ones((80, 1))], axis=1)
    y = (rng.uniform(size=80) < 1 / (1 + np.exp(-x[:, 0]))).astype(float)
    w = rng.integers(1, 4, 80).astype(float)

    def loss(params: jax.Array, data: tuple) -> jax.Array:
        return jaxinfo.sigmoid_cross_entropy(jnp.matmul(data[0], params), data[1])

    data = (jnp.asarray(x), jnp.asarray(y))
    result = fit(loss, jnp.zeros(3), data, weights=jnp.asarray(w))
    p = 1 / (1 + np.exp(-x @ np.asarray(result.params)))
    hessian = (x * (w * p * (1 - p))[:, None]).T @ x
    scores = x * (p - y)[:, None]
    return result, hessian, (scores * w[:, None]).T @ scores


def test_covariances_are_their_formulas(logit: tuple) -> None:
    result, hessian, outer = logit
    inverse = np.linalg.inv(hessian)
    for kind, wanted in (
        ("observed", inverse),
        ("outer", np.linalg.inv(outer)),
        ("sandwich", inverse @ outer @ inverse),
    ):
        np.testing.assert_allclose(result.covariance(kind), wanted, rtol=0, atol=1e3 * EPS * np.abs(wanted).max())
        errors = np.sqrt(np.diagonal(wanted))
        np.testing.assert_allclose(result.errors(kind), errors, rtol=1e3 * EPS)
        for i in range(3):
            value, error = result.contrast(jnp.eye(3)[i], kind)
            assert value == pytest.approx(float(result.params[i]), rel=4 * EPS)
            assert error == pytest.approx(errors[i], rel=1e4 * EPS)
    low, high = result.confidence_intervals(0.9)
    np.testing.assert_allclose(high - low, 2 * 1.6448536269514722 * np.sqrt(np.diagonal(inverse)), rtol=1e3 * EPS)
    ratio, error = result.contrast(lambda p: p[0] / p[1])
    b = np.asarray(result.params)
    slope = np.array([1 / b[1], -b[0] / b[1] ** 2, 0])
    assert ratio == pytest.approx(b[0] / b[1], rel=8 * EPS)
    assert error == pytest.approx(np.sqrt(slope @ inverse @ slope), rel=1e4 * EPS)


def test_information_criteria(logit: tuple) -> None:
    result, hessian, _ = logit
    assert result.aic == pytest.approx(6 - 2 * result.log_likelihood, rel=4 * EPS)
    assert result.bic == pytest.approx(3 * math.log(result.observations) - 2 * result.log_likelihood, rel=4 * EPS)
    assert result.bits == pytest.approx(result.cross_entropy / math.log(2), rel=4 * EPS)
    assert result.perplexity == pytest.approx(math.exp(result.cross_entropy), rel=4 * EPS)
    scale = 1 / np.sqrt(np.diagonal(hessian))
    assert result.condition_number == pytest.approx(
        np.linalg.cond(hessian * scale[:, None] * scale[None, :]), rel=1e4 * EPS
    )
    assert not result.singular


@pytest.mark.slow
def test_a_free_shift_leaves_the_moore_penrose_inverse() -> None:
    x, y = overlapping()
    problem = regression(x * np.array([1e-3, 1.0, 1e3]), y, 0.0)
    result = fit(problem.loss, problem.params, problem.data)
    assert result.singular
    assert result.parameters == 8
    flat, unravel = ravel_pytree(result.params)
    hessian = np.asarray(jax.hessian(lambda p: jnp.sum(problem.loss(unravel(p), problem.data)))(flat))
    got = result.covariance()
    # the four equations of Penrose, each in the units of its own rows and columns
    size = np.sqrt(np.abs(np.diagonal(hessian)))
    units = size[:, None] * size[None, :]
    assert np.abs((hessian @ got @ hessian - hessian) / units).max() < 1e5 * EPS
    product = got @ hessian
    assert np.abs(product - product.T).max() < 1e-6
    assert "The information is singular: 4 directions" in result.summary()
    restricted = fit(
        lambda w, d: jaxinfo.softmax_cross_entropy(
            jnp.concatenate([jnp.zeros((60, 1)), jnp.matmul(d[0], w)], axis=1), d[1]
        ),
        jnp.zeros((4, 2)),
        (jnp.concatenate([problem.data[0], jnp.ones((60, 1))], axis=1), problem.data[1]),
    )
    assert result.aic == pytest.approx(restricted.aic, rel=1e-12)
    difference = {"w": jnp.zeros((3, 3)).at[0, 1].set(1.0).at[0, 0].set(-1.0), "b": jnp.zeros(3)}
    assert result.contrast(difference)[1] == pytest.approx(float(restricted.standard_errors[0, 0]), rel=1e-6)
    alone = {"w": jnp.zeros((3, 3)).at[0, 1].set(1.0), "b": jnp.zeros(3)}
    assert math.isnan(result.contrast(alone)[1])


@pytest.mark.slow
def test_entropy_and_divergence_of_outcomes() -> None:
    labels = jnp.asarray([0, 0, 1, 2, 2, 2])

    def loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
        return jaxinfo.softmax_cross_entropy(jnp.broadcast_to(logits[None, :], (6, 3)), labels)

    result = fit(loss, jnp.zeros(3), labels)
    p = np.array([2, 1, 3]) / 6
    assert result.entropy == pytest.approx(-(p * np.log(p)).sum(), rel=4 * EPS)
    assert result.kl == pytest.approx(0.0, abs=8 * EPS)
    problem = regression(*overlapping(), 0.1)
    assert fit(problem.loss, problem.params, problem.data).kl is None


def test_summary_has_statsmodels_layout(logit: tuple) -> None:
    lines = logit[0].summary().splitlines()
    assert max(map(len, lines[:-1])) <= 80
    for word in ("No. Observations:", "Log-Likelihood:", "AIC:", "BIC:", "Covariance Type:", "CONVERGED"):
        assert any(word in line for line in lines)
    header = next(line for line in lines if "coef" in line)
    assert header.split() == ["coef", "std", "err", "z", "P>|z|", "[0.025", "0.975]"]
    row = next(line for line in lines if line.startswith("params[0]")).split()
    assert float(row[1]) == pytest.approx(float(logit[0].params[0]), abs=5e-5)
    assert float(row[2]) == pytest.approx(float(logit[0].standard_errors[0]), abs=5e-5)


def test_dictionary_is_json(logit: tuple) -> None:
    figures = json.loads(json.dumps(logit[0].to_dict(), allow_nan=False))
    assert figures["reason"] == "CONVERGED"
    assert figures["params"] == [float(x) for x in logit[0].params]
    assert len(figures["history"]["objective"]) == logit[0].steps + 1


def test_plot_has_three_curves(logit: tuple) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'jaxinfo[plot]'")
    (axes,) = logit[0].plot().axes
    assert len(axes.lines) == 3


@pytest.mark.slow
def test_many_parameters_answer_contrasts_only() -> None:
    counts = np.random.default_rng(0).integers(1, 9, 2_500).astype(float)

    def loss(logits: jax.Array, targets: jax.Array) -> jax.Array:
        return jaxinfo.softmax_cross_entropy(logits[None, :], targets)

    p = counts / counts.sum()
    total = jnp.asarray([counts.sum()])
    result = fit(loss, jnp.zeros(2_500), jnp.asarray(p)[None, :], weights=total)
    assert result.reason in (Reason.CONVERGED, Reason.FLOAT_FLOOR)
    _, error = result.contrast(jnp.zeros(2_500).at[0].set(1.0).at[1].set(-1.0))
    assert error == pytest.approx(math.sqrt(1 / counts[0] + 1 / counts[1]), rel=1e-6)
    with pytest.raises(ValueError, match="A covariance matrix is formed for up to 2,000 parameters, got 2,500"):
        result.covariance()
    assert "ask for the `contrast`" in result.summary()


@pytest.mark.usefixtures("own_errors")
def test_wrong_questions_are_named(logit: tuple) -> None:
    with pytest.raises(ValueError, match="`kind` must be one of 'observed', 'outer' or 'sandwich', got 'hc3'"):
        logit[0].errors("hc3")
    with pytest.raises(ValueError, match="`level` must be a number between 0 and 1, got 95"):
        logit[0].confidence_intervals(95)
    with pytest.raises(ValueError, match="`of` must be a function, or have the leaves' shapes"):
        logit[0].contrast(jnp.zeros(2))
    with pytest.raises(ValueError, match=r"`of` must return one number, got \(3,\)."):
        logit[0].contrast(lambda p: 2 * p)
    with pytest.raises(TypeError, match="`level` must be a number between 0 and 1, got '95'"):
        logit[0].confidence_intervals("95")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("width", [2, 4])
def test_restarts_side_by_side_run_every_start(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jaxinfo.fitting._host.lane_count", lambda runner: width)
    result = fit(lambda p, x: (p - x) ** 2 / 2, 0.0, jnp.arange(3.0), restarts=9)
    assert sorted(ending.number for ending in result.restarts) == list(range(9))


@pytest.mark.parametrize("width", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_every_step_of_every_restart_is_told(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jaxinfo.fitting._host.lane_count", lambda runner: width)
    seen: list[Progress] = []
    result = fit(lambda p, x: jnp.exp(p) - p * x, 0.0, jnp.arange(3.0), restarts=3, progress=seen.append)
    assert len(seen) == sum(entry.steps + 1 for entry in result.restarts)
    assert [step.step for step in seen].count(0) == 3
