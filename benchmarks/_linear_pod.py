"""Compile the sharded loss for a pod of 256 TPU chips that is not here: `python benchmarks/_linear_pod.py`.

Needs the extra `tpu`; writes results/linear_pod.json.
"""

import json
import sys

import jax
import jax.numpy as jnp
from harness import RESULTS, environment
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jaxinfo import bench, linear_softmax_cross_entropy

TARGET, TOPOLOGY, DATA, MODEL = "tpu-v5e", "16x16", 16, 16
N, D, V = 1_048_576, 8192, 262_144
FILE = RESULTS / "linear_pod.json"


def compile_for_pod() -> bench.Compiled:
    """Return what the compiled program of one step takes on each chip, and which collectives it holds."""
    mesh = bench.mesh_for(TARGET, TOPOLOGY, {"data": DATA, "model": MODEL})
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
    return bench.compile_for(jax.value_and_grad(loss, (0, 1)), *arrays, target=TARGET, devices=TOPOLOGY)


def main() -> int:
    """Compile, print, store."""
    try:
        made = compile_for_pod()
    except bench.MissingExtraError as error:
        print(f"The pod is left out. {error}")
        return 0
    print(made)
    where = environment(("libtpu",))
    sizes = {"topology": TOPOLOGY, "data": DATA, "model": MODEL, "n": N, "d": D, "v": V}
    document = made.to_dict() | sizes | {"versions": where["versions"], "commit": where["commit"]}
    FILE.write_text(json.dumps(document, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
