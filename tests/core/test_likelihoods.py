"""gaussian_nll and poisson_nll against mpmath: limits, large counts near their rate, all derivative modes."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinfo._likelihoods import gaussian_nll, poisson_nll

from .oracle import mp
from .tolerance import FLOATS, assert_absolute, assert_close, floats

inf, nan = float("inf"), float("nan")


def all_modes(f: Callable[..., jax.Array], n: int) -> Callable[..., tuple[Any, ...]]:
    """Return the value, the gradients by reverse and by forward mode, and both Hessians, elementwise."""
    at = tuple(range(n))
    return jax.jit(
        jax.vmap(
            lambda *v: (
                f(*v),
                jax.grad(f, at)(*v),
                jax.jacfwd(f, at)(*v),
                jax.jacfwd(jax.grad(f, at), at)(*v),
                jax.jacrev(jax.jacfwd(f, at), at)(*v),
            )
        )
    )


@FLOATS
def test_gaussian_in_every_mode(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    x, mean = (jnp.asarray(rng.normal(size=60) * 10.0 ** rng.uniform(-3, 3, 60), dtype) for _ in range(2))
    variance = jnp.asarray(10.0 ** rng.uniform(-6, 6, 60), dtype)
    value, reverse, forward, bend, other = all_modes(gaussian_nll, 3)(x, mean, variance)
    rows = list(zip(*(map(mp.mpf, floats(v)) for v in (x, mean, variance)), strict=True))
    z = [(a - m) ** 2 / v for a, m, v in rows]
    want = [(mp.log(2 * mp.pi * v) + k) / 2 for (_, _, v), k in zip(rows, z, strict=True)]
    sizes = [2 * (abs(mp.log(v)) + mp.log(2 * mp.pi) + k) for (_, _, v), k in zip(rows, z, strict=True)]
    assert_absolute(value, want, sizes, dtype=dtype, what="value")
    to_x = [(a - m) / v for a, m, v in rows]
    to_v = [(1 - k) / (2 * v) for (_, _, v), k in zip(rows, z, strict=True)]
    scale = [4 * (1 + k) / v for (_, _, v), k in zip(rows, z, strict=True)]
    for slopes in (reverse, forward):
        assert_close(slopes[0], to_x, lambda _: 8, dtype=dtype, what="to x")
        assert_close(slopes[1], [-g for g in to_x], lambda _: 8, dtype=dtype, what="to the mean")
        assert_absolute(slopes[2], to_v, scale, dtype=dtype, what="to the variance")
    for hessian in (bend, other):
        assert_close(hessian[0][0], [1 / v for _, _, v in rows], lambda _: 8, dtype=dtype, what="x x")
        assert_close(hessian[0][1], [-1 / v for _, _, v in rows], lambda _: 8, dtype=dtype, what="x mean")
        crossed = [-g / v for g, (_, _, v) in zip(to_x, rows, strict=True)]
        assert_close(hessian[0][2], crossed, lambda _: 16, dtype=dtype, what="x variance")
        twice = [(k - mp.mpf(0.5)) / v**2 for (_, _, v), k in zip(rows, z, strict=True)]
        allowed = [8 * (1 + k) / v**2 for (_, _, v), k in zip(rows, z, strict=True)]
        assert_absolute(hessian[2][2], twice, allowed, dtype=dtype, what="variance variance")


@FLOATS
def test_gaussian_at_the_ends(dtype: Any) -> None:
    x = jnp.asarray([1.0, 2.0, 1.0, 1.0, 3e19, nan], dtype)
    mean = jnp.asarray([1.0, 1.0, 1.0, 0.0, -3e19, 0.0], dtype)
    variance = jnp.asarray([0.0, 0.0, -1.0, -0.5, 1e38, 1.0], dtype)
    value, reverse, forward, *_ = all_modes(gaussian_nll, 3)(x, mean, variance)
    np.testing.assert_array_equal(value[:4], [-inf, inf, nan, nan])
    last = (mp.log(2 * mp.pi * mp.mpf(floats(variance)[4])) + mp.mpf(6e19) ** 2 / mp.mpf(floats(variance)[4])) / 2
    assert abs(value[4] - float(last)) < 1e-4 * float(last)
    assert np.isnan(value[5])
    for slopes in (reverse, forward):
        assert not any(np.asarray(slope[:2]).any() for slope in slopes)
        assert all(np.isnan(slope[2:4]).all() for slope in slopes)
    with jax.debug_nans(True):
        gaussian_nll(x[:2], mean[:2], variance[:2])
        gaussian_nll(x[:2], mean[:2], 0.0)


def test_gaussian_variance_may_be_a_scalar_and_is_in_the_density() -> None:
    x = jnp.asarray([0.0, 2.0], jnp.float32)
    full = gaussian_nll(x, jnp.zeros_like(x), jnp.full_like(x, 4.0))
    for variance in (4.0, 4, jnp.asarray(4.0, jnp.float32)):
        np.testing.assert_array_equal(gaussian_nll(x, jnp.zeros_like(x), variance), full)
    np.testing.assert_allclose(full, [0.5 * math.log(8 * math.pi), 0.5 * math.log(8 * math.pi) + 0.5], rtol=1e-6)
    slope = jax.grad(lambda v: gaussian_nll(x, jnp.zeros_like(x), v).sum())(jnp.asarray(4.0, jnp.float32))
    np.testing.assert_allclose(slope, 2 / 8 - 4 / 32, rtol=1e-6)


COUNTS = [0.0, 0.3, 1.0, 2.0, 3.0, 7.0, 8.0, 9.0, 21.0, 100.0, 1e3, 1e5, 1e6, 3e7]


@FLOATS
def test_poisson_in_every_mode(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    x = np.repeat(COUNTS, 8)
    delta = rng.normal(size=x.size) * 10.0 ** rng.uniform(-5, 0.7, x.size)
    x, eta = jnp.asarray(x, dtype), jnp.asarray(np.log(np.where(x > 0, x, 1)) + delta, dtype)
    value, reverse, forward, bend, other = all_modes(poisson_nll, 2)(x, eta)
    rows = list(zip(*(map(mp.mpf, floats(v)) for v in (x, eta)), strict=True))
    want = [mp.exp(e) - a * e + mp.loggamma(a + 1) for a, e in rows]
    apart = [a * abs(e - mp.log(a)) if a else mp.mpf(0) for a, e in rows]
    sizes = [16 * (w + d) for w, d in zip(want, apart, strict=True)]
    assert_absolute(value, want, sizes, dtype=dtype, what="value")
    allowed = [8 * (abs(mp.exp(e) - a) + a + mp.exp(e)) for a, e in rows]
    for slopes in (reverse, forward):
        assert_absolute(slopes[1], [mp.exp(e) - a for a, e in rows], allowed, dtype=dtype, what="to log_rate")
        to_x = [mp.digamma(a + 1) - e for a, e in rows]
        assert_absolute(slopes[0], to_x, [8 * (2 + abs(e)) for _, e in rows], dtype=dtype, what="to x")
    for hessian in (bend, other):
        assert_close(hessian[1][1], [mp.exp(e) for _, e in rows], lambda _: 8, dtype=dtype, what="log_rate twice")
        np.testing.assert_array_equal(hessian[0][1], -np.ones(x.shape))
        twice = [mp.psi(1, a + 1) for a, _ in rows]
        assert_close(hessian[0][0], twice, lambda _: 128, dtype=dtype, what="x twice")


def test_poisson_near_its_optimum_is_not_the_rounding_of_its_terms() -> None:
    """A million counts at their rate: exp(eta) - x eta + lgamma(x + 1) in float32 is off by 1 of 7.8."""
    x = jnp.asarray([1_000_000, 1_000_000], jnp.int32)
    eta = jnp.asarray([13.815511, 13.816], jnp.float32)
    want = [mp.exp(e) - 10**6 * e + mp.loggamma(10**6 + 1) for e in map(mp.mpf, floats(eta))]
    value, slope = jax.vmap(jax.value_and_grad(poisson_nll, 1))(x, eta)
    assert_close(value, want, lambda _: 1024, dtype=jnp.float32, what="value")
    assert_absolute(
        slope, [mp.exp(e) - 10**6 for e in map(mp.mpf, floats(eta))], [1e6] * 2, dtype=jnp.float32, what="slope"
    )


@FLOATS
def test_poisson_of_small_fractions_does_not_round_one_and_a_count(dtype: Any) -> None:
    x = jnp.asarray([1e-30, 1e-10, 1e-6, 1e-3, 0.05, 0.3, 0.499, 0.501, 0.8], dtype)
    eta = jnp.log(x) + jnp.asarray([0, 0, 1e-3, 0, 0.1, 0, -2, 0, 1], dtype)
    rows = [(mp.mpf(a), mp.mpf(e)) for a, e in zip(floats(x), floats(eta), strict=True)]
    want = [mp.exp(e) - a * e + mp.loggamma(a + 1) for a, e in rows]
    bounds = {w: 16 * (1 + float(a * abs(e - mp.log(a)) / w)) for (a, e), w in zip(rows, want, strict=True)}
    assert_close(poisson_nll(x, eta), want, lambda w: bounds[w], dtype=dtype, what="value")


@FLOATS
def test_gaussian_gradients_at_variances_whose_inverse_is_subnormal(dtype: Any) -> None:
    most = mp.mpf(float(jnp.finfo(dtype).max))
    r, v = (float(jnp.asarray(float(c), dtype)) for c in (mp.sqrt(most), most / 4))
    slopes = jax.grad(gaussian_nll, (0, 1, 2))(*(jnp.asarray(c, dtype) for c in (r, 0.0, v)))
    r, v = mp.mpf(r), mp.mpf(v)
    want = [r / v, -r / v, 1 / (2 * v) - (r / v) ** 2 / 2]
    assert_close(jnp.stack(slopes), want, lambda _: 16, dtype=dtype, what="slopes")


@FLOATS
def test_poisson_at_the_ends(dtype: Any) -> None:
    x = jnp.asarray([0, 3, 0, 2, -1, 5, 1], dtype)
    eta = jnp.asarray([-inf, -inf, -1e4, -1e4, 0.5, nan, 1e4], dtype)
    value, reverse, forward, bend, _ = all_modes(poisson_nll, 2)(x, eta)
    np.testing.assert_array_equal(value[:3], [0, inf, 0])
    assert abs(value[3] - (2e4 + math.log(2))) < 1e-2
    np.testing.assert_array_equal(value[4:], [nan, nan, inf])
    for slopes in (reverse, forward):
        np.testing.assert_array_equal(slopes[1][:5], [0, -3, 0, -2, nan])
        np.testing.assert_array_equal(slopes[0][0], 0)
        assert np.isnan(slopes[0][4])
        assert np.isnan(slopes[1][5])
    np.testing.assert_array_equal(bend[1][1][:4], [0, 0, 0, 0])
    with jax.debug_nans(True):
        poisson_nll(x[:4], eta[:4])
        jax.jit(jax.grad(lambda e: poisson_nll(x[:4], e).sum()))(eta[:4])


def test_poisson_takes_integers_and_small_counts_are_exact_factorials() -> None:
    x = jnp.arange(20, dtype=jnp.uint8)
    got = poisson_nll(x, jnp.zeros(20))
    want = [1 + math.lgamma(n + 1) for n in range(20)]
    np.testing.assert_allclose(got, want, rtol=16 * float(jnp.finfo(jnp.float64).eps))
    np.testing.assert_array_equal(got, poisson_nll(x.astype(jnp.float64), jnp.zeros(20)))


@FLOATS
def test_excluded_elements_are_exactly_zero(dtype: Any) -> None:
    bad = jnp.asarray([nan, inf, -inf, -1.0, 2.0], dtype)
    where = jnp.arange(5) == 4

    def gaussian(x: jax.Array, mean: jax.Array, variance: jax.Array) -> jax.Array:
        return gaussian_nll(x, mean, variance, where=where)

    def poisson(x: jax.Array, log_rate: jax.Array) -> jax.Array:
        return poisson_nll(x, log_rate, where=where)

    for f, n in ((gaussian, 3), (poisson, 2)):
        value, pull = jax.vjp(jax.jit(f), *(bad,) * n)
        tangent = jax.jvp(jax.jit(f), (bad,) * n, (jnp.ones_like(bad),) * n)[1]
        for out in (value, tangent, *pull(jnp.ones_like(value))):
            assert not np.asarray(out)[:4].any()
        assert np.isfinite(value).all()
        assert value[4] != 0


def test_dtypes_and_vmap() -> None:
    x, y = jnp.asarray([1.0, 2.0], jnp.bfloat16), jnp.asarray([0.5, 0.25], jnp.float16)
    assert gaussian_nll(x, y, 1.0).dtype == jnp.float32
    assert gaussian_nll(x, y, y.astype(jnp.float64)).dtype == jnp.float64
    assert poisson_nll(x, y).dtype == jnp.float32
    value, pull = jax.vjp(poisson_nll, x, y)
    assert [v.dtype for v in pull(jnp.ones_like(value))] == [jnp.bfloat16, jnp.float16]
    np.testing.assert_allclose(jax.jit(jax.vmap(poisson_nll))(x, y), value, rtol=1e-6)
    np.testing.assert_allclose(
        jax.jit(jax.vmap(gaussian_nll, (0, 0, None)))(x, y, 2.0), gaussian_nll(x, y, 2.0), rtol=1e-6
    )


@pytest.mark.usefixtures("own_errors")
def test_errors() -> None:
    x = jnp.zeros((4, 3))
    with pytest.raises(ValueError, match=r"`mean` must have shape \(4, 3\), that of `x`, got \(3,\)"):
        gaussian_nll(x, x[0], 1.0)
    with pytest.raises(ValueError, match=r"`variance` must be a scalar or have shape \(4, 3\).* got \(1, 3\)"):
        gaussian_nll(x, x, x[:1])
    with pytest.raises(ValueError, match=r"`variance` must be a non-negative number or an array, got -1"):
        gaussian_nll(x, x, -1.0)
    with pytest.raises(TypeError, match="`x` must have a floating dtype, got int"):
        gaussian_nll(jnp.zeros((4, 3), int), x, 1.0)
    with pytest.raises(ValueError, match=r"`x` must have shape \(4, 3\), that of `log_rate`, got \(4, 1\)"):
        poisson_nll(x[:, :1], x)
    with pytest.raises(TypeError, match="`log_rate` must have a floating dtype"):
        poisson_nll(x, x.astype(int))
    with pytest.raises(TypeError, match="`x`"):
        poisson_nll(x == 0, x)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="`where` must have dtype bool"):
        poisson_nll(x, x, where=x)  # type: ignore[arg-type]


@pytest.mark.parametrize("deviation", [1e-15, 1e-7, 1.0, 1e8, 1e15])
def test_gaussian_of_a_log_variance_at_any_scale(deviation: float) -> None:
    """Nothing on the way is a power of the variance, which float32 could not hold."""
    nll = lambda s, r: gaussian_nll(r, jnp.float32(0), jnp.exp(s))  # noqa: E731
    s, r = jnp.float32(2 * math.log(deviation)), jnp.float32(2 * deviation)
    square = float(r) ** 2 * math.exp(-float(s))  # (r / sigma)**2
    grad = jax.grad(nll)
    seconds = [jax.jacfwd(grad), jax.jacrev(grad), jax.jacfwd(jax.jacfwd(nll))]
    np.testing.assert_allclose(grad(s, r), (1 - square) / 2, rtol=1e-4)
    np.testing.assert_allclose([f(s, r) for f in seconds], square / 2, rtol=1e-4)
    np.testing.assert_allclose(jax.grad(jax.jacfwd(grad))(s, r), -square / 2, rtol=1e-4)
    to_variance = jax.grad(lambda v: gaussian_nll(jnp.float32(0), jnp.float32(0), v))(jnp.float32(1e-20))
    np.testing.assert_allclose(to_variance, 5e19, rtol=1e-6)


@pytest.mark.usefixtures("own_errors")
def test_counts_that_int32_does_not_hold() -> None:
    rate = jnp.float32(22.0)
    for count in (np.asarray(2**32), 2**32):
        np.testing.assert_array_equal(poisson_nll(count, rate), poisson_nll(jnp.float32(2**32), rate))
    with pytest.raises(TypeError, match="`x` must be counts, of an integer or a floating dtype, got bool"):
        poisson_nll(np.asarray(True), rate)


def test_a_nan_residual_at_variance_0_has_nan_gradients() -> None:
    for arg in (0, 1):
        slopes = jax.grad(lambda *a: gaussian_nll(*a).sum(), arg)(
            jnp.array([jnp.nan, 1.0, 2.0]), jnp.array([1.0, 1.0, 1.0]), jnp.zeros(3)
        )
        np.testing.assert_array_equal(slopes, [np.nan, 0.0, 0.0])
