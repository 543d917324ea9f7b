"""Heads of half precision: on processors that multiply bfloat16 as such, and on those that widen it."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinfo.linear import _products, linear_softmax_cross_entropy
from jaxinfo.linear._reference import reference

EPS = float(np.finfo(np.float32).eps)


@pytest.fixture(params=[False, True], ids=["widened", "native"])
def processor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Trace as on a processor that multiplies bfloat16, and as on one that widens it."""
    jax.clear_caches()
    monkeypatch.setattr(_products, "multiplies_bfloat16", lambda: request.param)
    yield
    jax.clear_caches()


@pytest.mark.usefixtures("processor")
@pytest.mark.parametrize(
    ("size", "options", "dtype", "bounds"),
    [
        (64, {"strategy": "auto"}, "bfloat16", (2e-3, 2e-3)),
        (8, {"strategy": "vocabulary"}, "bfloat16", (2e-3, 2e-3)),
        (512, {"strategy": "vocabulary"}, "bfloat16", (2e-3, 2e-3)),
        (64, {"strategy": "token"}, "bfloat16", (2e-3, 2e-3)),
        (8, {"differentiation": "any"}, "bfloat16", (2.5e-3, 2e-3)),  # a block's part of hidden's is rounded
        (64, {"strategy": "vocabulary"}, "float16", (5e-4, 5e-4)),
    ],
)
def test_half_precision_gradients_are_accumulated_in_float32(
    size: int, options: dict[str, str], dtype: str, bounds: tuple[float, float]
) -> None:
    random = np.random.default_rng(2)
    n, d, v = 1024, 16, 512
    hidden = jnp.asarray(random.standard_normal((n, d)), dtype)
    kernel = jnp.asarray(random.standard_normal((d, v)), dtype)
    labels = jnp.asarray(random.integers(0, v, n))
    wide = (hidden.astype(jnp.float64), kernel.astype(jnp.float64))
    how = {"reduction": "mean", "block_size": size, **options}

    @jax.jit
    def fused(hidden: jax.Array, kernel: jax.Array) -> Any:
        return jax.value_and_grad(lambda h, k: linear_softmax_cross_entropy(h, k, labels, **how), (0, 1))(
            hidden, kernel
        )

    value, slopes = fused(hidden, kernel)
    want, exact = jax.value_and_grad(lambda h, k: jnp.mean(reference(h, k, labels)), (0, 1))(*wide)
    assert value.dtype == jnp.float32
    assert abs(float(value) - float(want)) <= 1e-5 * float(want)
    for got, true, bound in zip(slopes, exact, bounds, strict=True):
        assert got.dtype == dtype
        off = np.linalg.norm(np.asarray(got.astype(jnp.float64) - true)) / np.linalg.norm(np.asarray(true))
        assert off <= bound


@pytest.mark.usefixtures("processor")
def test_every_product_of_half_precisions_is_asked_for_in_float32() -> None:
    """XLA's CPU backend accumulates in float32 whatever it is asked for, other devices do not."""
    hidden, kernel = jnp.ones((300, 8), jnp.bfloat16), jnp.ones((8, 64), jnp.bfloat16)
    for how in ({}, {"reduction": "mean"}, {"reduction": "mean", "strategy": "token"}, {"differentiation": "any"}):
        loss = lambda h, k, how=how: linear_softmax_cross_entropy(h, k, jnp.zeros(300, jnp.int32), **how).sum()  # noqa: E731
        program = str(jax.make_jaxpr(jax.value_and_grad(loss))(hidden, kernel))
        assert "preferred_element_type=float32" in program
        assert "preferred_element_type=bfloat16" not in program


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="elsewhere slopes are narrowed")
@pytest.mark.parametrize("processor", [False], ids=["widened"], indirect=True)
@pytest.mark.usefixtures("processor")
def test_without_tiles_a_gradient_is_rounded_once() -> None:
    """Also where the parts of many tokens cancel, of which a narrowed slope would leave its rounding."""
    random = np.random.default_rng(4)
    n, d, v = 177, 6, 2
    hidden, kernel = (jnp.asarray(random.standard_normal(s), jnp.bfloat16) for s in ((n, d), (d, v)))
    labels, cotangent = jnp.asarray(random.integers(0, v, n)), jnp.asarray(random.standard_normal(n))

    def pulled(loss: Callable[..., jax.Array], dtype: type) -> Any:
        inputs = hidden.astype(dtype), kernel.astype(dtype)
        losses, pull = jax.vjp(lambda h, k: loss(h, k, labels), *inputs)
        return pull(cotangent.astype(losses.dtype))

    for got, exact in zip(
        pulled(linear_softmax_cross_entropy, jnp.bfloat16), pulled(reference, jnp.float64), strict=True
    ):
        off = np.abs(np.asarray(got.astype(jnp.float64)) - np.asarray(exact))
        assert (off <= 2.0**-8 * np.abs(exact) + 16 * EPS * np.abs(exact).max()).all()


@pytest.mark.usefixtures("processor")
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_half_precision_kernel_is_not_widened_as_a_whole(dtype: str) -> None:
    """XLA's CPU backend would, to cut a block and to multiply it."""
    n, d, v = 64, 48, 30_000
    shapes = [jax.ShapeDtypeStruct(s, dtype) for s in ((n, d), (d, v))]
    loss = lambda h, k: linear_softmax_cross_entropy(h, k, jnp.zeros(n, jnp.int32), block_size=500).sum()  # noqa: E731
    memory = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(*shapes).compile().memory_analysis()
    assert memory is not None
    assert memory.temp_size_in_bytes < d * v * 4
