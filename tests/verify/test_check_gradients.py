"""Verdicts: a wrong gradient is wrong and its element named, a right one right, a kink a kink."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinfo.verify import GradientReport, Verdict, check_gradients

X = jnp.asarray(np.random.default_rng(0).normal(size=(4, 10)), jnp.float32)


def with_rule(value: Callable[..., Any], gradient: Callable[..., Any]) -> Callable[..., Any]:
    """Return `value` with `gradient(x, cotangent)` as its reverse rule."""
    wrapped = jax.custom_vjp(value)
    wrapped.defvjp(lambda x: (value(x), x), lambda x, c: (gradient(x, c),))
    return wrapped


def loss(x: jax.Array) -> jax.Array:
    return jnp.mean(jax.nn.logsumexp(x, axis=-1) - x[:, 3])


def pull(x: jax.Array, c: jax.Array) -> jax.Array:
    return jax.vjp(loss, x)[1](c)[0]


def test_a_right_rule_is_right() -> None:
    report = check_gradients(with_rule(loss, pull), X)
    assert report.verdict is Verdict.CORRECT, str(report)
    assert report.smallest_detectable < 1e-9
    assert any(row.status == "not available" for row in report.table)


@pytest.mark.parametrize("factor", [0.0, -1.0, 1.0001, 1 + 1e-5])
def test_one_wrong_element_is_named(factor: float) -> None:
    report = check_gradients(with_rule(loss, lambda x, c: pull(x, c).at[2, 7].multiply(factor)), X, order=1)
    assert report.verdict is Verdict.WRONG
    assert report.worst is not None
    assert (report.worst.path, report.worst.index) == ("args[0]", (2, 7))
    true = float(jax.grad(loss)(X.astype(jnp.float64))[2, 7])
    assert abs(report.worst.reference - true) <= 8 * report.worst.error_bar
    assert report.worst.input == float(X[2, 7])


def test_settings_are_left_as_they_were(as_user: None) -> None:
    check_gradients(jnp.sin, X[0], order=1)
    assert jnp.asarray(1.0).dtype == jnp.float32
    with jax.numpy_dtype_promotion("strict"):
        check_gradients(jnp.sin, X[0], order=1)
        with pytest.raises(ValueError, match="promotion"):
            _ = jnp.ones(1, jnp.bfloat16) + X[0]


def test_kinks_beside_the_point_are_none_and_at_it_are() -> None:
    assert check_gradients(jax.nn.relu, X.at[0, 0].set(1e-6)).verdict is Verdict.CORRECT
    report = check_gradients(jax.nn.relu, X.at[0, 0].set(0.0))
    assert report.verdict is Verdict.NOT_DIFFERENTIABLE


def test_undecidable_says_why() -> None:
    report: GradientReport = check_gradients(lambda n: n + 1, jnp.arange(3))
    assert report.verdict is Verdict.UNDECIDABLE
    assert "floating" in report.reason


@pytest.mark.parametrize(("dtype", "verdict"), [(jnp.float32, Verdict.CORRECT), (jnp.float64, Verdict.WRONG)])
def test_a_constant_of_eight_digits_is_right_in_float32(dtype: type, verdict: Verdict) -> None:
    f = jax.custom_jvp(lambda x: jnp.sin(x) * jnp.asarray(np.sqrt(2 / np.pi), x.dtype))
    f.defjvps(lambda t, out, x: t * jnp.cos(x) * 0.79788456)
    assert check_gradients(f, X[0].astype(dtype), order=1).verdict is verdict


def test_a_function_that_reads_one_triangle() -> None:
    a = X[:, :4]
    report = check_gradients(
        lambda a: jax.scipy.linalg.cho_factor(a)[0].diagonal(), a @ a.T + jnp.eye(4, dtype=a.dtype), order=1
    )
    assert report.verdict is Verdict.CORRECT, str(report)
    if jax.__version_info__ < (0, 12):  # later ones take the symmetric part themselves
        assert any("triangle" in note for note in report.notes)


def test_values_on_a_coarse_grid_are_noise() -> None:
    def f(x: jax.Array) -> jax.Array:  # a difference of large numbers: its values are multiples of 2^-48
        return jnp.log(jnp.sum(jnp.exp(x))) - x[0]

    report = check_gradients(f, jnp.asarray([30.0, 1.0, 2.0], jnp.float32), order=1)
    assert report.verdict is not Verdict.WRONG, str(report)


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, Verdict.CORRECT), (1.0005, Verdict.WRONG)])
def test_the_rounding_within_a_loop_that_counts(factor: float, verdict: Verdict) -> None:
    """x + sin x runs into pi, where 1 + cos x keeps no digit in float32 and falls on a grid in float64."""

    @jax.custom_jvp
    def nearer(x: jax.Array) -> jax.Array:
        return x + jnp.sin(x)

    nearer.defjvp(lambda p, t: (nearer(*p), (1 + jnp.cos(p[0])) * t[0] * factor))

    def f(x: jax.Array) -> jax.Array:
        return jax.lax.while_loop(lambda c: c[0] < 5, lambda c: (c[0] + 1, nearer(c[1])), (0, x))[1]

    x = jnp.asarray([-0.5947237, 0.6307835, 1.0393541, 1.0309217, 1.8178461], jnp.float32)
    assert check_gradients(f, x, seed=16).verdict is verdict


def test_a_loop_that_stops_by_values() -> None:
    def root(x: jax.Array) -> jax.Array:
        def step(c: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            return (c[0] + x / c[0]) / 2, jnp.max(jnp.abs(c[0] ** 2 - x)) > 1e-6

        return jax.lax.while_loop(lambda c: c[1], step, (x, jnp.asarray(True)))[0]

    assert check_gradients(root, jnp.asarray([2.0, 3.0], jnp.float32))
