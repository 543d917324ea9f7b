"""Laws that need no oracle: multiples in the caller's dtype, the derivative in the cotangent; values not finite."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from jaxinfo.verify import Verdict, check_gradients
from tests.verify.rules import X, with_rule

pytestmark = pytest.mark.usefixtures("as_user")

SPOILED: dict[str, Callable[[jax.Array], jax.Array]] = {
    "clipped": lambda c: jnp.clip(c, -3, 3),
    "its size": jnp.abs,
    "nan where small": lambda c: jnp.where(jnp.abs(c) < 1e-3, jnp.nan, c),
}


@pytest.mark.parametrize("name", SPOILED)
def test_a_cotangent_that_float32_alone_spoils(name: str) -> None:
    spoil = SPOILED[name]
    f = with_rule(lambda x: jnp.sum(jnp.sin(x)), lambda c, x: jnp.cos(x) * (spoil(c) if x.dtype == jnp.float32 else c))
    assert check_gradients(f, X, order=1).verdict is Verdict.WRONG


def test_a_rule_that_cannot_be_differentiated_by_its_cotangent() -> None:
    stopped = with_rule(lambda x: x**2, lambda c, x: jax.lax.stop_gradient(c) * 2 * x)
    report = check_gradients(stopped, X)
    assert report.verdict is Verdict.WRONG
    assert "cotangent" in report.reason
    assert check_gradients(with_rule(lambda x: x**2, lambda c, x: c * 2 * x), X).verdict is Verdict.CORRECT


@pytest.mark.parametrize(("f", "x"), [(jnp.sin, [1.0, jnp.inf]), (jnp.log, [1.0, 0.0])])
def test_an_output_that_is_not_finite_has_no_gradient_to_be_right(f: Callable[..., Any], x: list[float]) -> None:
    report = check_gradients(f, jnp.asarray(x, jnp.float32))
    assert report.verdict is Verdict.CORRECT, str(report)


def test_a_nan_of_a_finite_output_beside_one_that_is_not_finite_is_wrong() -> None:
    def f(x: jax.Array) -> jax.Array:
        nothing = 0 * jnp.sqrt(jnp.abs(x[1:] - 1))  # and 0 times its infinite slope is nan
        return jnp.concatenate([jnp.log(x[:1]), nothing])

    assert check_gradients(f, jnp.asarray([0.0, 1.0], jnp.float32), order=1).verdict is Verdict.WRONG

    def g(x: jax.Array) -> jax.Array:
        return jnp.concatenate([jnp.log(x[:1]), jnp.sqrt(x[1:])])

    assert check_gradients(g, jnp.zeros(2, jnp.float32), order=1).verdict is Verdict.NOT_DIFFERENTIABLE


@pytest.mark.parametrize(("f", "x"), [(jax.scipy.special.erfinv, -0.9999), (jax.scipy.special.digamma, 1.4616321)])
def test_special_functions_near_a_root_or_an_edge(f: Callable[..., Any], x: float) -> None:
    report = check_gradients(f, jnp.float32(x), order=1)
    assert report.verdict is Verdict.CORRECT, str(report)
