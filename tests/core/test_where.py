"""What `where` means: the elements to include, as in jnp.sum, for every function that takes it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinfo

from .tolerance import floats

N, V = 6, 5
RANDOM = np.random.default_rng(0)
X = jnp.asarray(2 * RANDOM.standard_normal((N, V)))
Q = jnp.asarray(2 * RANDOM.standard_normal((N, V)))
T = jnp.asarray(RANDOM.dirichlet(np.ones(V), N))
Y = jnp.asarray([1, 3, 3, 1, 4, 1])
CLASSES = jnp.asarray([False, True, False, True, True])
EXAMPLES = jnp.asarray([True, False, True, True, False, True])[:, None]
POISON = jnp.asarray([jnp.nan, jnp.inf, -jnp.inf, jnp.nan, jnp.inf])

BOTH = jnp.where(EXAMPLES, CLASSES[None], False)
ABSENT = jnp.where(CLASSES, Q, -jnp.inf)  # what a pair needs to compare with classes that do not exist

Loss = Callable[..., jax.Array]
LOSSES: dict[str, Loss] = {
    "labels": lambda x, **kw: jaxinfo.softmax_cross_entropy(x, Y, **kw),
    "distribution": lambda x, **kw: jaxinfo.softmax_cross_entropy(x, jnp.where(CLASSES, T, 0), **kw),
    "nll": lambda x, **kw: jaxinfo.nll(x, Y, **kw),
    "entropy": jaxinfo.entropy,
    "cross_entropy to p": lambda x, **kw: jaxinfo.cross_entropy(x, Q, **kw),
    "cross_entropy to q": lambda x, **kw: jaxinfo.cross_entropy(ABSENT, x, **kw),
    "kl to p": lambda x, **kw: jaxinfo.kl_divergence(x, Q, **kw),
    "kl to q": lambda x, **kw: jaxinfo.kl_divergence(ABSENT, x, **kw),
    "logsumexp": jaxinfo.logsumexp,
    "log_softmax": lambda x, **kw: jaxinfo.log_softmax(x, **kw)[:, 1],
    "softmax": lambda x, **kw: jaxinfo.softmax(x, **kw)[:, 1],
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())


@partial(jax.jit, static_argnums=0)
def with_slope(loss: Loss, x: jax.Array, where: jax.Array) -> tuple[jax.Array, jax.Array]:
    value, pull = jax.vjp(lambda x: loss(x, where=where), x)
    return value, pull(jnp.ones_like(value))[0]


@every_loss
def test_excluded_classes_do_not_exist(loss: Loss) -> None:
    value, slope = with_slope(loss, X, CLASSES)
    keep = np.flatnonzero(CLASSES)

    def fewer(x: jax.Array, where: jax.Array) -> jax.Array:
        del where
        every = jnp.full((N, V), -jnp.inf).at[:, keep].set(x)
        return loss(every)

    small, slope_small = with_slope(fewer, X[:, keep], jnp.asarray(True))
    poisoned, slope_poisoned = with_slope(loss, jnp.where(CLASSES, X, POISON), CLASSES)
    if loss not in (LOSSES["kl to p"], LOSSES["cross_entropy to p"]):  # Q has mass where P's classes are missing
        np.testing.assert_allclose(value, small, rtol=1e-14)
        np.testing.assert_allclose(slope[:, keep], slope_small, rtol=1e-13, atol=1e-15)
    np.testing.assert_array_equal(value, poisoned)
    np.testing.assert_array_equal(slope, slope_poisoned)
    np.testing.assert_array_equal(slope[:, ~CLASSES], 0)


@every_loss
def test_excluded_examples_are_zero_whatever_they_hold(loss: Loss) -> None:
    full, slope_full = with_slope(loss, X, jnp.asarray(True))
    empty = {"logsumexp": -np.inf, "log_softmax": -np.inf}
    nothing = next((v for k, v in empty.items() if LOSSES[k] is loss), 0.0)
    counted = EXAMPLES[:, 0]
    for where in (EXAMPLES, jnp.broadcast_to(EXAMPLES, (N, V))):
        for x in (X, jnp.where(EXAMPLES, X, jnp.nan), jnp.where(EXAMPLES, X, POISON), jnp.where(EXAMPLES, X, -jnp.inf)):
            value, slope = with_slope(loss, x, where)
            np.testing.assert_array_equal(value[~counted], nothing)
            np.testing.assert_array_equal(slope[~counted], 0)
            np.testing.assert_allclose(value[counted], full[counted], rtol=1e-14)
            np.testing.assert_allclose(slope[counted], slope_full[counted], rtol=1e-13, atol=1e-15)


@every_loss
def test_both_masks_together_and_each_shape(loss: Loss) -> None:
    both, slope = with_slope(loss, X, BOTH)
    value, full = with_slope(loss, X, CLASSES)
    counted = EXAMPLES[:, 0]
    same = partial(np.testing.assert_allclose, rtol=1e-14, atol=1e-15)  # another program, which rounds in its own way
    same(both[counted], value[counted])
    same(slope, np.where(EXAMPLES, full, 0))
    np.testing.assert_array_equal(slope[~counted], 0)
    row, slope = with_slope(loss, X, CLASSES[None])
    same(row, value)
    same(slope, full)


def test_a_bad_label_in_an_excluded_row_is_not_read() -> None:
    labels = jnp.where(EXAMPLES[:, 0], Y, -100)
    for loss in (jaxinfo.softmax_cross_entropy, jaxinfo.nll):
        value, slope = with_slope(lambda x, where: loss(x, labels, where=where), X, (labels != -100)[:, None])  # noqa: B023
        assert np.isfinite(value).all()
        assert np.isfinite(slope).all()
        bad = np.asarray(jax.jit(loss)(X, labels))
        np.testing.assert_array_equal(np.isnan(bad), ~np.asarray(EXAMPLES)[:, 0])


def test_targets_of_an_excluded_row_are_not_read() -> None:
    poisoned = jnp.where(EXAMPLES, T, POISON)
    value, pull = jax.vjp(lambda x, t: jaxinfo.softmax_cross_entropy(x, t, where=EXAMPLES), X, poisoned)
    to_x, to_t = pull(jnp.ones_like(value))
    np.testing.assert_array_equal(value[~EXAMPLES[:, 0]], 0)
    for slope in (to_x, to_t):
        assert np.isfinite(slope).all()
        np.testing.assert_array_equal(slope[~EXAMPLES[:, 0]], 0)


def test_mass_on_an_excluded_class_is_infinite_with_a_finite_gradient() -> None:
    p = np.asarray(jaxinfo.softmax(X, where=CLASSES))
    for targets in (jnp.zeros(N, int), jnp.zeros((N, V)).at[:, 0].set(1.0)):
        value, slope = with_slope(lambda x, **kw: jaxinfo.softmax_cross_entropy(x, targets, **kw), X, CLASSES)  # noqa: B023
        np.testing.assert_array_equal(value, np.inf)
        np.testing.assert_allclose(slope, p, rtol=1e-13)
    np.testing.assert_array_equal(jaxinfo.nll(X, jnp.zeros(N, int), where=CLASSES), np.inf)


def test_a_teacher_that_shares_the_mask_stays_finite() -> None:
    where = jnp.asarray(RANDOM.random((N, V)) < 0.6).at[:, 0].set(True)
    teacher = jaxinfo.softmax(Q, where=where)

    def distil(x: jax.Array, q: jax.Array) -> jax.Array:
        return jaxinfo.softmax_cross_entropy(x, jaxinfo.softmax(q, where=where), where=where).sum()

    value, slopes = jax.jit(jax.value_and_grad(distil, (0, 1)))(X, Q)
    assert np.isfinite(value)
    assert np.isfinite(jax.jit(jaxinfo.softmax_cross_entropy)(X, teacher, where=where)).all()
    for slope in slopes:
        assert np.isfinite(slope).all()
        np.testing.assert_array_equal(slope[~where], 0)


def test_log_softmax_and_softmax_at_excluded_places() -> None:
    where = jnp.asarray(RANDOM.random((N, V)) < 0.5).at[2].set(False)
    x = jnp.where(where, X, jnp.nan)
    np.testing.assert_array_equal(np.asarray(jaxinfo.log_softmax(x, where=where))[~where], -np.inf)
    np.testing.assert_array_equal(np.asarray(jaxinfo.softmax(x, where=where))[~where], 0)
    slope = jax.grad(lambda x: jnp.where(where, jaxinfo.log_softmax(x, where=where), 0).sum())(x)
    assert np.isfinite(slope).all()
    np.testing.assert_array_equal(np.asarray(slope)[~where], 0)
    slope = jax.grad(lambda x: (jaxinfo.softmax(x, where=where) * Q).sum())(x)
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("axis", [0, 1, -2])
def test_where_follows_the_axis(axis: int) -> None:
    x = jnp.moveaxis(jnp.stack([X, Q]), -1, axis)
    mask = jnp.moveaxis(jnp.broadcast_to(CLASSES, (2, N, V)), -1, axis)

    @partial(jax.jit, static_argnums=1)
    def both(x: jax.Array, axis: int, where: jax.Array) -> tuple[jax.Array, jax.Array]:
        loss = jaxinfo.softmax_cross_entropy(x, jnp.stack([Y, Y]), axis=axis, where=where)
        return loss, jaxinfo.entropy(x, axis=axis, where=where)

    for got, want in zip(both(x, axis, mask), both(jnp.stack([X, Q]), -1, CLASSES), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-14)


def test_an_empty_batch() -> None:
    x: Any = jnp.zeros((0, V), jnp.float32)
    losses: list[Any] = [
        lambda x: jaxinfo.softmax_cross_entropy(x, jnp.zeros(0, jnp.int32)),
        lambda x: jaxinfo.softmax_cross_entropy(x, x, where=CLASSES),
        lambda x: jaxinfo.kl_divergence(x, x),
        jaxinfo.entropy,
        jaxinfo.logsumexp,
    ]
    for out in (jaxinfo.entropy(x), *(jax.jit(loss)(x) for loss in losses)):
        assert out.shape == (0,)
        assert floats(out) == []
    assert jax.grad(lambda x: jaxinfo.softmax_cross_entropy(x, jnp.zeros(0, jnp.int32)).sum())(x).shape == (0, V)
