"""Half precision read where it lies: the numbers of its float32, whatever is beside it, in the memory of neither."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinfo

inf, nan = float("inf"), float("nan")
WIDE = (12, 40_000)  # is cut into tiles
HALF = pytest.mark.parametrize(
    ("dtype", "shape"),
    [
        ("bfloat16", (9, 10)),
        ("bfloat16", WIDE),
        ("float16", (9, 10)),
        ("float16", (7, 9_001)),
    ],
    ids=str,
)
OTHERS = [("bfloat16", (9, 10)), ("float16", WIDE)]
PAIRS: dict[str, Callable[..., jax.Array]] = {
    "kl": jaxinfo.kl_divergence,
    "cross_entropy": jaxinfo.cross_entropy,
    "js": jaxinfo.js_divergence,
    "renyi": lambda p, q: jaxinfo.renyi_divergence(p, q, order=2.0),
    "hellinger": lambda p, q: jaxinfo.f_divergence(p, q, "hellinger"),
}


def hard_rows(shape: tuple[int, int], dtype: str, seed: int = 0) -> jax.Array:
    """Return rows that lead by little and by much, one with ties, one masked and four that are no distribution."""
    x = np.random.default_rng(seed).normal(size=shape)
    x[0, 3], x[1, 4], x[2, :2] = 30, 90, 5
    x[3, ::2] = -inf
    x[4, 5] = nan
    if len(x) > 7:
        x[5], x[6, 1], x[7, :2] = -inf, inf, inf
    return jnp.asarray(x, dtype)


@HALF
@pytest.mark.parametrize(
    "options",
    [{}, {"temperature": 0.7}, {"soft_cap": 3.0}, {"label_smoothing": 0.1}, {"z_loss": 0.01}, {"where": True}],
    ids=str,
)
def test_losses_and_gradients_are_those_of_float32(dtype: str, shape: tuple[int, int], options: dict[str, Any]) -> None:
    x, labels = hard_rows(shape, dtype), jnp.arange(shape[0]) % 6 - 1
    if "where" in options:
        options = {"where": jnp.arange(shape[1]) % 5 > 0}

    t = jnp.asarray(np.random.default_rng(4).normal(size=shape), dtype)

    def modes(x: jax.Array, t: jax.Array) -> tuple[jax.Array, ...]:
        f = jax.vmap(lambda x, y: jaxinfo.softmax_cross_entropy(x, y, **options))
        slope = jax.grad(lambda x: f(x, labels).sum())
        value, rate = jax.jvp(lambda x: jaxinfo.softmax_cross_entropy(x, labels, **options), (x,), (t,))
        return value, rate, *jax.jvp(slope, (x,), (t,))

    wide = [a.astype(jnp.float32) for a in (x, t)]
    (half, rate, *slopes), (single, single_rate, *single_slopes) = jax.jit(lambda: (modes(x, t), modes(*wide)))()
    np.testing.assert_allclose(half, single, rtol=2**-18)
    np.testing.assert_allclose(rate, single_rate, rtol=2**-16, atol=2**-18)
    for slope, wanted in zip(slopes, single_slopes, strict=True):
        assert slope.dtype == dtype
        rounded = wanted.astype(dtype).astype(jnp.float32)
        np.testing.assert_allclose(slope.astype(jnp.float32), rounded, rtol=2**-7, atol=float(jnp.finfo(dtype).tiny))


@HALF
def test_distributions_as_targets(dtype: str, shape: tuple[int, int]) -> None:
    x = hard_rows(shape, dtype)
    t = jax.nn.softmax(jnp.asarray(np.random.default_rng(1).normal(size=shape), jnp.float32))
    for targets in (t, t.astype(dtype), jnp.where(x > -inf, t, 0)):
        half = jax.jit(jaxinfo.softmax_cross_entropy)(x, targets)
        single = jax.jit(jaxinfo.softmax_cross_entropy)(x.astype(jnp.float32), targets.astype(jnp.float32))
        np.testing.assert_allclose(half, single, rtol=2**-18)


@pytest.mark.parametrize(
    ("name", "dtype", "shape"),
    [("kl", "bfloat16", (9, 10)), ("kl", "bfloat16", WIDE), ("kl", "float16", (7, 9_001))]
    + [(name, dtype, shape) for name in PAIRS if name != "kl" for dtype, shape in OTHERS],
    ids=str,
)
def test_what_is_beside_half_precision_keeps_its_digits(name: str, dtype: str, shape: tuple[int, int]) -> None:
    narrow = hard_rows(shape, dtype)
    wide = narrow.astype(jnp.float32) + jnp.asarray(np.random.default_rng(2).normal(size=shape) / 100, jnp.float32)
    other = hard_rows(shape, "bfloat16" if dtype == "float16" else "float16", seed=3)
    f = jax.jit(PAIRS[name])
    pairs = [(narrow, wide), (narrow, narrow[::-1])]
    if shape[1] == 10:  # many classes change how rows are cut, not who is beside whom
        pairs += [(wide, narrow), (narrow, other), (other, narrow)]
    for p, q in pairs:
        single = f(p.astype(jnp.float32), q.astype(jnp.float32))
        np.testing.assert_allclose(f(p, q), single, rtol=2**-17, atol=1e-12)


@pytest.mark.skipif(
    jax.default_backend() != "cpu" or jax.__version_info__ < (0, 10, 2), reason="XLA's CPU backend, since it fuses sums"
)
@pytest.mark.parametrize("name", ["labels", "smoothed", "logsumexp"])
def test_no_float32_copy_of_half_precision_is_written(name: str) -> None:
    x, labels = jnp.zeros((64, 32_768), jnp.bfloat16), jnp.zeros(64, jnp.int32)
    f = {
        "labels": lambda x: jaxinfo.softmax_cross_entropy(x, labels),
        "smoothed": lambda x: jaxinfo.softmax_cross_entropy(x, labels, label_smoothing=0.1),
        "logsumexp": jaxinfo.logsumexp,
    }[name]
    compiled = jax.jit(f).lower(x).compile()
    copies = [line for line in _entry(compiled.as_text()) if " f32[64,32768]" in line.split("(")[0]]
    assert not copies


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="XLA's CPU backend")
def test_a_label_is_picked_from_half_precision_where_it_lies() -> None:
    shapes = jax.ShapeDtypeStruct((64, 32_768), jnp.bfloat16), jax.ShapeDtypeStruct((64,), jnp.int32)
    memory = jax.jit(jaxinfo.nll).lower(*shapes).compile().memory_analysis()
    assert memory is not None
    assert memory.temp_size_in_bytes < 2**16


def _entry(text: str) -> list[str]:
    """Return the instructions that always run, those of the branches that rows may need left out."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("ENTRY"))
    return lines[start : lines.index("}", start)]
