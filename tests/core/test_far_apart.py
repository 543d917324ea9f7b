"""Divergences whose log ratios leave what exp can hold: value and slopes against mpmath, both Hessians alike."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinfo import f_divergence, js_divergence, kl_divergence, linear_js_divergence, renyi_divergence

from . import test_f_divergence, test_js, test_renyi
from .oracle import mp
from .pairs import assert_modes, oracle
from .tolerance import assert_close, assert_normwise

inf = float("inf")
PLAIN = [0.25, -1.5, 2.0, 0.125]
ROWS: dict[str, tuple[list[float], list[float]]] = {
    "q certain": (PLAIN, [1.0, 100.0, -0.5, 0.625]),
    "p certain": ([1.0, 0.25, -200.0, -0.5], PLAIN),
    "q certain of what p lacks": ([0.25, -inf, 2.0, 0.125], [1.0, 300.0, -0.5, 0.625]),
    "q holds next to nothing of p": ([-inf, -inf, -inf, -280.0], [3e38, 0.25, 0.125, -1.0]),
    "each certain of another": ([1e4, 0.0, 0.0, 0.0], [0.0, 0.0, 1e4, 0.0]),
}
EPS = float(jnp.finfo(jnp.float32).eps)


def linear_js(p: jax.Array, q: jax.Array) -> jax.Array:
    """Return the fused divergence of two heads whose logits are their biases."""
    hidden, kernel = jnp.zeros((1, 1), jnp.float32), jnp.zeros((1, 4), jnp.float32)
    return linear_js_divergence(hidden, kernel, hidden, kernel, p_bias=p, q_bias=q, differentiation="any")[0]


BOUNDED = {
    "js": (js_divergence, test_js.formula(0.5)),
    "linear js": (linear_js, test_js.formula(0.5)),
    "hellinger": (partial(f_divergence, generator="hellinger"), test_f_divergence.formula("hellinger")),
    "triangular": (partial(f_divergence, generator="triangular"), test_f_divergence.formula("triangular")),
}


def modes(f: Callable[..., jax.Array]) -> tuple[np.ndarray, ...]:
    """Return value, both gradients and both Hessians of f(p, q) for each row."""

    def of_row(x: jax.Array) -> tuple[jax.Array, ...]:
        g = lambda x: f(x[:4], x[4:])  # noqa: E731
        return g(x), jax.grad(g)(x), jax.jacfwd(g)(x), jax.jacfwd(jax.grad(g))(x), jax.jacrev(jax.jacfwd(g))(x)

    rows = jnp.asarray([p + q for p, q in ROWS.values()], jnp.float32)
    return tuple(map(np.asarray, jax.jit(jax.vmap(of_row))(rows)))


@pytest.mark.parametrize("name", BOUNDED)
def test_bounded_divergences(name: str) -> None:
    f, formula = BOUNDED[name]
    out = modes(f)
    for n, (what, row) in enumerate(ROWS.items()):
        truth = oracle(formula, *(np.asarray(x, np.float32) for x in row))
        assert_modes(tuple(part[n] for part in out[:4]), truth, f"{name}, {what}")
        np.testing.assert_allclose(out[4][n], out[3][n], rtol=64 * EPS, atol=64 * EPS, err_msg=f"{name}, {what}")


APART: dict[str, tuple[list[float], list[float]]] = {
    "nothing in common": ([0.25, -1.0, -inf, -inf], [-inf, -inf, 2.0, 0.5]),
    "a trace in common": ([0.5, 1.0, -20.0, -inf], [-inf, -inf, 0.5, 2.0]),
    "of what both have, q has next to all": ([3.0, -inf, -80.0, -inf], [-inf, -30.0, 1.0, -20.0]),
    "two traces": ([4.0, -inf, -14.0, -15.0], [-inf, 3.0, -17.0, -13.0]),
    "each hardly has what the other has": ([21.0, 0.5, -2.0, -1.5], [-1.0, 0.25, -1.5, 22.0]),
}


@pytest.mark.parametrize("name", [name for name in BOUNDED if "linear" not in name])
def test_slopes_of_supports_that_hardly_meet(name: str) -> None:
    """The slope is far below eps: its level is that of the classes which only one of the two has."""
    f, formula = BOUNDED[name]
    for what, row in APART.items():
        a, b = (np.asarray(x, np.float32) for x in row)
        truth = oracle(formula, a, b)
        for got, want in zip(jax.grad(f, (0, 1))(a, b), truth[1:3], strict=True):
            assert_normwise(got, want, 32, dtype=jnp.float32, what=f"{name}, {what}")


def test_slopes_of_a_chi2_divergence_of_many_powers_of_ten() -> None:
    a = np.asarray([50.0, 0.5, 1.0, -2.0], np.float32)
    for gap in (-20.0, 20.0, 45.0, 80.0):
        b = np.asarray([-1.0, gap + 1.0, 0.5, gap], np.float32)
        truth = oracle(test_f_divergence.formula("chi2"), a, b)
        value, slopes = jax.value_and_grad(f_divergence, (0, 1))(jnp.asarray(a), jnp.asarray(b), "chi2")
        assert_close(value, [truth.value], lambda _: 16, dtype=jnp.float32, what=f"{gap}, value")
        for got, want in zip(slopes, truth[1:3], strict=True):
            assert_normwise(got, want, 128, dtype=jnp.float32, what=f"{gap}, slope")


@pytest.mark.parametrize("order", [0.25, 0.5, 2.0])
def test_renyi_where_probabilities_underflow(order: float) -> None:
    rows = [
        ([33.0, 267.0], [9881.0, 6737.0]),
        ([-70.75, -88.0, -107.75], [158.75, 70.75, -117.25]),
        ([953.5, -1332.25, 2907.25, -1599.75], [-798.5, 891.25, 43.75, -203.75]),
    ]
    for row in rows:
        a, b = (np.asarray(x, np.float32) for x in row)
        truth = oracle(test_renyi.formula(order), a, b)
        slopes = jax.grad(renyi_divergence, (0, 1))(jnp.asarray(a), jnp.asarray(b), order)
        for got, want in zip(slopes, truth[1:3], strict=True):
            assert_normwise(got, want, 32, dtype=jnp.float32, what=f"{row}")


def test_renyi_of_the_largest_logits_in_every_mode() -> None:
    x = jnp.asarray([-2.0, -0.5, -1.75, 3e38, -inf, -0.5, 2.5, 1.0], jnp.float32)
    f = lambda x: renyi_divergence(x[:4], x[4:], 0.5)  # noqa: E731
    with jax.debug_nans(True):
        bends = [outer(inner(f))(x) for outer in (jax.jacfwd, jax.jacrev) for inner in (jax.jacfwd, jax.jacrev)]
    for bend in bends:
        np.testing.assert_allclose(bend, bends[0], rtol=64 * EPS, atol=64 * EPS)
    assert np.abs(bends[0]).max() > 0.1


def test_points_apart() -> None:
    """Where p has its mass q has none, and p less than a float holds where q has all of it."""
    p, q = jnp.asarray([-3.0, 3e4, -33.0, -183.0]), jnp.asarray([inf, 0.0, 0.0, 0.0])
    value, (to_p, to_q) = jax.value_and_grad(kl_divergence, (0, 1))(p, q)
    assert value == inf
    np.testing.assert_array_equal(to_p, 0)
    np.testing.assert_array_equal(to_q, [1, -1, 0, 0])


def test_one_logit_far_below_distributions_that_are_close() -> None:
    a = np.asarray([1.0, 0.75, 1.25, -1.0], np.float32)
    b = np.asarray([0.875, -3e38, 1.125, -0.75], np.float32)
    truth = oracle(lambda p, q: mp.fsum(x * mp.log(x / y) for x, y in zip(p, q, strict=True)), a, b)
    value, slopes = jax.value_and_grad(kl_divergence, (0, 1))(jnp.asarray(a), jnp.asarray(b))
    assert_close(value, [truth.value], lambda _: 16, dtype=jnp.float32, what="value")
    for got, want in zip(slopes, truth[1:3], strict=True):
        assert_normwise(got, want, 32, dtype=jnp.float32, what="slope")


@pytest.mark.parametrize("f", [partial(f_divergence, generator="chi2"), kl_divergence], ids=["chi2", "kl"])
def test_divergences_without_a_bound(f: Callable[..., jax.Array]) -> None:
    value, reverse, forward, bend, other = modes(f)
    assert not np.isnan(value).any()
    np.testing.assert_allclose(forward, reverse, rtol=64 * EPS, atol=64 * EPS)
    # log ratios are rounded, and the Hessian is of their mean
    size = np.abs(bend).max(axis=(1, 2)) + np.minimum(value, 1e3)
    assert (np.abs(other - bend) <= 64 * EPS * size[:, None, None]).all()
