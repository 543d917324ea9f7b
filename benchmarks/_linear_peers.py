"""The peers of bench_linear.py that may be missing: torch, dense and chunked, and tokamax."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from harness import Candidate, compiled


def torch_candidates(hidden: jax.Array, kernel: jax.Array, labels: jax.Array) -> list[Candidate]:
    """Return torch's linear_cross_entropy: of whole logits, and in its own chunks."""
    try:
        import torch
    except ModuleNotFoundError:
        return []
    dtype = torch.bfloat16 if hidden.dtype == jnp.bfloat16 else torch.float32
    h = torch.tensor(np.asarray(hidden.astype(jnp.float32)), dtype=dtype, requires_grad=True)
    w = torch.tensor(np.asarray(kernel.astype(jnp.float32)).T.copy(), dtype=dtype, requires_grad=True)
    y = torch.tensor(np.asarray(labels, np.int64))

    def run(options: Any) -> tuple[Any, ...]:
        loss = torch.nn.functional.linear_cross_entropy(h, w, y, options=options)
        to_h, to_w = torch.autograd.grad(loss, (h, w))
        return tuple(a.detach().float().numpy() for a in (loss, to_h, to_w.T))

    chunked = torch.nn.LinearCrossEntropyOptions()
    return [Candidate("torch, dense", lambda: run(None)), Candidate("torch, chunked", lambda: run(chunked))]


def tokamax_candidate(slopes: Callable[..., Any], arrays: tuple[jax.Array, ...]) -> list[Candidate]:
    """Return tokamax's chunked implementation."""
    try:
        import tokamax
    except ModuleNotFoundError:
        return []

    def loss(hidden: jax.Array, kernel: jax.Array, labels: jax.Array) -> jax.Array:
        return tokamax.linear_softmax_cross_entropy_loss(
            hidden, labels.astype(jnp.int32), kernel, reduction="mean", implementation="chunked_xla"
        )

    return [compiled("tokamax, chunked", slopes(loss), *arrays)]
