"""Compile the sharded loss for a pod of 256 TPU chips that is not here."""

import os
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxinfo import linear_softmax_cross_entropy

TOPOLOGY, DATA, MODEL = "v5e:16x16", 16, 16
N, D, V = 1_048_576, 8192, 262_144


def compile_for_pod() -> dict[str, Any]:
    """Return what the compiled program of one step takes on each chip, and which collectives it holds."""
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    devices = topologies.get_topology_desc(TOPOLOGY, platform="tpu").devices
    mesh = Mesh(np.asarray(devices).reshape(DATA, MODEL), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    specs = (P("data", None), P(None, "model"), P("data"))

    def body(hidden: jax.Array, kernel: jax.Array, labels: jax.Array) -> jax.Array:
        losses = linear_softmax_cross_entropy(hidden, kernel, labels, axis_name="model")
        return jax.lax.psum(jnp.sum(losses), "data") / N

    loss = jax.shard_map(body, mesh=mesh, in_specs=specs, out_specs=P())
    shapes = (((N, D), jnp.bfloat16), ((D, V), jnp.bfloat16), ((N,), jnp.int32))
    arrays = [
        jax.ShapeDtypeStruct(s, t, sharding=NamedSharding(mesh, spec))
        for (s, t), spec in zip(shapes, specs, strict=True)
    ]
    program = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(*arrays).compile()
    memory, text = program.memory_analysis(), program.as_text()
    names = re.findall(r" (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\(", text)
    return {
        "topology": TOPOLOGY,
        **{"data": DATA, "model": MODEL, "n": N, "d": D, "v": V},
        "temp_bytes": int(memory.temp_size_in_bytes),
        "argument_bytes": int(memory.argument_size_in_bytes),
        "output_bytes": int(memory.output_size_in_bytes),
        "collectives": {name: names.count(name) for name in sorted(set(names))},
    }
