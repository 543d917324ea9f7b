"""The pure core under jit, vmap and grad: the derivative of an optimum is that of its closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinfo
from jaxinfo.fitting import Progress, Reason, minimize
from tests.fitting.problems import newton_oracle, overlapping, regression

EPS = np.finfo(np.float64).eps


def squares(params: jax.Array, data: tuple) -> jax.Array:
    x, y = data
    return (jnp.matmul(x, params) - y) ** 2 / 2


def ridge(strength: jax.Array, data: tuple, weights: jax.Array | None = None, method: str = "newton") -> jax.Array:
    penalty = lambda p: strength * jnp.sum(p**2) / 2  # noqa: E731
    start = jnp.zeros(data[0].shape[1])
    return minimize(squares, start, data, penalty=penalty, weights=weights, method=method)[0]


def closed_form(strength: jax.Array, data: tuple, weights: jax.Array | None = None) -> jax.Array:
    x, y = data
    w = jnp.ones_like(y) if weights is None else weights
    gram = jnp.matmul(x.T * w[None, :], x) + strength * jnp.eye(x.shape[1])
    return jnp.linalg.solve(gram, jnp.matmul(x.T, w * y))


def line() -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(3)
    return jnp.asarray(rng.normal(size=(12, 3))), jnp.asarray(rng.normal(size=12))


@pytest.mark.parametrize("method", ["newton", "newton_cg"])
def test_gradient_to_penalty_data_and_weights_is_that_of_the_closed_form(method: str) -> None:
    strength, data, weights = jnp.asarray(0.7), line(), jnp.linspace(0.5, 2.0, 12)

    def measure(f: object) -> object:
        return jax.jit(jax.grad(lambda *a: jnp.sum(jnp.sin(f(*a))), argnums=(0, 1, 2)))

    got = measure(lambda *a: ridge(*a, method=method))(strength, data, weights)
    wanted = measure(closed_form)(strength, data, weights)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e4 * EPS), got, wanted)


def test_forward_mode_hessian_and_vmap_are_those_of_the_closed_form() -> None:
    data, strengths = line(), jnp.asarray([0.1, 1.0, 10.0])
    forward = jax.jit(jax.vmap(jax.jacfwd(lambda s: ridge(s, data))))(strengths)
    wanted = jax.vmap(jax.jacfwd(lambda s: closed_form(s, data)))(strengths)
    np.testing.assert_allclose(forward, wanted, rtol=0, atol=1e4 * EPS)
    second = jax.jit(jax.hessian(lambda s: jnp.sum(ridge(s, data) ** 3)))(strengths[1])
    np.testing.assert_allclose(
        second, jax.hessian(lambda s: jnp.sum(closed_form(s, data) ** 3))(strengths[1]), rtol=1e5 * EPS
    )


@pytest.mark.slow
def test_gradient_of_a_softmax_with_a_free_shift_agrees_with_differences() -> None:
    x, y = overlapping(n=30)

    def held_out(log_strength: jax.Array) -> jax.Array:
        problem = regression(x, y, 0.0)
        penalty = lambda p: jnp.exp(log_strength) / 2 * jnp.sum(p["w"] ** 2)  # noqa: E731
        params, state = minimize(problem.loss, problem.params, problem.data, penalty=penalty, tolerance=1e-24)
        return jnp.sum(params["w"] ** 2) + jnp.sum((params["b"] - jnp.mean(params["b"])) ** 2) + state.best.value

    at, step = jnp.asarray(0.3), 1e-4
    f = jax.jit(held_out)
    difference = (8 * (f(at + step) - f(at - step)) - (f(at + 2 * step) - f(at - 2 * step))) / (12 * step)
    assert float(jax.jit(jax.grad(held_out))(at)) == pytest.approx(float(difference), rel=1e-9)


def test_the_value_at_the_optimum_has_the_envelope_s_gradient() -> None:
    data = line()

    def value(strength: jax.Array) -> jax.Array:
        penalty = lambda p: strength * jnp.sum(p**2) / 2  # noqa: E731
        return minimize(squares, jnp.zeros(3), data, penalty=penalty)[1].best.value

    wanted = jnp.sum(closed_form(jnp.asarray(0.7), data) ** 2) / 2
    np.testing.assert_allclose(jax.jit(jax.grad(value))(jnp.asarray(0.7)), wanted, rtol=1e3 * EPS)


def test_the_start_has_no_gradient() -> None:
    gradient = jax.grad(lambda s: jnp.sum(minimize(squares, s, line())[0]))(jnp.ones(3))
    np.testing.assert_array_equal(gradient, np.zeros(3))


@pytest.mark.slow
def test_core_runs_under_jit_and_vmap() -> None:
    x, y = overlapping()
    problem = regression(x, y, 0.3)
    start = {"w": jax.random.normal(jax.random.key(0), (3, 3, 3)), "b": jnp.zeros((3, 3))}

    def core(params: dict) -> tuple:
        params, state = minimize(problem.loss, params, problem.data, penalty=problem.penalty)
        return params, state.best.value, state.reason

    _, values, reasons = jax.jit(jax.vmap(core))(start)
    np.testing.assert_allclose(values, newton_oracle(x, y, 0.3), rtol=1e-12)
    np.testing.assert_array_equal(reasons, Reason.CONVERGED)


def test_progress_comes_from_inside_jit() -> None:
    seen: list[Progress] = []
    data = line()

    def core(start: jax.Array) -> jax.Array:
        return minimize(jnp_sixth, start, data, progress=seen.append, every=2, tolerance=0.0, max_steps=9)[0]

    jax.block_until_ready(jax.jit(core)(jnp.ones(3)))
    jax.effects_barrier()
    assert [p.step for p in sorted(seen)][:4] == [0, 2, 4, 6]
    objectives = [p.objective for p in sorted(seen)]
    assert objectives == sorted(objectives, reverse=True)
    assert all(p.seconds > 0 and p.seconds_left >= 0 for p in seen)


def jnp_sixth(params: jax.Array, data: tuple) -> jax.Array:
    """A loss so flat that Newton's steps shrink by a constant factor."""
    return jnp.sum(params**6) + 0 * data[1]


@pytest.mark.slow
def test_minibatches_are_pure_too() -> None:
    labels = jnp.asarray(np.random.default_rng(0).integers(0, 3, 50))

    def loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
        return jaxinfo.softmax_cross_entropy(jnp.broadcast_to(logits[None, :], (labels.shape[0], 3)), labels)

    def core(key: jax.Array) -> jax.Array:
        return minimize(loss, jnp.zeros(3), labels, batch_size=20, max_steps=30, key=key)[0]

    keys = jax.random.split(jax.random.key(0), 2)
    first, second = jax.jit(jax.vmap(core))(keys)
    assert not np.array_equal(first, second)
    np.testing.assert_allclose(first, core(keys[0]), rtol=0, atol=1e3 * EPS)
