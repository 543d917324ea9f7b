"""mean and total: weights, where, axes, empty sums, accumulation in float32, and their gradients."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinfo

RANDOM = np.random.default_rng(0)
LOSSES = RANDOM.gamma(1.0, 2.0, (3, 4, 5))
WEIGHTS = RANDOM.gamma(1.0, 1.0, (3, 4, 5))
WHERE = RANDOM.random((3, 4, 5)) < 0.6
AXES = [None, 0, -1, (0, 2), (-1, 0), (0, 1, 2), ()]
TIGHT = {"rtol": 8 * 2.0**-52}


@pytest.mark.parametrize("axis", AXES)
def test_mean_and_total_are_their_definitions(axis: Any) -> None:
    over = tuple(range(3)) if axis is None else axis
    for weights in (None, WEIGHTS):
        for where in (None, WHERE):
            w = (np.ones_like(LOSSES) if weights is None else weights) * (1 if where is None else where)
            options: dict[str, Any] = {
                "weights": None if weights is None else jnp.asarray(weights),
                "where": None if where is None else jnp.asarray(where),
                "axis": axis,
            }
            summed, weight = jaxinfo.total(jnp.asarray(LOSSES), **options)
            np.testing.assert_allclose(summed, np.sum(w * LOSSES, axis=over), **TIGHT)
            np.testing.assert_allclose(weight, np.sum(w, axis=over), **TIGHT)
            with np.errstate(invalid="ignore"):
                want = np.sum(w * LOSSES, axis=over) / np.sum(w, axis=over)
            np.testing.assert_allclose(
                jaxinfo.mean(jnp.asarray(LOSSES), **options), np.where(np.isnan(want), 0, want), **TIGHT
            )


def test_where_broadcasts_like_in_sum() -> None:
    x = jnp.asarray(LOSSES)
    for where in (WHERE[0, 0], WHERE[:, :1, :1], WHERE[:1], np.asarray(True)):
        full = np.broadcast_to(where, LOSSES.shape)
        summed, weight = jaxinfo.total(x, where=jnp.asarray(where))
        np.testing.assert_allclose(summed, LOSSES[full].sum(), **TIGHT)
        np.testing.assert_allclose(weight, full.sum(), **TIGHT)


def test_excluded_losses_have_no_say() -> None:
    x = jnp.asarray([1.0, jnp.nan, 2.0, jnp.inf, -jnp.inf])
    where = jnp.asarray([True, False, True, False, False])
    value, slope = jax.value_and_grad(lambda x: jaxinfo.mean(x, where=where))(x)
    assert float(value) == 1.5
    np.testing.assert_array_equal(slope, [0.5, 0, 0.5, 0, 0])
    weights = jnp.asarray([1.0, 5.0, 3.0, jnp.nan, jnp.inf])
    value, slope = jax.value_and_grad(lambda w: jaxinfo.mean(x, weights=w, where=where))(weights)
    assert float(value) == 1.75
    np.testing.assert_allclose(slope, [-0.1875, 0, 0.0625, 0, 0], **TIGHT)
    _, forward = jax.jvp(lambda x: jaxinfo.mean(x, where=where), (x,), (jnp.ones_like(x),))
    assert float(forward) == 1.0


@pytest.mark.parametrize("empty", [0.0, 7.0, math.inf, math.nan])
def test_nothing_to_average_is_empty(empty: float) -> None:
    none = jnp.zeros(4, bool)
    x = jnp.asarray([1.0, jnp.nan, 2.0, jnp.inf])
    value, slope = jax.value_and_grad(lambda x: jaxinfo.mean(x, where=none, empty=empty))(x)
    np.testing.assert_array_equal(value, empty)
    np.testing.assert_array_equal(slope, 0)
    np.testing.assert_array_equal(jaxinfo.mean(jnp.zeros((0,)), empty=empty), empty)
    np.testing.assert_array_equal(jaxinfo.mean(jnp.zeros((2, 0)), axis=-1, empty=empty), [empty] * 2)
    assert [float(v) for v in jaxinfo.total(jnp.zeros((0, 3)))] == [0.0, 0.0]
    slope = jax.grad(lambda w: jaxinfo.mean(jnp.ones(3), weights=w, empty=1.0))(jnp.zeros(3))
    assert np.isfinite(slope).all()


def test_a_nan_that_counts_is_not_hidden() -> None:
    assert np.isnan(jaxinfo.mean(jnp.asarray([1.0, jnp.nan])))
    assert np.isinf(jaxinfo.mean(jnp.asarray([1.0, jnp.inf])))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16], ids=["bfloat16", "float16"])
def test_half_precisions_accumulate_in_float32(dtype: Any) -> None:
    x = jnp.ones(100_003, dtype)
    summed, weight = jaxinfo.total(x)
    assert summed.dtype == weight.dtype == jnp.float32
    assert float(summed) == float(weight) == 100_003.0
    assert float(jaxinfo.mean(x)) == 1.0
    assert jax.grad(jaxinfo.mean)(x).dtype == dtype
    weighted = jaxinfo.mean(x, weights=jnp.full(100_003, 0.1, dtype))
    assert float(weighted) == pytest.approx(1.0, rel=1e-6)


def test_dtypes_and_mixed_widths() -> None:
    for dtype in (jnp.float32, jnp.float64):
        assert jaxinfo.mean(jnp.ones(3, dtype)).dtype == dtype
    mixed = jaxinfo.mean(jnp.ones(3, jnp.float32), weights=jnp.ones(3, jnp.float64))
    assert mixed.dtype == jnp.float64


def test_a_million_losses_keep_their_digits() -> None:
    x = np.random.default_rng(1).gamma(1.0, 1.0, 1_000_000).astype(np.float32)
    true = math.fsum(x.tolist())
    assert float(jax.jit(jaxinfo.total)(jnp.asarray(x))[0]) == pytest.approx(true, rel=8 * 2.0**-23)
    assert float(jax.jit(jaxinfo.mean)(jnp.asarray(x))) == pytest.approx(true / 1e6, rel=8 * 2.0**-23)


def test_accumulated_totals_are_the_whole_mean() -> None:
    x, w = jnp.asarray(LOSSES.ravel()), jnp.asarray(WEIGHTS.ravel())
    parts = [jaxinfo.total(x[i : i + 13], weights=w[i : i + 13]) for i in range(0, 60, 13)]
    summed, weight = (sum(float(v) for v in column) for column in zip(*parts, strict=True))
    np.testing.assert_allclose(summed / weight, jaxinfo.mean(x, weights=w), rtol=1e-14)


def test_gradients_of_the_weighted_mean() -> None:
    x, w = jnp.asarray(LOSSES), jnp.asarray(WEIGHTS)
    to_x, to_w = jax.grad(lambda x, w: jaxinfo.mean(x, weights=w), (0, 1))(x, w)
    np.testing.assert_allclose(to_x, WEIGHTS / WEIGHTS.sum(), rtol=1e-14)
    average = (WEIGHTS * LOSSES).sum() / WEIGHTS.sum()
    np.testing.assert_allclose(to_w, (LOSSES - average) / WEIGHTS.sum(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("shift", [-80.0, -50.0, 0.0, 50.0, 80.0])
def test_gradient_to_weights_of_any_size(shift: float) -> None:
    losses, logs = jnp.asarray([1.0, 2.0, 3.0], jnp.float32), jnp.asarray([0.0, 0.75, 1.0], jnp.float32)

    def f(logs: jax.Array) -> jax.Array:
        return jaxinfo.mean(losses, weights=jnp.exp(logs + shift))

    share = np.exp(logs) / np.exp(logs).sum()
    centred = np.asarray(losses) - share @ np.asarray(losses)
    np.testing.assert_allclose(jax.grad(f)(logs), share * centred, rtol=1e-4)
    bend = np.diag(share * centred) - np.outer(share, share * centred) - np.outer(share * centred, share)
    np.testing.assert_allclose(jax.hessian(f)(logs), bend, rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("own_errors")
def test_empty_is_a_number_in_the_dtype_of_the_losses() -> None:
    nothing = jnp.zeros(0, jnp.float32)
    for empty in (np.float64(0.5), jnp.float32(0.5), 0.5):
        out = jaxinfo.mean(nothing, empty=empty)
        assert (float(out), out.dtype) == (0.5, jnp.float32)
    assert math.isnan(jaxinfo.mean(nothing, empty=np.float32("nan")))
    for empty in (None, "a", 1j):
        with pytest.raises(TypeError, match="`empty` must be a number"):
            jaxinfo.mean(nothing, empty=empty)
