"""eager = jit = vmap = loop, along any axis, over any argument, and through scan, remat and cond."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinfo

from .transforms import Function, Q, T, V, X, Y, assert_same, every_function


@every_function
def test_eager_is_jit_is_vmap_is_the_loop(f: Function, arguments: tuple[jax.Array, ...]) -> None:
    blocks = [a.reshape(2, 4, *a.shape[1:]) for a in arguments]

    @jax.jit
    def every_way(arguments: tuple[jax.Array, ...], blocks: list[jax.Array]) -> tuple[jax.Array, ...]:
        nested = jax.vmap(jax.vmap(f), in_axes=1, out_axes=1)(*blocks)
        scanned = jax.lax.map(lambda row: f(*row), arguments)
        return f(*arguments), jax.vmap(f)(*arguments), nested, scanned

    batch, mapped, nested, scanned = every_way(arguments, blocks)
    assert_same(f(*arguments), batch, "eager")
    assert_same(mapped, batch, "vmap")
    assert_same(nested.reshape(batch.shape), batch, "vmap of vmap over the inner axis")
    assert_same(scanned, batch, "loop")


@pytest.mark.slow
@every_function
def test_vmap_of_grad_is_the_gradient_of_each_row(f: Function, arguments: tuple[jax.Array, ...]) -> None:
    def summed(*args: jax.Array) -> jax.Array:
        return f(*args).sum()

    @jax.jit
    def every_way(arguments: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        stacked = [jnp.stack([a, a[::-1]], axis=1) for a in arguments]
        twice = jax.vmap(jax.grad(summed), in_axes=1)(*stacked)
        return jax.grad(summed)(*arguments), jax.vmap(jax.grad(summed))(*arguments), twice

    batch, mapped, twice = every_way(arguments)
    assert_same(mapped, batch, "vmap of grad")
    assert_same(twice[0], batch, "grad of a batch under vmap")
    assert_same(twice[1], batch[::-1], "grad of the reversed batch under vmap")


def test_any_class_axis() -> None:
    def everything(x: jax.Array, q: jax.Array, t: jax.Array, axis: int) -> list[jax.Array]:
        return [
            jaxinfo.softmax_cross_entropy(x, Y, axis=axis),
            jaxinfo.softmax_cross_entropy(x, t, axis=axis),
            jaxinfo.nll(x, Y, axis=axis),
            jaxinfo.kl_divergence(x, q, axis=axis),
            jaxinfo.cross_entropy(x, q, axis=axis),
            jaxinfo.entropy(x, axis=axis),
            jaxinfo.logsumexp(x, axis=axis),
            jnp.moveaxis(jaxinfo.log_softmax(x, axis=axis), axis, -1),
            jnp.moveaxis(jaxinfo.softmax(x, axis=axis), axis, -1),
        ]

    across = jax.jit(everything, static_argnums=3)
    want = across(X, Q, T, -1)
    for axis in (0, -2):
        assert_same(across(X.T, Q.T, T.T, axis), want, f"axis {axis}")
    assert jaxinfo.logsumexp(X, axis=0, keepdims=True).shape == (1, V)


def test_one_distribution_against_a_batch_of_others() -> None:
    """vmap over one argument only: the other is not batched."""

    def every_way(f: Function, x: jax.Array, q: jax.Array) -> tuple[jax.Array, ...]:
        one = jnp.broadcast_to(q[0], x.shape)
        first, second = jax.vmap(f, in_axes=(0, None))(x, q[0]), jax.vmap(f, in_axes=(None, 0))(q[0], q)
        return first, f(x, one), second, f(one, q)

    for f in (jaxinfo.kl_divergence, jaxinfo.cross_entropy):
        first, first_whole, second, second_whole = jax.jit(every_way, static_argnums=0)(f, X, Q)
        assert_same(first, first_whole, f.__name__)
        assert_same(second, second_whole, f.__name__)
    got = jax.jit(jax.vmap(jaxinfo.softmax_cross_entropy, in_axes=(None, 0)))(X[0], jnp.arange(V))
    assert_same(got, -jaxinfo.log_softmax(X[0]), "every label of one row")
    got = jax.jit(jax.vmap(lambda w: jaxinfo.softmax_cross_entropy(X, Y, where=w)))(jnp.ones((3, 1, V), bool))
    assert_same(got[2], jaxinfo.softmax_cross_entropy(X, Y), "masks alone")


def test_inside_scan_checkpoint_and_cond() -> None:
    def body(carry: jax.Array, row: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        loss = jax.lax.cond(row[1] > 2, lambda r: jaxinfo.softmax_cross_entropy(*r), lambda r: 0.0 * r[0][0], row)
        return carry + loss, loss

    x = X.at[1, 4].set(0.5)
    want, slope = jax.jit(jax.value_and_grad(lambda x: jnp.where(Y > 2, jaxinfo.softmax_cross_entropy(x, Y), 0).sum()))(
        x
    )

    def scanned(x: jax.Array) -> jax.Array:
        return jax.lax.scan(jax.checkpoint(body), jnp.zeros(()), (x, Y))[0]

    got, slope_scanned = jax.jit(jax.value_and_grad(scanned))(x)
    assert_same(got, want, "scan")
    assert_same(slope_scanned, slope, "gradient of the scan")


def test_functions_keep_no_state() -> None:
    """Two calls give the same bits, and tracing leaves nothing behind."""
    with jax.checking_leaks():
        first = jax.jit(jaxinfo.softmax_cross_entropy)(X, Y)
    np.testing.assert_array_equal(first, jax.jit(jaxinfo.softmax_cross_entropy)(X, Y))


def test_tangents_side_by_side_are_those_one_by_one() -> None:
    """A kernel of XLA's (jaxlib 0.10.2, CPU, float32, many rows) gets a sum and its use wrong under this vmap."""
    rng = np.random.default_rng(0)
    x, q, *tangents = jnp.asarray(rng.normal(size=(6, 3000, 6)), jnp.float32)
    tangents = jnp.stack(tangents)

    def losses(x: jax.Array) -> tuple[jax.Array, ...]:
        labels = jnp.zeros(len(x), jnp.int32)
        of_one = (
            jaxinfo.softmax(x),
            jaxinfo.log_softmax(x),
            jaxinfo.softmax_cross_entropy(x, labels),
            jaxinfo.entropy(x),
        )
        return *of_one, *(f(x, q) for f in (jaxinfo.cross_entropy, jaxinfo.kl_divergence, jaxinfo.js_divergence))

    @jax.jit
    def both(x: jax.Array, tangents: jax.Array) -> tuple[jax.Array, ...]:
        push = lambda t: jax.jvp(losses, (x,), (t,))[1]  # noqa: E731
        return jax.vmap(push)(tangents), jax.lax.map(push, tangents)

    for side_by_side, one_by_one in zip(*both(x, tangents), strict=True):
        np.testing.assert_allclose(side_by_side, one_by_one, rtol=1e-4, atol=1e-5)

    @jax.jit
    def products(x: jax.Array, tangents: jax.Array) -> tuple[jax.Array, jax.Array]:
        pull = jax.vjp(jax.grad(lambda x: jaxinfo.logsumexp(x).sum()), x)[1]
        return jax.vmap(lambda t: pull(t)[0])(tangents), jax.lax.map(lambda t: pull(t)[0], tangents)

    np.testing.assert_allclose(*products(x, tangents), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["kl", "reverse_kl", "jeffreys", "hellinger"])
def test_no_tracer_outlives_its_trace(name: str) -> None:
    p, q = jnp.asarray([0.5, 1.0, -1.0]), jnp.asarray([0.25, 1.5, -1.0])
    with jax.checking_leaks():
        value, slope = jax.jit(jax.value_and_grad(lambda p: jaxinfo.f_divergence(p, q, name)))(p)
    assert float(value) > 0
    assert bool(jnp.any(slope != 0))
