"""The sharded losses and their gradients on a mesh of data and vocabulary; also run in two processes, see `main`."""

import sys
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxinfo.linear import linear_kl_divergence, linear_softmax_cross_entropy, linear_token_statistics

N, D, V = 16, 6, 64
RANDOM = np.random.default_rng(0)
HIDDEN, KERNEL = RANDOM.standard_normal((N, D)), 2 * RANDOM.standard_normal((D, V))
LABELS = RANDOM.integers(0, V, N).astype(np.int32)
COTANGENT, BIAS, OTHER = RANDOM.standard_normal(N), RANDOM.standard_normal(V), RANDOM.standard_normal((D, V))
CLASS_WEIGHTS, WHERE = RANDOM.gamma(1.0, 1.0, V), RANDOM.random((N, V)) < 0.8
WHERE[np.arange(N), LABELS] = True
WHERE[3] = False
ARRAYS = (HIDDEN, KERNEL, LABELS, COTANGENT, BIAS, CLASS_WEIGHTS, WHERE, OTHER)
SPECS = (
    P("data"),
    P(None, "model"),
    P("data"),
    P("data"),
    P("model"),
    P("model"),
    P("data", "model"),
    P(None, "model"),
)


def losses(axis_name: str | None, mode: str, *arrays: Any) -> jax.Array:
    """Return the losses of each kind, summed over kinds and weighted: one number for each token."""
    h, k, y, g, bias, weights, where, other = arrays
    how: dict[str, Any] = {"axis_name": axis_name, "block_size": 5, "differentiation": mode}
    loss = linear_softmax_cross_entropy(
        h, k, y, bias=bias, where=where, class_weights=weights, label_smoothing=0.1, z_loss=0.01, **how
    )
    s = linear_token_statistics(h, k, y, where=where, **how)
    counted = jnp.isfinite(s.logsumexp)
    total = loss + 0.3 * s.entropy + 0.2 * s.log_prob + 0.1 * jnp.where(counted, s.logsumexp, 0)
    targets = jnp.where(where, jax.lax.stop_gradient(jnp.abs(jnp.sin(bias))), 0)
    total = total + linear_softmax_cross_entropy(h, k, targets, where=where, **how)
    return g * (total + linear_kl_divergence(h, k, h, other, where=where, **how) + s.argmax.astype(h.dtype))


def value_and_slopes(f: Any, arrays: tuple[Any, ...]) -> Any:
    """Return the value of `f` and its gradient to the floating arrays."""
    free = (0, 1, 3, 4, 5, 7)

    def of(*some: Any) -> jax.Array:
        every = list(arrays)
        for i, a in zip(free, some, strict=True):
            every[i] = a
        return f(*every)

    return jax.value_and_grad(of, tuple(range(len(free))))(*(arrays[i] for i in free))


def single(mode: str) -> Any:
    """Return the same on one device."""
    return jax.jit(
        lambda: value_and_slopes(lambda *a: jnp.sum(losses(None, mode, *a)), tuple(map(jnp.asarray, ARRAYS)))
    )()


def on(mesh: Mesh, mode: str, check: bool) -> Any:
    """Return the program on a mesh."""

    def body(*arrays: Any) -> jax.Array:
        return jax.lax.psum(jnp.sum(losses("model", mode, *arrays)), "data")

    f = jax.shard_map(body, mesh=mesh, in_specs=SPECS, out_specs=P(), check_vma=check)
    return jax.jit(lambda *arrays: value_and_slopes(f, arrays))


def mesh_of(data: int, model: int) -> Mesh:
    return jax.make_mesh((data, model), ("data", "model"), axis_types=(AxisType.Auto, AxisType.Auto))


def placed(mesh: Mesh) -> tuple[jax.Array, ...]:
    """Return the arrays laid over the mesh, whichever process holds a part."""

    def place(a: np.ndarray, spec: P) -> jax.Array:
        return jax.make_array_from_callback(a.shape, NamedSharding(mesh, spec), partial(np.ndarray.__getitem__, a))

    return tuple(map(place, ARRAYS, SPECS))


def main() -> None:
    """Run as one of two processes of four devices, and compare with one device."""
    address, process = sys.argv[1], int(sys.argv[2])
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_num_cpu_devices", 4)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, 2, process, local_device_ids=list(range(4)))
    assert jax.device_count() == 8
    mesh = mesh_of(2, 4)
    want = jax.tree.leaves(single("reverse"))
    got = jax.tree.leaves(on(mesh, "reverse", True)(*placed(mesh)))
    for g, w in zip(got, want, strict=True):
        for shard in g.addressable_shards:
            w_part = np.asarray(w)[shard.index]
            np.testing.assert_allclose(np.asarray(shard.data), w_part, rtol=1e-11, atol=1e-11 * np.abs(w).max())
    print("the same")


if __name__ == "__main__":
    main()
