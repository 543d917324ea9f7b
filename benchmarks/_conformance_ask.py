"""Asking an adapter for its value or a derivative, in jax and in torch."""

import functools
import importlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

DERIVATIVES = ("gradient", "forward", "hessian")


class Absent(Exception):
    """The library has no such function, mode or option."""


def ask(
    library: str, function: Callable[..., Any], quantity: str, argument: int, arguments: tuple[Any, ...]
) -> np.ndarray:
    """Return what the library answers, as float64."""
    if library == "torch":
        return _ask_torch(function, quantity, argument, arguments)
    out = _derived(function, quantity, argument)(*map(jnp.asarray, arguments))
    return np.asarray(out.astype(jnp.float32))


@functools.cache
def _derived(function: Callable[..., Any], quantity: str, argument: int) -> Callable[..., Any]:
    """Return the function or its derivative, compiled once per shape."""
    derive = {"gradient": jax.grad, "forward": jax.jacfwd, "hessian": jax.hessian}
    if quantity == "value":
        return jax.jit(function)
    return jax.jit(derive[quantity](lambda *args: function(*args).ravel()[0], argnums=argument))


def _ask_torch(function: Callable[..., Any], quantity: str, argument: int, arguments: tuple[Any, ...]) -> np.ndarray:
    torch = importlib.import_module("torch")
    given = tuple(_to_torch(torch, a) for a in arguments)
    derive = {"gradient": torch.func.grad, "forward": torch.func.jacfwd, "hessian": torch.func.hessian}
    if quantity == "value":
        out = function(*given)
    else:
        try:
            out = derive[quantity](lambda *args: function(*args).reshape(-1)[0], argnums=argument)(*given)
        except NotImplementedError as error:
            raise Absent from error
    return out.detach().float().numpy()


def _to_torch(torch: Any, value: Any) -> Any:
    value = np.asarray(value)
    if value.dtype.name == "bfloat16":
        return torch.tensor(value.astype(np.float32)).bfloat16()
    return torch.tensor(value.astype(np.int64) if value.dtype == np.int32 else value)
