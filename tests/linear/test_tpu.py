"""Memory of the loss as the TPU's own compiler plans it, on a machine without a TPU."""

import jax
import jax.numpy as jnp
import pytest

from jaxinfo import bench
from jaxinfo.linear import linear_softmax_cross_entropy

pytest.importorskip("libtpu", reason="libtpu, the TPU's compiler, is not installed (extra `tpu`)")
pytestmark = pytest.mark.tpu_compile
MIB = 2**20


@pytest.mark.parametrize(("classes", "reduction"), [(256_000, "none"), (256_001, "mean")])
def test_less_than_100_mib_beside_the_gradients(classes: int, reduction: str) -> None:
    n, d = 8192, 2304
    shapes = [
        jax.ShapeDtypeStruct((n, d), jnp.bfloat16),
        jax.ShapeDtypeStruct((d, classes), jnp.bfloat16),
        jax.ShapeDtypeStruct((n,), jnp.int32),
    ]

    def loss(hidden: jax.Array, kernel: jax.Array, labels: jax.Array) -> jax.Array:
        return jnp.sum(linear_softmax_cross_entropy(hidden, kernel, labels, reduction=reduction))

    made = bench.compile_for(jax.value_and_grad(loss, (0, 1)), *shapes, target="tpu-v5e")
    assert made.temp_bytes is not None
    assert made.temp_bytes <= 100 * MIB, str(made)
