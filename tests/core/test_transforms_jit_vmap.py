"""eager = jit = vmap = loop, along any axis, over any argument, and through scan, remat and cond."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinfo

from .transforms import FUNCTIONS, Function, N, Q, T, V, X, Y, assert_same, forms

every_function = pytest.mark.parametrize(("f", "arguments"), FUNCTIONS.values(), ids=FUNCTIONS.keys())


@every_function
def test_eager_is_jit_is_vmap_is_the_loop(f: Function, arguments: tuple[jax.Array, ...]) -> None:
    jitted = jax.jit(lambda *args: forms(f, *args))(*arguments)
    assert_same(f(*arguments), jitted[0], "eager")

    one = jax.jit(f)
    assert_same(jnp.stack([one(*(a[n] for a in arguments)) for n in range(N)]), jitted[0], "loop")
    assert_same(jax.jit(jax.vmap(f))(*arguments), jitted[0], "vmap")

    blocks = [a.reshape(2, 4, *a.shape[1:]) for a in arguments]
    nested = jax.jit(jax.vmap(jax.vmap(f), in_axes=1, out_axes=1))(*blocks)
    assert_same(nested.reshape(jitted[0].shape), jitted[0], "vmap of vmap over the inner axis")


@every_function
def test_vmap_of_grad_is_the_gradient_of_each_row(f: Function, arguments: tuple[jax.Array, ...]) -> None:
    def slope(*row: jax.Array) -> jax.Array:
        return jax.grad(lambda x: f(x, *row[1:]).sum())(row[0])

    batch = jax.jit(jax.grad(lambda *args: f(*args).sum()))(*arguments)
    assert_same(jax.jit(jax.vmap(slope))(*arguments), batch, "vmap of grad")
    stacked = [jnp.stack([a, a[::-1]], axis=1) for a in arguments]
    twice = jax.jit(jax.vmap(jax.grad(lambda *args: f(*args).sum()), in_axes=1))(*stacked)
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
    for f, a in ((jaxinfo.kl_divergence, Q[0]), (jaxinfo.cross_entropy, Q[0])):
        got = jax.jit(jax.vmap(f, in_axes=(0, None)))(X, a)
        assert_same(got, f(X, jnp.broadcast_to(a, X.shape)), f.__name__)
        got = jax.jit(jax.vmap(f, in_axes=(None, 0)))(a, Q)
        assert_same(got, f(jnp.broadcast_to(a, X.shape), Q), f.__name__)
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
