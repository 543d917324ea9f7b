"""The peers of bench_linear.py that may be missing: torch, dense and chunked, and tokamax."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxinfo.bench import Candidate
from jaxinfo.bench._rows import compiled
from jaxinfo.bench._torch import import_torch, torch_candidate


def torch_candidates(hidden: jax.Array, kernel: jax.Array, labels: jax.Array) -> list[Candidate]:
    """Return torch's linear_cross_entropy: of whole logits, and in its own chunks."""
    torch = import_torch()
    if torch is None:
        return []
    dtype = torch.bfloat16 if hidden.dtype == jnp.bfloat16 else torch.float32
    h = torch.tensor(np.asarray(hidden.astype(jnp.float32)), dtype=dtype)
    w = torch.tensor(np.asarray(kernel.astype(jnp.float32)).T.copy(), dtype=dtype)
    y = torch.tensor(np.asarray(labels, np.int64))

    def candidate(name: str, options: Any) -> Candidate:
        def loss() -> Any:
            return torch.nn.functional.linear_cross_entropy(h, w, y, options=options)

        of_torch = torch_candidate(torch, loss, (h, w), backward=True)

        def run() -> tuple[Any, ...]:
            value, to_h, to_w = of_torch.run()
            return value, to_h, to_w.T

        return Candidate(name, run)

    return [candidate("torch, dense", None), candidate("torch, chunked", torch.nn.LinearCrossEntropyOptions())]


def tokamax_candidate(slopes: Callable[..., Any], arrays: tuple[jax.Array, ...]) -> list[Candidate]:
    """Return tokamax's chunked implementation, where the release has it."""
    try:
        import tokamax
    except ModuleNotFoundError:
        return []

    def loss(hidden: jax.Array, kernel: jax.Array, labels: jax.Array) -> jax.Array:
        return tokamax.linear_softmax_cross_entropy_loss(
            hidden, labels.astype(jnp.int32), kernel, reduction="mean", implementation="chunked_xla"
        )

    try:
        return [compiled("tokamax, chunked", slopes(loss), *arrays)]
    except ValueError as error:
        if "Unsupported implementation" not in str(error):
            raise
        return []
