"""Memory of the loss as the compilers of devices that are not here plan it: `python benchmarks/_linear_compiled.py`.

Needs the extra `tpu` for the TPU and `cuda` (4 GB, Python 3.12 or later) for the H100; what an environment lacks is
left as it was in results/linear_compiled.json, so that each may be run in its own.
"""

import itertools
import json
import sys
from typing import Any

import jax
import jax.numpy as jnp
from harness import RESULTS, environment

from jaxinfo import bench, linear_softmax_cross_entropy

TARGETS = ("tpu-v5e", "cuda-h100")
N, D, CLASSES = 8192, 2304, (256_000, 256_001)
FILE = RESULTS / "linear_compiled.json"


def compile_loss(target: str, classes: int, reduction: str) -> bench.Compiled:
    """Return what value and gradients of the loss take, in bfloat16."""
    shapes = [((N, D), jnp.bfloat16), ((D, classes), jnp.bfloat16), ((N,), jnp.int32)]

    def loss(hidden: jax.Array, kernel: jax.Array, labels: jax.Array) -> jax.Array:
        return jnp.sum(linear_softmax_cross_entropy(hidden, kernel, labels, reduction=reduction))

    arrays = [jax.ShapeDtypeStruct(*shape) for shape in shapes]
    return bench.compile_for(jax.value_and_grad(loss, (0, 1)), *arrays, target=target)


def main() -> int:
    """Compile for each target, print, store."""
    document: dict[str, Any] = json.loads(FILE.read_text()) if FILE.exists() else {}
    where = environment(("libtpu", "jax-cuda13-plugin"))
    for target in TARGETS:
        try:
            rows = []
            for classes, reduction in itertools.product(CLASSES, ("none", "mean")):
                made = compile_loss(target, classes, reduction)
                rows.append({"n": N, "d": D, "v": classes, "reduction": reduction} | made.to_dict())
                print(target, classes, reduction, made)
        except bench.MissingExtraError as error:
            print(f"{target} is left as it was. {error}")
            continue
        document[target] = {"rows": rows, "versions": where["versions"], "commit": where["commit"]}
        FILE.write_text(json.dumps(document, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
