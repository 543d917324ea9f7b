"""Token statistics and the divergences between two heads against their unfused forms; float32 against float64."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinfo
from jaxinfo.linear import (
    linear_js_divergence,
    linear_kl_divergence,
    linear_softmax_cross_entropy,
    linear_token_statistics,
)

from .cases import BIAS, COTANGENT, HIDDEN, KERNEL, LABELS, WHERE, D, N, V, assert_close

RANDOM = np.random.default_rng(7)
OTHER_HIDDEN, OTHER = jnp.asarray(RANDOM.standard_normal((N, D + 1))), jnp.asarray(RANDOM.standard_normal((D + 1, V)))
OPTIONS: dict[str, dict[str, Any]] = {"plain": {}, "where, cap": {"where": WHERE, "soft_cap": 4.0}}
EPS = float(np.finfo(np.float32).eps)


def logits(hidden: jax.Array, kernel: jax.Array, bias: jax.Array, soft_cap: float | None = None) -> jax.Array:
    x = hidden @ kernel + bias[None]
    return x if soft_cap is None else soft_cap * jnp.tanh(x / soft_cap)


def statistics(h: jax.Array, k: jax.Array, b: jax.Array, **options: Any) -> tuple[jax.Array, ...]:
    where, x = options.pop("where", None), logits(h, k, b, **options)
    return (
        -jaxinfo.softmax_cross_entropy(x, LABELS, where=where),
        jaxinfo.logsumexp(x, where=where),
        jaxinfo.entropy(x, where=where),
    )


@pytest.mark.parametrize(("name", "mode"), [("plain", "any"), ("where, cap", "reverse")])
def test_token_statistics(name: str, mode: str) -> None:
    def fused(h: jax.Array, k: jax.Array, b: jax.Array, **options: Any) -> tuple[jax.Array, ...]:
        how: dict[str, Any] = {"bias": b, "block_size": 8, "differentiation": mode}
        return linear_token_statistics(h, k, LABELS, **options, **how)[:3]

    def slopes(f: Callable[..., Any]) -> Any:
        value, pull = jax.vjp(lambda *a: f(*a, **OPTIONS[name]), HIDDEN, KERNEL, BIAS)
        return value, pull((COTANGENT, 2 * COTANGENT, 3 * COTANGENT))

    assert_close(jax.jit(lambda: slopes(fused))(), jax.jit(lambda: slopes(statistics))())


def test_argmax_is_the_first_of_several() -> None:
    kernel = KERNEL.at[:, 30].set(KERNEL[:, 4])
    out = linear_token_statistics(HIDDEN, kernel, LABELS, block_size=8)
    np.testing.assert_array_equal(out.argmax, jnp.argmax(HIDDEN @ kernel, axis=1))


@pytest.mark.parametrize("mode", ["reverse", "any"])
def test_a_label_that_does_not_exist_is_nan_in_value_and_gradient(mode: str) -> None:
    labels = LABELS.at[3].set(V)

    def log_prob(hidden: jax.Array) -> jax.Array:
        return linear_token_statistics(hidden, KERNEL, labels, block_size=8, differentiation=mode).log_prob

    value, pull = jax.vjp(log_prob, HIDDEN)
    faulty = np.arange(N) == 3
    np.testing.assert_array_equal(np.isnan(value), faulty)
    np.testing.assert_array_equal(np.isnan(pull(COTANGENT)[0]), np.broadcast_to(faulty[:, None], (N, D)))


def test_entropy_of_all_the_mass_in_a_later_block() -> None:
    bias, labels = BIAS.at[V - 1].set(jnp.inf), jnp.minimum(LABELS, V - 2).at[0].set(V - 1)
    out = linear_token_statistics(HIDDEN, KERNEL, labels, bias=bias, block_size=8)
    np.testing.assert_array_equal(out.entropy, 0)
    np.testing.assert_array_equal(out.logsumexp, jnp.inf)
    np.testing.assert_array_equal(out.log_prob, np.where(np.arange(N) == 0, 0, -np.inf))


@pytest.mark.parametrize("mode", ["reverse", "any"])
def test_a_token_that_does_not_count_meets_an_infinite_kernel(mode: str) -> None:
    """Its logits are 0 * -inf: the gradients are those of the other tokens alone, and of the kernel but that class."""
    hidden, others = jnp.abs(HIDDEN).at[3].set(jnp.nan), np.arange(N) != 3
    kernel, other = (k.at[:, 4].set(-jnp.inf) for k in (KERNEL, OTHER[:D]))
    labels = jnp.where(LABELS == 4, 5, LABELS)

    def loss(rows: np.ndarray, where: Any, hidden: jax.Array, kernel: jax.Array, heat: jax.Array) -> jax.Array:
        how: dict[str, Any] = {"where": where, "temperature": heat, "block_size": 8, "differentiation": mode}
        h, y = hidden[rows], labels[rows]
        each = (
            linear_softmax_cross_entropy(h, kernel, y, label_smoothing=0.1, z_loss=0.01, **how),
            *linear_token_statistics(h, kernel, y, **how)[::2],
            linear_kl_divergence(h, kernel, h, other, **how),
            linear_js_divergence(h, kernel, h, other, **how),
        )
        return sum((jnp.vdot((i + 1) * COTANGENT[rows], x) for i, x in enumerate(each)), jnp.zeros(()))

    every, columns = np.arange(N), np.arange(V) != 4
    heat = jnp.asarray(2.0, float)
    got = jax.jit(jax.grad(partial(loss, every, jnp.asarray(others[:, None])), (0, 1, 2)))(hidden, kernel, heat)
    want = jax.jit(jax.grad(partial(loss, every[others], None), (0, 1, 2)))(hidden, kernel, heat)
    assert_close((got[0], got[1][:, columns], got[2]), (want[0], want[1][:, columns], want[2]))
    assert all(np.isfinite(g).all() for g in got)


@pytest.mark.parametrize(("name", "mode"), [("kl", "reverse"), ("kl", "any"), ("js", "reverse")])
def test_divergences(name: str, mode: str) -> None:
    fused = linear_kl_divergence if name == "kl" else linear_js_divergence
    plain = jaxinfo.kl_divergence if name == "kl" else jaxinfo.js_divergence
    options = OPTIONS["where, cap"]

    def ours(*arrays: jax.Array) -> jax.Array:
        how: dict[str, Any] = {"p_bias": BIAS, "block_size": 8, "differentiation": mode}
        return fused(*arrays, **options, **how)

    def theirs(h: jax.Array, k: jax.Array, g: jax.Array, o: jax.Array) -> jax.Array:
        cap = options["soft_cap"]
        return plain(logits(h, k, BIAS, cap), logits(g, o, 0 * BIAS, cap), where=WHERE)

    def slopes(f: Callable[..., Any]) -> Any:
        value, pull = jax.vjp(f, HIDDEN, KERNEL, OTHER_HIDDEN, OTHER)
        return value, pull(COTANGENT)

    assert_close(jax.jit(lambda: slopes(ours))(), jax.jit(lambda: slopes(theirs))())


@pytest.mark.parametrize("fused", [linear_kl_divergence, linear_js_divergence])
def test_heads_that_hardly_differ(fused: Callable[..., jax.Array]) -> None:
    """Logits of one product each, so that they are exact, and biases that differ by less and less."""
    unfused = jaxinfo.kl_divergence if fused is linear_kl_divergence else jaxinfo.js_divergence
    hidden, kernel = jnp.ones((1, 1), jnp.float32), jnp.asarray(RANDOM.standard_normal((1, 300)), jnp.float32)
    fused, unfused = jax.jit(partial(fused, block_size=64)), jax.jit(unfused)
    assert float(fused(hidden, kernel, hidden, kernel)[0]) == 0
    for size in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5):
        other = kernel + jnp.asarray(size * RANDOM.standard_normal((1, 300)), jnp.float32)
        got = fused(hidden, kernel, hidden, other)
        want = unfused(kernel.astype(jnp.float64), other.astype(jnp.float64))
        np.testing.assert_allclose(got, want, rtol=16 * EPS, err_msg=f"differences of {size}")


def test_no_class_in_common() -> None:
    inf = float("inf")
    hidden, p, q = jnp.ones((1, 1)), jnp.asarray([[0.0, 1.0, -inf]]), jnp.asarray([[-inf, -inf, 0.0]])
    np.testing.assert_allclose(linear_js_divergence(hidden, p, hidden, q), np.log(2), rtol=1e-14)
    value, slopes = jax.value_and_grad(lambda p, q: linear_kl_divergence(hidden, p, hidden, q)[0], (0, 1))(p, q)
    assert value == inf
    np.testing.assert_array_equal(slopes[0], 0)
    np.testing.assert_allclose(slopes[1], np.asarray([[-1, -np.e, 1 + np.e]]) / (1 + np.e), rtol=1e-14)


@pytest.mark.parametrize("mode", ["reverse", "any"])
def test_half_precision_gradients_of_a_confident_teacher(mode: str) -> None:
    """One class holds nearly all of p: to its logits the slopes of the level and of the terms cancel."""
    random = np.random.default_rng(0)
    shapes = ((1, 3), (3, 8), (1, 3), (3, 8))
    heads = [
        jnp.asarray(k * random.normal(size=s), jnp.bfloat16) for k, s in zip((5, 2, 0.1, 0.3), shapes, strict=True)
    ]
    f = partial(linear_kl_divergence, differentiation=mode)
    got = jax.jit(jax.grad(lambda *a: f(*a).sum(), (0, 1, 2, 3)))(*heads)
    dense = lambda h, w, g, u: jaxinfo.kl_divergence(h @ w, g @ u).sum()  # noqa: E731
    want = jax.jit(jax.grad(dense, (0, 1, 2, 3)))(*(a.astype(jnp.float64) for a in heads))
    for g, w in zip(got, want, strict=True):
        assert np.linalg.norm(g.astype(jnp.float64) - w) <= 1e-2 * np.linalg.norm(w)
