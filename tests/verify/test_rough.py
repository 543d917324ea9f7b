"""What the oracle cannot resolve is neither right nor wrong: chaos, oscillations below rounding, noise in one part."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import pytest

from jaxinfo.verify import Verdict, check_gradients

pytestmark = pytest.mark.usefixtures("as_user")

X = jnp.asarray([0.3, 0.4], jnp.float32)


def logistic(steps: int) -> Callable[[jax.Array], jax.Array]:
    return lambda x: jax.lax.scan(lambda c, _: (3.9 * c * (1 - c), None), x, None, length=steps)[0]


def henon(x: jax.Array) -> jax.Array:
    def step(c: tuple[jax.Array, jax.Array], _: None) -> tuple[tuple[jax.Array, jax.Array], None]:
        return (1 - 1.4 * c[0] ** 2 + c[1], 0.3 * c[0]), None

    return jax.lax.scan(step, (x, x / 2), None, length=130)[0][0]


ROUGH: dict[str, Callable[[jax.Array], jax.Array]] = {
    "logistic map, 50": logistic(50),
    "logistic map, 60": logistic(60),
    "logistic map, 70": logistic(70),
    "logistic map, 200": logistic(200),
    "Henon map": henon,
    "sin 1e14 x": lambda x: jnp.sin(1e14 * x),
    "sum sin 1e14 x": lambda x: jnp.sum(jnp.sin(1e14 * x)),
    "sin 1e18 x": lambda x: jnp.sin(1e18 * x),
    "a slope and oscillations": lambda x: x + 1e-3 * jnp.sin(1e30 * x),
}


@pytest.mark.parametrize("name", ROUGH)
def test_what_moves_within_rounding_of_the_point_is_undecidable(name: str) -> None:
    report = check_gradients(ROUGH[name], X, order=1)
    assert report.verdict is Verdict.UNDECIDABLE, str(report)
    assert "rough" in report.reason


def test_smooth_functions_with_a_value_on_a_grid_or_fast_oscillations_are_no_kinks() -> None:
    at_a_grid = jnp.float32(6.958754539489746)
    assert check_gradients(jax.scipy.special.log_ndtr, at_a_grid, order=1).verdict is Verdict.CORRECT
    assert check_gradients(lambda x: jnp.sin(1e10 * x), X, order=1).verdict is Verdict.CORRECT
    assert check_gradients(lambda x: jnp.sin(1e12 * x), X, order=1).verdict is not Verdict.NOT_DIFFERENTIABLE


@pytest.mark.parametrize("f", [jnp.cbrt, lambda x: jnp.abs(x) ** 0.1, jnp.sign, jnp.abs])
def test_roots_and_jumps_are_no_roughness(f: Callable[[jax.Array], jax.Array]) -> None:
    report = check_gradients(f, jnp.zeros(1, jnp.float32), order=1)
    assert report.verdict is Verdict.NOT_DIFFERENTIABLE, str(report)


@pytest.mark.parametrize("factor", [1 + 1e-4, -1.0])
def test_a_wrong_gradient_beside_fast_oscillations_is_wrong(factor: float) -> None:
    f = jax.custom_jvp(lambda x: jnp.sin(1e8 * x))
    f.defjvp(lambda xs, ts: (f(*xs), 1e8 * jnp.cos(1e8 * xs[0]) * ts[0] * factor))
    assert check_gradients(f, X, order=1).verdict is Verdict.WRONG


def test_an_output_or_a_leaf_that_is_not_resolved_is_not_right() -> None:
    outputs = jax.custom_jvp(lambda a, b: (jnp.sum(a**2), jnp.sum(b) + 1e17 - 1e17))
    outputs.defjvp(lambda xs, ts: (outputs(*xs), (2 * jnp.sum(xs[0] * ts[0]), -3 * jnp.sum(ts[1]))))
    assert check_gradients(outputs, X, X, order=1).verdict is Verdict.UNDECIDABLE
    leaves = jax.custom_vjp(lambda a, b: jnp.sum(a**2) + (jnp.sum(b) + 1e17 - 1e17))
    leaves.defvjp(lambda a, b: (leaves(a, b), (a, b)), lambda ab, c: (2 * ab[0] * c, -c * jnp.ones_like(ab[1])))
    assert check_gradients(leaves, X, X, order=1).verdict is Verdict.UNDECIDABLE
