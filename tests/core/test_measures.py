"""entropy, cross_entropy, logits_from_probs, to_bits and perplexity against mpmath."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinfo

from . import oracle
from .oracle import mp
from .tolerance import FLOATS, assert_absolute, assert_close, assert_normwise, floats, log_size

entropy_and_slope = jax.jit(jax.vmap(jax.value_and_grad(jaxinfo.entropy)))
cross_entropy_and_slopes = jax.jit(jax.vmap(jax.value_and_grad(jaxinfo.cross_entropy, (0, 1))))


def rows(scale: float, classes: int, seed: int = 0) -> np.ndarray:
    return scale * np.random.default_rng(seed).standard_normal((3, classes))


@FLOATS
@pytest.mark.parametrize("classes", [1, 2, 127, 129, 1000])
def test_entropy_at_every_scale(dtype: Any, classes: int) -> None:
    for scale in (0.0, 0.1, 1.0, 30.0, 1e4, 5e37):
        x = jnp.asarray(rows(scale, classes), dtype)
        values, slopes = entropy_and_slope(x)
        for n in range(3):
            value, slope = oracle.entropy(floats(x[n]))
            name = f"scale {scale}, V {classes}, row {n}"
            assert_close(values[n], [value], lambda h: 8 + abs(log_size(h)), dtype=dtype, what=name)
            if scale >= 1:
                k = 32 + abs(log_size(value))
                assert_normwise(slopes[n], slope, k, dtype=dtype, what=f"{name}, gradient")


@FLOATS
def test_entropy_of_nearly_deterministic_rows(dtype: Any) -> None:
    margins = np.asarray([5.0, 10, 15, 17, 20, 30, 39, 40, 50, 60, 65])
    x = np.zeros((len(margins), 50))
    x[:, 1:] = -margins[:, None] - np.random.default_rng(1).uniform(0, 5, (len(margins), 49))
    values = jax.jit(jaxinfo.entropy)(jnp.asarray(x, dtype))
    for n, margin in enumerate(margins):
        value, _ = oracle.entropy(floats(jnp.asarray(x[n], dtype)))
        assert value > 1e-29
        assert_close(values[n], [value], lambda h: 8 + abs(log_size(h)), dtype=dtype, what=f"margin {margin}")


@FLOATS
def test_entropy_is_within_its_bounds(dtype: Any) -> None:
    for classes in (1, 2, 3, 1000):
        x = jnp.full((2, classes), 7.5, dtype).at[1, 0].set(1e4)
        uniform, certain = jax.jit(jaxinfo.entropy)(x).tolist()
        assert uniform == pytest.approx(np.log(classes), rel=8 * float(jnp.finfo(dtype).eps))
        assert certain == 0.0


@FLOATS
@pytest.mark.parametrize("classes", [1, 2, 129, 1000])
def test_cross_entropy_and_its_gradients(dtype: Any, classes: int) -> None:
    for scale in (0.1, 1.0, 30.0, 1e4):
        p, q = jnp.asarray(rows(scale, classes, 2), dtype), jnp.asarray(rows(scale, classes, 3), dtype)
        values, (to_p, to_q) = cross_entropy_and_slopes(p, q)
        for n in range(3):
            value, want_p, want_q = oracle.cross_entropy(floats(p[n]), floats(q[n]))
            name = f"scale {scale}, V {classes}, row {n}"
            assert_close(values[n], [value], lambda h: 16 + 2 * abs(log_size(h)), dtype=dtype, what=name)
            r, s = oracle.row(floats(p[n])), oracle.row(floats(q[n]))
            assert r is not None
            assert s is not None
            allowed = [(8 + abs(log_size(u))) * u + (8 + abs(log_size(v))) * v for u, v in zip(r.p, s.p, strict=True)]
            assert_absolute(to_q[n], want_q, allowed, dtype=dtype, what=f"{name}, gradient to q")
            if 1 <= scale <= 30:
                size = sum(abs(g) for g in want_p) or mp.mpf(1)
                k = 32 * max(1, value / size)
                assert_normwise(to_p[n], want_p, float(k), dtype=dtype, what=f"{name}, gradient to p")


@FLOATS
def test_logits_from_probs(dtype: Any) -> None:
    probs = jnp.asarray([0.25, 0.0, 1e-30, 1.0, 3.0, 1e30], dtype)
    got, slopes = jax.vmap(jax.value_and_grad(jaxinfo.logits_from_probs))(probs)
    want = [mp.log(mp.mpf(v)) if v else -oracle.INF for v in floats(probs)]
    assert_close(got, want, lambda _: 4, dtype=dtype, what="log")
    assert_close(
        slopes,
        [1 / mp.mpf(v) if v else oracle.ZERO for v in floats(probs)],
        lambda _: 4,
        dtype=dtype,
        what="slope, 0 at 0 by convention",
    )
    forward = jax.vmap(lambda v: jax.jvp(jaxinfo.logits_from_probs, (v,), (jnp.ones_like(v),))[1])(probs)
    np.testing.assert_array_equal(np.asarray(forward), np.asarray(slopes))
    assert np.isnan(jaxinfo.logits_from_probs(jnp.asarray([jnp.nan, -1.0], dtype))).all()
    bend = jax.grad(jax.grad(jaxinfo.logits_from_probs))
    assert float(bend(jnp.asarray(0.0, dtype))) == 0.0
    assert float(bend(jnp.asarray(2.0, dtype))) == -0.25


@FLOATS
def test_counts_give_their_relative_frequencies(dtype: Any) -> None:
    counts = jnp.asarray([3.0, 0.0, 1.0, 4.0], dtype)
    got = jaxinfo.softmax(jaxinfo.logits_from_probs(counts))
    np.testing.assert_allclose(got, [3 / 8, 0, 1 / 8, 0.5], rtol=8 * float(jnp.finfo(dtype).eps))
    slope = jax.grad(lambda c: jaxinfo.entropy(jaxinfo.logits_from_probs(c)))(counts)
    assert np.isfinite(slope).all()
    assert float(slope[1]) == 0.0


@FLOATS
def test_units(dtype: Any) -> None:
    nats = jnp.asarray([0.0, 0.25, 1.0, 11.5, jnp.inf], dtype)
    bits = jaxinfo.to_bits(nats)
    assert_close(
        bits,
        [mp.mpf(v) / mp.log(2) if v < jnp.inf else oracle.INF for v in floats(nats)],
        lambda _: 2,
        dtype=dtype,
        what="to_bits",
    )
    assert_close(
        jaxinfo.perplexity(nats), [mp.exp(mp.mpf(v)) for v in floats(nats)], lambda _: 4, dtype=dtype, what="perplexity"
    )
    np.testing.assert_allclose(jax.grad(jaxinfo.to_bits)(nats[1]), 1 / np.log(2), rtol=1e-6)
    np.testing.assert_allclose(jax.grad(jaxinfo.perplexity)(nats[1]), np.exp(0.25), rtol=1e-6)
    for convert in (jaxinfo.to_bits, jaxinfo.perplexity):
        assert convert(nats).dtype == dtype
        assert convert(nats.astype(jnp.bfloat16)).dtype == jnp.float32
