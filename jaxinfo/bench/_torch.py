"""torch as a peer: the threads it gets, and its losses as candidates."""

import functools
import importlib
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jaxinfo.bench._environment import available_cores, hold_to_cores
from jaxinfo.bench._rounds import Candidate


@functools.cache
def import_torch() -> Any:
    """Return torch with as many threads as jax has, or None where it is not installed.

    Unbound, its OpenMP threads sooner or later spin on one core waiting for each other: 15 ms instead of 1. So
    they are bound, one to a core. Loading OpenMP binds this thread too, and whatever thread it starts later, so
    jax makes its threads first and this one is set free again (and held to its core while torch runs).
    """
    jax.devices()
    everywhere = available_cores()
    os.environ.setdefault("OMP_PROC_BIND", "true")
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        return None
    torch.set_num_threads(len(everywhere))
    torch.zeros(1 << 20).exp()  # starts the threads
    hold_to_cores(everywhere)
    return torch


def torch_candidate(torch: Any, loss: Callable[[], Any], leaves: Sequence[Any], *, backward: bool) -> Candidate:
    """Return torch's `loss`, or its mean with the gradients to `leaves`. It compiles nothing."""
    everywhere = available_cores()

    def forward() -> tuple[Any, ...]:
        with torch.no_grad():
            return (_Result(loss()),)

    def forward_backward() -> tuple[Any, ...]:
        for leaf in leaves:
            leaf.requires_grad_()
        value = loss().mean()
        return tuple(_Result(t) for t in (value.detach(), *torch.autograd.grad(value, leaves)))

    def run() -> tuple[Any, ...]:
        hold_to_cores({min(everywhere)})
        try:
            return forward_backward() if backward else forward()
        finally:
            hold_to_cores(everywhere)

    return Candidate("torch", run)


class _Result:
    """A torch tensor whose conversion to NumPy happens when asked for, not inside the timed run."""

    def __init__(self, tensor: Any) -> None:
        self.tensor = tensor

    @property
    def T(self) -> "_Result":
        return _Result(self.tensor.T)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.tensor.float().numpy()
