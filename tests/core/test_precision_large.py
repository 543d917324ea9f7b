"""Large vocabularies: 32,768 and 262,144 classes against float64 sums that are exact (math.fsum)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinfo

from .oracle import large_row
from .tolerance import loss_bound

EPS = float(np.finfo(np.float32).eps)
TINY = float(np.finfo(np.float32).tiny)
KINDS = ["scale 0", "scale 0.1", "scale 1", "scale 30", "scale 1e4", "offset 1e4", "confident", "two peaks", "ties"]


@functools.lru_cache(maxsize=1)
def row(kind: str, classes: int) -> np.ndarray:
    """Return one float32 row."""
    x = np.random.default_rng(classes).standard_normal(classes)
    if kind.startswith("scale"):
        x = x * float(kind.split()[1])
    elif kind == "offset 1e4":
        x = x + 1e4
    elif kind == "ties":
        x = np.round(x)
    else:
        x[classes // 3] = 40.0
        x[classes - 1] = 39.5 if kind == "two peaks" else 0.0
    return x.astype(np.float32)


@functools.lru_cache(maxsize=1)
def truth(kind: str, classes: int) -> tuple[float, np.ndarray, np.ndarray]:
    return large_row(row(kind, classes))


@jax.jit
def losses(x: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    many = jnp.broadcast_to(x, (len(labels), len(x)))
    value, pull = jax.vjp(lambda x: jaxinfo.softmax_cross_entropy(x, labels), many)
    return value, pull(jnp.ones_like(value))[0], jaxinfo.log_softmax(x), jaxinfo.entropy(x)


@pytest.mark.parametrize("classes", [32768, 262144])
@pytest.mark.parametrize("kind", KINDS)
def test_losses_and_every_gradient_element(kind: str, classes: int) -> None:
    x = row(kind, classes)
    _, log_p, p = truth(kind, classes)
    labels = np.asarray([int(x.argmax()), int(x.argmin())])
    value, slope, logs, entropy = (np.asarray(out, np.float64) for out in losses(jnp.asarray(x), jnp.asarray(labels)))

    bound = np.asarray([float(loss_bound(classes)(-v)) for v in log_p[labels]])
    np.testing.assert_array_less(np.abs(value + log_p[labels]), bound * EPS * -log_p[labels] + TINY)

    size = -log_p
    bound = 16 + np.where(size < 1, np.abs(np.log(np.maximum(size, 1e-300))), 0)
    np.testing.assert_array_less(np.abs(logs - log_p), bound * EPS * size + TINY)

    for n, y in enumerate(labels):
        want = p.copy()
        want[y] = np.expm1(log_p[y])
        with np.errstate(divide="ignore"):
            steep = np.where(want == 0, 0, np.abs(np.log(np.abs(want))))
        bound = 8 + 2 * np.maximum(-log_p, steep)
        np.testing.assert_array_less(np.abs(slope[n] - want), bound * EPS * np.abs(want) + TINY)

    h = float(-(p * log_p).sum())
    assert abs(entropy - h) <= (8 + abs(np.log(h))) * EPS * h if h > 1e-30 else entropy <= 1e-30


@pytest.mark.parametrize("classes", [32767, 32769, 50257])
def test_no_class_is_dropped_or_padded(classes: int) -> None:
    """A uniform row is log V to a few eps whatever V divides by."""
    for dtype in (jnp.float32, jnp.bfloat16):
        x = jnp.full((1, classes), -1e4, dtype)
        value, slope, *_ = losses(x[0], jnp.asarray([classes - 1, 0]))
        np.testing.assert_allclose(value, np.log(classes), rtol=16 * EPS)
        rounding = 24 * EPS if dtype == jnp.float32 else float(jnp.finfo(dtype).eps)
        np.testing.assert_allclose(np.asarray(slope[0, :-1], np.float64), 1 / classes, rtol=rounding)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16], ids=["bfloat16", "float16"])
def test_half_precision_sums_are_float32(dtype: jnp.dtype) -> None:
    x = jnp.asarray(np.random.default_rng(0).standard_normal(100_000), dtype)
    _, log_p, p = large_row(np.asarray(x.astype(jnp.float32)))
    value, slope, *_ = losses(x, jnp.asarray([5, 77_777]))
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(np.asarray(value, np.float64), -log_p[[5, 77_777]], rtol=16 * EPS)
    assert slope.dtype == dtype
    want = np.where(np.arange(100_000) == 5, np.expm1(log_p), p)
    error = np.abs(np.asarray(slope[0].astype(jnp.float32), np.float64) - want)
    info = jnp.finfo(dtype)
    np.testing.assert_array_less(error, float(info.eps) * np.abs(want) + float(info.smallest_subnormal))


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(32768,), (1, 32771), (3, 262144)], ids=str)
def test_kl_over_a_large_vocabulary(shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(4)
    a = random.standard_normal(shape).astype(np.float32)
    for size in (1.0, 1e-2, 1e-4):
        b = (a + size * random.standard_normal(shape)).astype(np.float32)
        values, slopes = jax.jit(jax.vmap(jax.value_and_grad(jaxinfo.kl_divergence, (0, 1))))(
            *(jnp.asarray(x).reshape(-1, shape[-1]) for x in (a, b))
        )
        alone = np.ravel(jax.jit(jaxinfo.kl_divergence)(a, b))
        for n, (row, other) in enumerate(zip(a.reshape(-1, shape[-1]), b.reshape(-1, shape[-1]), strict=True)):
            _, _, p = large_row(row)
            d = other.astype(np.float64) - row.astype(np.float64)
            d = d - (p * d).sum()
            d = d - np.log1p((p * np.expm1(d)).sum())
            want = (p * (np.expm1(d) - d)).sum()
            what = f"differences of {size}, row {n}"
            assert float(values[n]) == pytest.approx(want, rel=16 * EPS), what
            assert float(alone[n]) == pytest.approx(want, rel=16 * EPS), what
            for slope, right in zip(slopes, (-p * (want + d), p * np.expm1(d)), strict=True):
                off = np.linalg.norm(np.asarray(slope[n], np.float64) - right)
                assert off <= 32 * EPS * np.linalg.norm(right), what
