"""sigmoid_cross_entropy against mpmath: confident predictions, infinite logits, weights, smoothing, all modes."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinfo._sigmoid import sigmoid_cross_entropy

from .oracle import mp
from .tolerance import FLOATS, assert_absolute, assert_close, floats

inf, nan = float("inf"), float("nan")
LOGITS = [0.0, 1e-6, -0.3, 0.3, 2.5, -2.5, 17.0, -17.0, 40.0, -40.0, 82.0, -82.0, 1e4, -1e4, 3e38, -3e38]


def softplus(x: Any) -> Any:
    x = mp.mpf(x)
    return mp.log1p(mp.exp(-abs(x))) + max(x, 0)


def sigmoid(x: Any) -> Any:
    x = mp.mpf(x)
    return 1 / (1 + mp.exp(-x)) if x > -1e6 else mp.exp(x)


def truth(x: float, t: float, w: float = 1.0, a: float = 0.0) -> tuple[Any, Any, Any]:
    """Return the loss and its first two derivatives in x."""
    w, a = mp.mpf(w), mp.mpf(a)
    positive, negative = w * ((1 - a) * mp.mpf(t) + a / 2), (1 - a) * (1 - mp.mpf(t)) + a / 2
    value = (positive * softplus(-x) if positive else 0) + (negative * softplus(x) if negative else 0)
    slope = negative * sigmoid(x) - positive * sigmoid(-x)
    return value, slope, (positive + negative) * sigmoid(x) * sigmoid(-x)


def modes(f: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], tuple[jax.Array, ...]]:
    """Return value, reverse, forward and both second derivatives, elementwise."""
    forward = partial(jax.jacfwd, f)
    return jax.jit(
        jax.vmap(
            lambda *v: (f(*v), jax.grad(f)(*v), forward()(*v), jax.jacfwd(jax.grad(f))(*v), jax.grad(forward())(*v))
        )
    )


@FLOATS
@pytest.mark.parametrize("label", [0, 1])
def test_labels_in_every_mode(dtype: Any, label: int) -> None:
    x = jnp.asarray(LOGITS, dtype)
    got = modes(sigmoid_cross_entropy)(x, jnp.full(x.shape, label))
    wanted = list(zip(*(truth(v, label) for v in floats(x)), strict=True))
    for out, want in zip(got, (wanted[0], wanted[1], wanted[1], wanted[2], wanted[2]), strict=True):
        assert_close(out, want, lambda _: 8, dtype=dtype, what=f"label {label}")


@FLOATS
def test_probabilities_weights_and_smoothing(dtype: Any) -> None:
    x = jnp.asarray([v for v in LOGITS if abs(v) < 1e5], dtype)
    f = jax.jit(
        jax.value_and_grad(
            lambda x, t, w, a: sigmoid_cross_entropy(x, t, pos_weight=w, label_smoothing=a).sum(), (0, 1, 2, 3)
        )
    )
    each = jax.jit(lambda x, t, w, a: sigmoid_cross_entropy(x, t, pos_weight=w, label_smoothing=a))
    for t, w, a in ((0.25, 1.0, 0.0), (0.9, 3.0, 0.1), (1.0, 0.5, 0.25), (0.0, 2.0, 1.0), (1.0, 0.0, 0.0)):
        t, w, a = (float(np.asarray(v, dtype)) for v in (t, w, a))
        ts, ws, smoothing = jnp.full(x.shape, t, dtype), jnp.full(x.shape, w, dtype), jnp.asarray(a, dtype)
        want = [truth(v, t, w, a) for v in floats(x)]
        what = f"t = {t}, w = {w}, a = {a}"
        assert_close(each(x, ts, ws, smoothing), [v[0] for v in want], lambda _: 8, dtype=dtype, what=what)
        _, (to_x, to_t, to_w, to_a) = f(x, ts, ws, smoothing)
        sizes = [(1 + w) * max(sigmoid(v), sigmoid(-v)) * 8 for v in floats(x)]
        assert_absolute(to_x, [v[1] for v in want], sizes, dtype=dtype, what=f"{what}, to x")
        apart = [mp.mpf(w) * softplus(-v) - softplus(v) for v in floats(x)]
        scale = [8 * (mp.mpf(w) * softplus(-v) + softplus(v)) for v in floats(x)]
        assert_absolute(to_t, [(1 - mp.mpf(a)) * v for v in apart], scale, dtype=dtype, what=f"{what}, to t")
        share = (1 - mp.mpf(a)) * t + mp.mpf(a) / 2
        assert_close(to_w, [share * softplus(-v) for v in floats(x)], lambda _: 8, dtype=dtype, what=f"{what}, to w")
        total = mp.fsum((mp.mpf(0.5) - t) * v for v in apart)
        assert_absolute(to_a, [total], [mp.fsum(scale)], dtype=dtype, what=f"{what}, to a")


@FLOATS
def test_infinite_logits_are_certainty(dtype: Any) -> None:
    x = jnp.asarray([inf, -inf, inf, -inf, inf, -inf], dtype)
    t = jnp.asarray([1, 0, 0, 1, 0.5, 0.25], dtype)
    with jax.debug_nans(True):
        value, slope, forward, bend, other = modes(sigmoid_cross_entropy)(x, t)
        eager = sigmoid_cross_entropy(x, t)
        to_t = jax.jit(jax.vmap(jax.grad(sigmoid_cross_entropy, 1)))(x, t)
    np.testing.assert_array_equal(value, [0, 0, inf, inf, inf, inf])
    np.testing.assert_array_equal(eager, value)
    np.testing.assert_array_equal(slope, [0, 0, 1, -1, 0.5, -0.25])
    np.testing.assert_array_equal(forward, slope)
    assert not any(np.asarray(out).any() for out in (bend, other))
    np.testing.assert_array_equal(to_t, [0, 0, -inf, inf, -inf, inf])
    along_x = jax.jvp(sigmoid_cross_entropy, (x, t), (jnp.ones_like(x), jnp.zeros_like(t)))[1]
    np.testing.assert_array_equal(along_x, slope)
    labels = jax.jit(sigmoid_cross_entropy)(x[:4], jnp.asarray([1, 0, 0, 1]))
    np.testing.assert_array_equal(labels, [0, 0, inf, inf])
    smoothed = jax.jit(partial(sigmoid_cross_entropy, label_smoothing=0.1))(x[:2], t[:2])
    np.testing.assert_array_equal(smoothed, [inf, inf])


@FLOATS
def test_no_outcome_and_nan(dtype: Any) -> None:
    x = jnp.asarray([0.5, 0.5, nan, 0.5], dtype)
    value, slope, forward, *_ = modes(sigmoid_cross_entropy)(x, jnp.asarray([2, -1, 1, 1], jnp.int8))
    for out in (value, slope, forward):
        np.testing.assert_array_equal(np.isnan(out), [True, True, True, False])
    assert np.isnan(sigmoid_cross_entropy(x[:1], jnp.asarray([nan], dtype))).all()


@FLOATS
def test_excluded_elements_are_exactly_zero(dtype: Any) -> None:
    x = jnp.asarray([[nan, inf, -inf, 0.5], [0.25, nan, 1.0, 2.0]], dtype)
    t = jnp.asarray([[0.5, 0.0, nan, 1.0], [nan, 1.0, 0.0, inf]], dtype)
    w = jnp.asarray([[1.0, nan, inf, 2.0]] * 2, dtype)
    where = jnp.asarray([[False, False, False, True], [False, False, True, False]]).at[1, 2].set(False)

    def loss(x: jax.Array, t: jax.Array, w: jax.Array) -> jax.Array:
        return sigmoid_cross_entropy(x, t, pos_weight=w, where=where)

    value, pull = jax.vjp(jax.jit(loss), x, t, w)
    inside = np.asarray(where)
    assert not np.asarray(value)[~inside].any()
    assert not any(np.asarray(out)[~inside].any() for out in pull(jnp.ones_like(value)))
    assert_close(value[0, 3], [truth(0.5, 1.0, 2.0)[0]], lambda _: 8, dtype=dtype, what="the one that counts")
    tangent = jax.jvp(jax.jit(loss), (x, t, w), (jnp.ones_like(x),) * 3)[1]
    assert not np.asarray(tangent)[~inside].any()
    broadcast = sigmoid_cross_entropy(jnp.zeros((2, 4), dtype), jnp.ones((2, 4), dtype), where=jnp.arange(4) < 2)
    assert (np.asarray(broadcast) > 0).tolist() == [[True, True, False, False]] * 2


def test_pos_weight_broadcasts_and_numbers_keep_the_dtype() -> None:
    x, t = jnp.ones((2, 3), jnp.float32), jnp.ones((2, 3), jnp.int32)
    per_class = sigmoid_cross_entropy(x, t, pos_weight=jnp.asarray([1.0, 2.0, 3.0], jnp.float32))
    np.testing.assert_allclose(
        per_class, np.asarray(per_class)[:1, :1] * [[1.0, 2.0, 3.0]] * np.ones((2, 1)), rtol=1e-6
    )
    assert sigmoid_cross_entropy(x, t, pos_weight=2.0).dtype == jnp.float32
    np.testing.assert_array_equal(
        sigmoid_cross_entropy(x, t, pos_weight=2), sigmoid_cross_entropy(x, t, pos_weight=2.0)
    )
    assert sigmoid_cross_entropy(x, t, pos_weight=jnp.asarray(2.0)).shape == (2, 3)


def test_dtypes_and_vmap() -> None:
    x, t = jnp.asarray([0.5, 30.0], jnp.bfloat16), jnp.asarray([1, 1], jnp.uint8)
    value, slope = jax.vjp(lambda x: sigmoid_cross_entropy(x, t), x)
    assert value.dtype == jnp.float32
    assert slope(jnp.ones_like(value))[0].dtype == jnp.bfloat16
    assert sigmoid_cross_entropy(x, t.astype(jnp.float64)).dtype == jnp.float64
    batch = jax.vmap(sigmoid_cross_entropy)(x, t)
    np.testing.assert_array_equal(batch, value)


@pytest.mark.usefixtures("own_errors")
def test_errors() -> None:
    x = jnp.zeros((4, 3))
    t = jnp.zeros((4, 3), jnp.int32)
    with pytest.raises(ValueError, match=r"`targets` must have shape \(4, 3\), that of `logits`, got \(3,\)"):
        sigmoid_cross_entropy(x, t[0])
    with pytest.raises(TypeError, match=r"`targets` must have an integer dtype .* got bool"):
        sigmoid_cross_entropy(x, t == 0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="`logits` must have a floating dtype, got int32"):
        sigmoid_cross_entropy(t, t)
    with pytest.raises(ValueError, match=r"`pos_weight` must broadcast to \(4, 3\), the shape of `logits`, got \(4,\)"):
        sigmoid_cross_entropy(x, t, pos_weight=jnp.ones(4))
    with pytest.raises(TypeError, match="`pos_weight`"):
        sigmoid_cross_entropy(x, t, pos_weight="much")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"`label_smoothing` must be a number in \[0, 1\], got -0.1"):
        sigmoid_cross_entropy(x, t, label_smoothing=-0.1)
    with pytest.raises(ValueError, match="`where` must broadcast"):
        sigmoid_cross_entropy(x, t, where=jnp.ones((4,), bool))
