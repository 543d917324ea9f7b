"""Memory of the loss as the TPU's own compiler plans it, on a machine without a TPU."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxinfo.linear import linear_softmax_cross_entropy

pytest.importorskip("libtpu", reason="libtpu, the TPU's compiler, is not installed (extra `tpu`)")
pytestmark = pytest.mark.tpu_compile
MIB = 2**20


@pytest.fixture
def tpu(monkeypatch: pytest.MonkeyPatch) -> NamedSharding:
    monkeypatch.setenv("TPU_SKIP_MDS_QUERY", "1")
    monkeypatch.setenv("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # no device is opened: several compilers do no harm
    devices = topologies.get_topology_desc("v5e:2x2", platform="tpu").devices
    return NamedSharding(Mesh(np.asarray(devices[:1]), ("x",)), PartitionSpec())


@pytest.mark.parametrize(("classes", "reduction"), [(256_000, "none"), (256_001, "mean")])
def test_less_than_100_mib_beside_the_gradients(classes: int, reduction: str, tpu: NamedSharding) -> None:
    n, d = 8192, 2304
    shapes: list[tuple[tuple[int, ...], Any]] = [
        ((n, d), jnp.bfloat16),
        ((d, classes), jnp.bfloat16),
        ((n,), jnp.int32),
    ]

    def loss(hidden: jax.Array, kernel: jax.Array, labels: jax.Array) -> jax.Array:
        return jnp.sum(linear_softmax_cross_entropy(hidden, kernel, labels, reduction=reduction))

    arrays = [jax.ShapeDtypeStruct(*shape, sharding=tpu) for shape in shapes]
    memory: Any = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(*arrays).compile().memory_analysis()
    assert memory.temp_size_in_bytes <= 100 * MIB, f"{memory.temp_size_in_bytes / MIB:.0f} MiB"
