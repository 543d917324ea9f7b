"""kl_estimate against mpmath, and its mean over samples against KL."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinfo import kl_divergence
from jaxinfo._f_divergence import kl_estimate

from .oracle import mp
from .tolerance import FLOATS, assert_close, floats

RATIOS = [0.0, 1e-12, -1e-12, 1e-4, -1e-4, 0.3, -0.3, 0.99, 1.01, -0.99, -1.01, 5.0, -5.0, 80.0, -80.0, -1e4]
TRUTH: dict[str, Any] = {
    "k1": (lambda r: -r, lambda r: mp.mpf(-1), lambda r: mp.mpf(0)),
    "k2": (lambda r: r * r / 2, lambda r: r, lambda r: mp.mpf(1)),
    "k3": (lambda r: mp.expm1(r) - r, mp.expm1, mp.exp),
}


@FLOATS
@pytest.mark.parametrize("name", TRUTH)
def test_value_and_both_derivatives(dtype: Any, name: str) -> None:
    r = jnp.asarray(RATIOS, dtype)
    f = partial(kl_estimate, estimator=name)
    tangent = jnp.ones_like(r)
    value, slope = jax.jit(lambda r: jax.jvp(f, (r,), (tangent,)))(r)
    reverse = jax.jit(jax.vmap(jax.grad(f)))(r)
    bend = jax.jit(jax.vmap(jax.grad(jax.grad(f))))(r)
    for out, truth in zip((value, slope, reverse, bend), (*TRUTH[name][:2], *TRUTH[name][1:]), strict=True):
        assert_close(out, [truth(mp.mpf(x)) for x in floats(r)], lambda _: 8, dtype=dtype, what=name)
    np.testing.assert_allclose(value, f(r), rtol=4 * float(jnp.finfo(dtype).eps))


@FLOATS
def test_k3_is_never_negative_and_limits_hold(dtype: Any) -> None:
    r = jnp.asarray(np.random.default_rng(0).normal(size=10000) * 10.0 ** np.linspace(-9, 1, 10000), dtype)
    assert (jax.jit(partial(kl_estimate, estimator="k3"))(r) >= 0).all()
    with jax.debug_nans(True):
        for name in TRUTH:
            assert kl_estimate(jnp.asarray(-jnp.inf, dtype), estimator=name) == jnp.inf
    assert jax.grad(partial(kl_estimate, estimator="k3"))(jnp.asarray(-jnp.inf, dtype)) == -1
    assert np.isnan(kl_estimate(jnp.asarray(jnp.nan, dtype), estimator="k3"))


def test_means_are_kl() -> None:
    rng = np.random.default_rng(0)
    a, b = (jnp.asarray(rng.normal(size=8) * 0.3) for _ in range(2))
    x = rng.choice(8, p=np.asarray(jax.nn.softmax(a)), size=200_000)
    r = (jax.nn.log_softmax(b) - jax.nn.log_softmax(a))[x]
    truth = float(kl_divergence(a, b))
    for name in ("k1", "k3"):
        samples = np.asarray(kl_estimate(r, estimator=name))
        assert abs(samples.mean() - truth) < 4 * samples.std() / np.sqrt(len(x)), name
    assert np.asarray(kl_estimate(r, estimator="k3")).std() < np.asarray(kl_estimate(r)).std()


def test_dtypes() -> None:
    half = jnp.asarray([0.5, 1.0], jnp.bfloat16)
    assert jax.eval_shape(kl_estimate, half).dtype == jnp.float32
    assert jax.eval_shape(jax.grad(lambda r: kl_estimate(r, estimator="k3").sum()), half).dtype == jnp.bfloat16


@pytest.mark.usefixtures("own_errors")
def test_errors() -> None:
    with pytest.raises(ValueError, match="`estimator` must be one of k1, k2, k3, got 'k4'"):
        kl_estimate(jnp.zeros(3), estimator="k4")
    with pytest.raises(TypeError, match="`log_ratio` must have a floating dtype, got int"):
        kl_estimate(jnp.arange(3))


def test_mean_gradients_are_those_the_docstring_names() -> None:
    a, b = jnp.asarray(np.random.default_rng(1).normal(size=(2, 8)))

    def mean(a: jax.Array, b: jax.Array, name: str) -> jax.Array:
        samples = kl_estimate(jax.nn.log_softmax(b) - jax.nn.log_softmax(a), estimator=name)
        return jnp.vdot(jax.lax.stop_gradient(jax.nn.softmax(a)), samples)

    to_p, to_q = jax.grad(kl_divergence, (0, 1))(a, b)
    backward = jax.grad(kl_divergence, 1)(b, a)
    close = partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-14)
    means = {name: jax.grad(mean, (0, 1))(a, b, name) for name in TRUTH}
    close(means["k1"][0], 0)
    close(means["k1"][1], to_q)
    close(means["k2"][0], to_p)
    close(means["k3"][0], backward)
    close(means["k3"][1], to_q)
