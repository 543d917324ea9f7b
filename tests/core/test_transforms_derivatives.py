"""jvp = vjp transposed, Hessians of every order of modes, jvp of grad, jax.checkpoint, third derivatives."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinfo

from .transforms import FUNCTIONS, Function, Q, T, X, Y, assert_same, differentiable, every_function

SMOOTH = X.at[1, 4].set(0.5).at[3].set(jnp.linspace(-3.0, 2.0, X.shape[1]))


def scalar(f: Function, arguments: tuple[jax.Array, ...]) -> Function:
    """Return a scalar function of the floating arguments that weighs the rows differently."""
    places = differentiable(arguments)

    def g(*floating: jax.Array) -> jax.Array:
        values = dict(zip(places, floating, strict=True))
        out = f(*(values.get(i, a) for i, a in enumerate(arguments)))
        return (out * jnp.cos(jnp.arange(out.size, dtype=out.dtype)).reshape(out.shape)).sum()

    return g


@every_function
def test_jvp_is_the_transposed_vjp(f: Function, arguments: tuple[jax.Array, ...]) -> None:
    g, places = scalar(f, arguments), differentiable(arguments)
    floating = [arguments[i] for i in places]
    random = np.random.default_rng(1)
    tangents = [jnp.asarray(random.standard_normal(a.shape)) for a in floating]

    @jax.jit
    def both(floating: list[jax.Array], tangents: list[jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        _, rate = jax.jvp(g, floating, tangents)
        _, linear = jax.linearize(g, *floating)
        slopes = jax.grad(g, tuple(range(len(floating))))(*floating)
        products = [jnp.vdot(s, t) for s, t in zip(slopes, tangents, strict=True)]
        return rate, linear(*tangents), jnp.sum(jnp.stack(products))

    forward, linearized, reverse = both(floating, tangents)
    assert np.isfinite(forward)
    size = 1 + sum(float(jnp.abs(a[jnp.isfinite(a)]).max()) for a in floating)
    np.testing.assert_allclose([forward, linearized], [reverse] * 2, rtol=1e-13, atol=1e-14 * size)


@every_function
def test_hessian_by_every_pair_of_modes(f: Function, arguments: tuple[jax.Array, ...]) -> None:
    g = scalar(f, tuple(a[:3] for a in arguments))
    floating = [a[:3] for i, a in enumerate(arguments) if i in differentiable(arguments)]
    numbers = tuple(range(len(floating)))
    forward, reverse = partial(jax.jacfwd, argnums=numbers), partial(jax.jacrev, argnums=numbers)
    slopes = jax.jit(lambda *args: (forward(g)(*args), reverse(g)(*args)))(*floating)
    assert_same(slopes[0], slopes[1], "jacfwd = jacrev")
    pairs = [(forward, reverse), (reverse, forward)]
    if f is FUNCTIONS["labels"][0]:
        pairs += [(forward, forward), (reverse, reverse)]
    bends = jax.jit(lambda *args: [outer(inner(g))(*args) for outer, inner in pairs])(*floating)
    for name, bend in zip(("fwd rev", "rev fwd", "fwd fwd", "rev rev"), bends, strict=False):
        assert_same(bend, bends[0], name)
        assert all(np.isfinite(b).all() for b in jax.tree.leaves(bend)), name


@pytest.mark.slow
@every_function
def test_hessian_vector_products_against_differences(f: Function, arguments: tuple[jax.Array, ...]) -> None:
    g, places = scalar(f, arguments), differentiable(arguments)
    floating = [jnp.where(jnp.isinf(arguments[i]), 0.3, arguments[i]).at[3].set(SMOOTH[3]) for i in places]
    direction = [jnp.asarray(np.random.default_rng(i).standard_normal(a.shape)) for i, a in enumerate(floating)]
    slope = jax.jit(jax.grad(g, tuple(range(len(floating)))))
    product = jax.jit(lambda *args: jax.jvp(slope, args, tuple(direction))[1])(*floating)

    def at(step: float) -> list[jax.Array]:
        return list(slope(*(a + step * d for a, d in zip(floating, direction, strict=True))))

    h = 1e-3
    near = [at(h), at(-h), at(2 * h), at(-2 * h)]
    for p, a, b, c, d in zip(product, *near, strict=True):
        np.testing.assert_allclose(p, (8 * (a - b) - (c - d)) / (12 * h), atol=2e-9)


@every_function
def test_gradients_against_differences(f: Function, arguments: tuple[jax.Array, ...]) -> None:
    g, places = scalar(f, arguments), differentiable(arguments)
    floating = [jnp.where(jnp.isinf(arguments[i]), 0.3, arguments[i]).at[3].set(SMOOTH[3]) for i in places]
    direction = [jnp.asarray(np.random.default_rng(i).standard_normal(a.shape)) for i, a in enumerate(floating)]
    along = jax.jit(lambda step: g(*(a + step * d for a, d in zip(floating, direction, strict=True))))
    h = 1e-3
    want = (8 * (along(h) - along(-h)) - (along(2 * h) - along(-2 * h))) / (12 * h)
    np.testing.assert_allclose(jax.jit(jax.grad(along))(0.0), want, rtol=1e-9, atol=1e-9)


@every_function
def test_checkpoint_changes_nothing(f: Function, arguments: tuple[jax.Array, ...]) -> None:
    g = scalar(f, arguments)
    floating = [arguments[i] for i in differentiable(arguments)]
    plain, kept = jax.jit(lambda *args: (jax.grad(g)(*args), jax.grad(jax.checkpoint(g))(*args)))(*floating)
    assert_same(kept, plain, "checkpoint")


def test_third_derivatives_of_a_row() -> None:
    x = jnp.asarray([0.3, -0.5, 1.1])
    p = jaxinfo.softmax(x)
    third = jax.jit(jax.jacfwd(jax.hessian(lambda x: jaxinfo.softmax_cross_entropy(x, jnp.int32(1)))))(x)
    eye = jnp.eye(3)
    covariance = jnp.diag(p) - jnp.outer(p, p)
    want = (
        jnp.einsum("ij,ik->ijk", eye, covariance)
        - jnp.einsum("ik,j->ijk", covariance, p)
        - jnp.einsum("i,jk->ijk", p, covariance)
    )
    np.testing.assert_allclose(third, want, atol=1e-15)
    kl = jax.jit(jax.jacfwd(jax.jacfwd(jax.hessian(lambda b: jaxinfo.kl_divergence(x, b)))))(x)
    ce = jax.jit(jax.jacfwd(jax.jacfwd(jax.hessian(lambda b: jaxinfo.softmax_cross_entropy(b, jnp.int32(0))))))(x)
    np.testing.assert_allclose(kl, ce, atol=1e-14)


def test_gradients_through_both_arguments_and_a_shared_one() -> None:
    def tied(x: jax.Array) -> jax.Array:
        return jaxinfo.kl_divergence(x, 2.0 * x).sum() + jaxinfo.softmax_cross_entropy(x, jaxinfo.softmax(x)).sum()

    x = SMOOTH
    to_p, to_q = jax.jit(jax.grad(lambda a, b: jaxinfo.kl_divergence(a, b).sum(), (0, 1)))(x, 2.0 * x)
    want = to_p + 2 * to_q + jax.jit(jax.grad(lambda x: jaxinfo.entropy(x).sum()))(x)
    np.testing.assert_allclose(jax.jit(jax.grad(tied))(x), want, atol=1e-12)


def test_stopped_targets_get_no_gradient_and_do_no_harm() -> None:
    stop = jax.lax.stop_gradient
    stopped = jax.jit(jax.grad(lambda q: jaxinfo.softmax_cross_entropy(X, stop(jaxinfo.softmax(q))).sum()))(Q)
    np.testing.assert_array_equal(stopped, 0)
    slope = jax.jit(jax.grad(lambda x: jaxinfo.softmax_cross_entropy(x, stop(T)).sum()))(X)
    assert np.isfinite(slope).all()
    _, to_labels = jax.grad(lambda x, y: jaxinfo.softmax_cross_entropy(x, y).sum(), (0, 1), allow_int=True)(X, Y)
    assert to_labels.dtype == jax.dtypes.float0
