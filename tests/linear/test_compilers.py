"""Memory of the loss as the TPU's and the H100's own compilers plan it, on a machine without either."""

import importlib.util

import jax
import jax.numpy as jnp
import pytest

from jaxinfo import bench, softmax_cross_entropy
from jaxinfo.linear import linear_softmax_cross_entropy

MIB = 2**20


def needs(package: str, extra: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"{package}, the target's compiler, is not installed (extra `{extra}`)")


TARGETS = pytest.mark.parametrize(
    "target",
    [
        pytest.param("tpu-v5e", marks=[pytest.mark.tpu_compile, needs("libtpu", "tpu")]),
        pytest.param("cuda-h100", marks=[pytest.mark.h100_compile, needs("jax_cuda13_plugin", "cuda")]),
    ],
)


@TARGETS
@pytest.mark.parametrize(("classes", "reduction"), [(256_000, "none"), (256_001, "mean")])
def test_less_than_100_mib_beside_the_gradients(classes: int, reduction: str, target: str) -> None:
    n, d = 8192, 2304
    shapes = [
        jax.ShapeDtypeStruct((n, d), jnp.bfloat16),
        jax.ShapeDtypeStruct((d, classes), jnp.bfloat16),
        jax.ShapeDtypeStruct((n,), jnp.int32),
    ]

    def loss(hidden: jax.Array, kernel: jax.Array, labels: jax.Array) -> jax.Array:
        return jnp.sum(linear_softmax_cross_entropy(hidden, kernel, labels, reduction=reduction))

    made = bench.compile_for(jax.value_and_grad(loss, (0, 1)), *shapes, target=target)
    assert made.temp_bytes is not None
    assert made.temp_bytes <= 100 * MIB, str(made)


@TARGETS
@pytest.mark.parametrize(("dtype", "smoothing"), [("float32", 0.0), ("float32", 0.1), ("bfloat16", 0.0)])
def test_given_logits_leave_no_array_of_their_size(dtype: str, smoothing: float, target: str) -> None:
    shapes = jax.ShapeDtypeStruct((1024, 32_768), dtype), jax.ShapeDtypeStruct((1024,), jnp.int32)

    def loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
        return jnp.mean(softmax_cross_entropy(logits, labels, label_smoothing=smoothing))

    made = bench.compile_for(jax.value_and_grad(loss), *shapes, target=target)
    assert made.temp_bytes is not None
    assert made.temp_bytes <= 4 * MIB, str(made)
