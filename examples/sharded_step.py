"""A training step on a mesh: tokens sharded over one axis, the vocabulary over the other.

Inside `jax.shard_map` each device holds some of the tokens and some columns of the output kernel; `axis_name` names
the axis that the columns are sharded over. Vectors of one number a token are exchanged and the gradients summed where
they must be; neither the kernel nor the logits are ever gathered. A vocabulary that the devices do not divide is
padded with classes whose bias is -inf: they have probability 0 and gradient 0.

The mesh here is made of virtual devices on one CPU; the same code runs on GPUs and TPUs.

    python examples/sharded_step.py            # 30,001 words on 2 x 4 devices
    python examples/sharded_step.py --small    # seconds
"""

import argparse
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxinfo

EPS = float(np.finfo(np.float32).eps)
DATA, MODEL = 2, 4


HEAD = {"kernel": P(None, "model"), "bias": P("model")}  # [D, V] and [V]
BATCH = {"hidden": P("data", None), "words": P("data")}  # [N, D] and [N]

Arrays = dict[str, jax.Array]


def loss(head: Arrays, batch: Arrays) -> jax.Array:
    """Return the mean loss on one device."""
    losses = jaxinfo.linear_softmax_cross_entropy(batch["hidden"], head["kernel"], batch["words"], bias=head["bias"])
    return jaxinfo.mean(losses)


def loss_of_shard(head: Arrays, batch: Arrays) -> jax.Array:
    """Return the same, seen by one device: some columns, some tokens; labels are global, and so is the result."""
    losses = jaxinfo.linear_softmax_cross_entropy(
        batch["hidden"], head["kernel"], batch["words"], bias=head["bias"], axis_name="model"
    )
    return jaxinfo.mean(losses, axis_name="data")


def step_of(loss: Callable[[Arrays, Arrays], jax.Array], optimizer: optax.GradientTransformation) -> Any:
    """Return the training step: head, state and batch in, head, state, loss and gradient out."""

    def step(head: Arrays, state: Any, batch: Arrays) -> tuple[Any, Any, jax.Array, Arrays]:
        value, gradient = jax.value_and_grad(loss)(head, batch)
        updates, state = optimizer.update(gradient, state, head)
        return optax.apply_updates(head, updates), state, value, gradient

    return jax.jit(step)


def pad(head: Arrays, shards: int) -> Arrays:
    """Return the head with as many classes of probability 0 as make its columns divisible."""
    missing = -head["kernel"].shape[1] % shards
    kernel = jnp.pad(head["kernel"], ((0, 0), (0, missing)))
    return {"kernel": kernel, "bias": jnp.pad(head["bias"], (0, missing), constant_values=-jnp.inf)}


def spread(tree: Any, specs: Any, mesh: Mesh) -> Any:
    """Return the arrays laid out over the mesh."""
    return jax.tree.map(lambda x, spec: jax.device_put(x, NamedSharding(mesh, spec)), tree, specs)


def distance(x: np.ndarray, y: np.ndarray) -> float:
    """Return the largest difference over the largest entry."""
    return float(np.abs(x - y).max() / np.abs(y).max())


def main(tokens: int, features: int, vocabulary: int, steps: int) -> None:
    """Take steps on the mesh and on one device, and compare loss, gradient and parameters."""
    keys = jax.random.split(jax.random.key(0), 4)
    kernel = jax.random.normal(keys[0], (features, vocabulary)) / features**0.5
    head = {"kernel": kernel, "bias": jax.random.normal(keys[1], (vocabulary,))}
    hidden = jax.random.normal(keys[2], (tokens, features))
    batch = {"hidden": hidden, "words": jax.random.randint(keys[3], (tokens,), 0, vocabulary)}

    mesh = jax.make_mesh((DATA, MODEL), ("data", "model"))
    wide = pad(head, MODEL)
    there, batch_there = spread(wide, HEAD, mesh), spread(batch, BATCH, mesh)
    print(f"{tokens:,} tokens, {vocabulary:,} words padded to {wide['bias'].size:,}, {DATA} x {MODEL} devices")

    optimizer = optax.sgd(1.0, momentum=0.9)
    on_mesh = step_of(jax.shard_map(loss_of_shard, mesh=mesh, in_specs=(HEAD, BATCH), out_specs=P()), optimizer)
    on_one = step_of(loss, optimizer)
    state, state_there = optimizer.init(head), optimizer.init(there)
    compiled = on_mesh.lower(there, state_there, batch_there).compile()
    exchanged = set(
        re.findall(r"(all-gather|all-reduce|all-to-all|collective-permute)(?:-start)?\(", compiled.as_text())
    )
    print(f"the devices exchange by {', '.join(sorted(exchanged))}")
    assert exchanged == {"all-reduce"}

    for i in range(steps):
        head, state, value, gradient = on_one(head, state, batch)
        there, state_there, value_there, gradient_there = compiled(there, state_there, batch_there)
        whole = [np.asarray(x) for x in jax.tree.leaves(gradient_there)]
        apart = [
            distance(x[..., :vocabulary], np.asarray(y)) for x, y in zip(whole, jax.tree.leaves(gradient), strict=True)
        ]
        print(
            f"step {i}: loss {value_there:.6f} on the mesh, {value:.6f} on one device; gradient {max(apart):.0e} apart"
        )
        assert abs(value_there - value) <= 16 * EPS * value
        assert max(apart) <= 64 * EPS
        assert not any(x[..., vocabulary:].any() for x in whole)
    print(f"the kernel still lies as {there['kernel'].sharding.spec}")
    assert there["kernel"].sharding == NamedSharding(mesh, HEAD["kernel"])


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", DATA * MODEL)
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--small", action="store_true", help="a second instead of half a minute")
    full, small = (1024, 128, 30_001, 3), (64, 16, 1001, 2)
    main(*(small if options.parse_args().small else full))
