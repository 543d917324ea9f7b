"""Value and gradients against the reference on whole logits: options, block sizes, strategies, hard inputs."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinfo
from jaxinfo.linear import linear_softmax_cross_entropy
from jaxinfo.linear._reference import reference

from .cases import (
    COTANGENT,
    HIDDEN,
    KERNEL,
    LABELS,
    OPTIONS,
    TARGETS,
    WEIGHTS,
    WHERE,
    D,
    V,
    assert_close,
    value_and_slopes,
    wanted,
)

inf, nan = float("inf"), float("nan")
EPS = float(np.finfo(np.float32).eps)
both_modes = pytest.mark.parametrize("mode", ["reverse", "any"])


@pytest.mark.parametrize(
    ("name", "targets"),
    [pytest.param(n, LABELS, id=n, marks=[pytest.mark.slow] * (n not in {"plain", "all"})) for n in OPTIONS]
    + [pytest.param(n, TARGETS, id=f"{n}, distribution") for n in ("plain", "all")],
)
def test_options(name: str, targets: jax.Array) -> None:
    want = wanted(targets, OPTIONS[name])
    for mode in ("reverse", "any"):
        fused = jax.jit(
            lambda mode=mode: value_and_slopes(
                linear_softmax_cross_entropy, targets, OPTIONS[name], block_size=8, differentiation=mode
            )
        )()
        assert_close(fused, want, mode)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "targets"), [(1, LABELS), (V - 1, TARGETS), (V, LABELS), (V + 1, TARGETS)], ids=["1", "V-1", "V", "V+1"]
)
def test_any_block_size_gives_the_same(size: int, targets: jax.Array) -> None:
    options = OPTIONS["all"]
    got = jax.jit(lambda: value_and_slopes(linear_softmax_cross_entropy, targets, options, block_size=size))()
    assert_close(got, wanted(targets, options))


@pytest.mark.parametrize(("reduction", "targets"), [("sum", LABELS), ("mean", TARGETS)], ids=["sum", "mean"])
def test_both_strategies_reduce_alike(reduction: str, targets: jax.Array, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jaxinfo.linear._strategy._FEW", 4)  # several blocks of tokens, of which the last reaches back

    def whole(*args: Any, weights: jax.Array, **options: Any) -> jax.Array:
        losses, counted = reference(*args, **options), options["where"].any(1)
        if reduction == "mean":
            return jaxinfo.mean(losses, weights=weights, where=counted)
        return jaxinfo.total(losses, weights=weights, where=counted)[0]

    options = OPTIONS["all"] | {"weights": WEIGHTS}
    want = jax.jit(lambda: value_and_slopes(whole, targets, options))()
    monkeypatch.setattr("jaxinfo.linear._strategy.widened", lambda dtype: True)  # "auto": all tokens at once on a CPU
    for strategy in ("token", "vocabulary", "auto"):
        how = {"reduction": reduction, "strategy": strategy, "block_size": 8}
        got = jax.jit(lambda how=how: value_and_slopes(linear_softmax_cross_entropy, targets, options, **how))()
        assert_close(got, want, strategy)


def hard_problem() -> tuple[jax.Array, ...]:
    """Return a head with one-hot hidden states, so that each row of logits is a row of the kernel."""
    rows = [
        [0.3, -1.2, 2.0, 0.1],
        [30.0, -1.0, 0.5, 2.0],
        [85.0, 0.0, 0.0, -inf],
        [0.3, -inf, 2.0, 0.1],
        [-inf, -inf, 2.0, -inf],
        [1e4, -1e4, 0.0, 9999.5],
        [0.3, inf, 2.0, 0.1],
        [-inf, inf, -inf, -inf],
        [-inf, -inf, -inf, -inf],
        [inf, 0.1, inf, -inf],
        [0.3, nan, 2.0, 0.1],
        [3e38, -3e38, 0.0, 1.0],
    ]
    return tuple(jnp.asarray([row], jnp.float32) for row in rows)


@pytest.mark.parametrize(("size", "mode"), [(3, "reverse"), (4, "reverse"), (3, "any")])
def test_truth_table(size: int, mode: str) -> None:
    """Each row alone, as the kernel of one hidden state 1, so that kernel gradients are those of the logits."""
    hidden = jnp.ones((1, 1), jnp.float32)

    def fused(kernel: jax.Array, label: jax.Array) -> jax.Array:
        return linear_softmax_cross_entropy(hidden, kernel, label[None], block_size=size, differentiation=mode)[0]

    def whole(kernel: jax.Array, label: jax.Array) -> jax.Array:
        return jaxinfo.softmax_cross_entropy(kernel[0], label)

    kernels = jnp.concatenate([row[None] for row in hard_problem() for _ in range(6)])
    labels = jnp.asarray([0, 1, 2, 3, -1, 4] * len(hard_problem()))
    got, want = (jax.jit(jax.vmap(jax.value_and_grad(f)))(kernels, labels) for f in (fused, whole))
    for i in range(len(labels)):
        what = f"{kernels[i]}, label {labels[i]}"
        bound = (16 + abs(np.log(float(want[0][i]))) if 0 < want[0][i] < 1 else 16) * EPS
        np.testing.assert_allclose(got[0][i], want[0][i], rtol=bound, err_msg=what)
        steep = 16 + 2 * np.abs(np.log(np.abs(np.asarray(want[1][i], np.float64)) + 1e-300)).clip(0, 88)
        off = np.abs(np.asarray(got[1][i], np.float64) - np.asarray(want[1][i], np.float64))
        allowed = steep * EPS * np.abs(np.asarray(want[1][i], np.float64)) + np.finfo(np.float32).tiny
        same = np.isnan(got[1][i]) & np.isnan(want[1][i])
        assert np.all(same | (off <= allowed)), f"{what}: {got[1][i]}, wanted {want[1][i]}"


@both_modes
def test_what_does_not_count_may_hold_anything(mode: str) -> None:
    hidden = HIDDEN.at[3].set(nan)
    labels = LABELS.at[3].set(-100)
    options = {"where": WHERE, "label_smoothing": 0.1, "soft_cap": 4.0}

    def loss(hidden: jax.Array, kernel: jax.Array, labels: jax.Array, fused: bool) -> jax.Array:
        how = {"block_size": 8, "differentiation": mode} if fused else {}
        function = linear_softmax_cross_entropy if fused else reference
        return jnp.sum(function(hidden, kernel, labels, **options, **how) * COTANGENT)

    got = jax.jit(jax.value_and_grad(lambda h, k: loss(h, k, labels, True), (0, 1)))(hidden, KERNEL)
    want = jax.jit(jax.value_and_grad(lambda h, k: loss(h, k, LABELS, False), (0, 1)))(HIDDEN, KERNEL)
    assert_close(got, want)


def test_first_block_masked_and_absent_kernel_columns() -> None:
    where = jnp.arange(V) >= 10
    labels = jnp.maximum(LABELS, 12)
    kernel = jnp.where(jnp.arange(V)[None] == 11, -inf, jnp.abs(KERNEL))
    hidden = jnp.abs(HIDDEN)

    def fused(hidden: jax.Array, kernel: jax.Array) -> jax.Array:
        return jnp.sum(linear_softmax_cross_entropy(hidden, kernel, labels, where=where, block_size=8) * COTANGENT)

    def whole(hidden: jax.Array, kernel: jax.Array) -> jax.Array:
        keep = where & (jnp.arange(V) != 11)
        kernel = jnp.where(keep[None], kernel, 0)
        return jnp.sum(reference(hidden, kernel, labels, where=keep) * COTANGENT)

    got = jax.jit(jax.value_and_grad(fused, (0, 1)))(hidden, kernel)
    assert_close(got, jax.jit(jax.value_and_grad(whole, (0, 1)))(hidden, kernel))


@pytest.mark.parametrize(
    ("n", "d", "v", "reduction", "mode"),
    [
        (0, 3, 5, "none", "reverse"),
        (0, 3, 5, "mean", "any"),
        (3, 1, 1, "none", "reverse"),
        (2, 0, 3, "mean", "reverse"),
        (2, 0, 3, "mean", "any"),
    ],
)
def test_small_shapes(n: int, d: int, v: int, reduction: str, mode: str) -> None:
    hidden, kernel, labels = jnp.ones((n, d)), jnp.ones((d, v)), jnp.zeros(n, jnp.int32)
    how: dict[str, Any] = {"reduction": reduction, "differentiation": mode}

    @jax.jit
    @jax.value_and_grad
    def of(kernel: jax.Array) -> jax.Array:
        return jnp.sum(linear_softmax_cross_entropy(hidden, kernel, labels, **how))

    value, slope = of(kernel)
    want = np.log(v) * (n if reduction == "none" else min(n, 1))
    np.testing.assert_allclose(value, want, rtol=1e-14, atol=1e-14)
    assert slope.shape == (d, v)
    assert np.isfinite(slope).all()


def test_batch_axes_and_a_mask_that_broadcasts() -> None:
    hidden = jnp.asarray(np.random.default_rng(1).standard_normal((2, 3, D)))
    labels = LABELS[:6].reshape(2, 3)
    for where in (WHERE[:2, None, :], WHERE[None, :3, :], WHERE_ROWS, jnp.asarray(True)):
        got = jax.jit(partial(linear_softmax_cross_entropy, block_size=8))(hidden, KERNEL, labels, where=where)
        assert_close(got, jax.jit(reference)(hidden, KERNEL, labels, where=where))


WHERE_ROWS = jnp.asarray([[[True], [False], [True]], [[True], [True], [False]]])


def test_the_sum_over_a_large_vocabulary_is_compensated() -> None:
    v = 65_537
    kernel = jnp.asarray(np.random.default_rng(3).standard_normal((1, v)), jnp.float32)
    got = linear_softmax_cross_entropy(jnp.ones((1, 1), jnp.float32), kernel, jnp.asarray([5]), block_size=128)
    x = np.asarray(kernel[0], np.float64)
    want = np.log(np.exp(x).sum()) - x[5]
    np.testing.assert_allclose(got[0], want, rtol=8 * EPS)


@pytest.mark.parametrize(
    "way",
    [{}, {"differentiation": "any"}, {"reduction": "sum"}, {"reduction": "sum", "strategy": "token"}],
    ids=str,
)
def test_smoothing_where_every_logit_is_negative(way: dict[str, str]) -> None:
    """A block without the label has no logit of 0 for it, above all others."""
    bias = jnp.full(V, -60.0)
    options = {"label_smoothing": 0.2, "class_weights": jnp.linspace(0.5, 2, V)}

    def fused(h: jax.Array) -> jax.Array:
        return linear_softmax_cross_entropy(h, KERNEL, LABELS, bias=bias, block_size=8, **options, **way)

    def dense(h: jax.Array) -> jax.Array:
        losses = jaxinfo.softmax_cross_entropy(h @ KERNEL + bias[None], LABELS, **options)
        return losses.sum() if "reduction" in way else losses

    def modes(f: Callable[[jax.Array], jax.Array]) -> Any:
        slope = jax.grad(lambda h: f(h).sum())
        bend = jax.jvp(slope, (HIDDEN,), (jnp.cos(HIDDEN),)) if way == {"differentiation": "any"} else slope(HIDDEN)
        return f(HIDDEN), bend

    assert_close(jax.jit(lambda: modes(fused))(), jax.jit(lambda: modes(dense))())
