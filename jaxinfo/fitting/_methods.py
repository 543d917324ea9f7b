"""The methods of a fit: which one runs, and for how long by default."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxinfo.fitting._newton import newton
from jaxinfo.fitting._newton_cg import newton_cg

_EXACT_UP_TO = 200  # parameters: beyond it the exact Hessian costs more than the products that CG needs
_PRODUCTS_UP_TO = 1_000_000  # parameters: beyond it the memory of a linearised gradient counts


class Method(NamedTuple):
    """An optax transformation, its name, the steps it is given unless told, and whether it uses second derivatives."""

    name: str
    transform: optax.GradientTransformationExtraArgs
    max_steps: int
    second_order: bool = False


def choose_method(method: str, optimizer: optax.GradientTransformation | None, params: Any) -> Method:
    """Return the method called `method`, the one that suits the number of parameters, or `optimizer`.

    Raises:
        ValueError: there is no such method, or one was named beside an optimizer.
    """
    if optimizer is not None:
        if method != "auto":
            raise ValueError(f"`method` must be 'auto' where `optimizer` is given, got {method!r}.")
        return Method("optimizer", optax.with_extra_args_support(optimizer), 10_000)
    if method == "auto":
        count = sum(leaf.size for leaf in jax.tree.leaves(params))
        method = "newton" if count <= _EXACT_UP_TO else "newton_cg" if count <= _PRODUCTS_UP_TO else "lbfgs"
    match method:
        case "newton":
            return Method(method, newton(), 100, second_order=True)
        case "newton_cg":
            return Method(method, newton_cg(), 100, second_order=True)
        case "lbfgs":
            return Method(method, optax.lbfgs(), 2_000)
    raise ValueError(f"`method` must be 'auto', 'newton', 'newton_cg' or 'lbfgs', got {method!r}.")


def default_tolerance(dtype: Any) -> float:
    """Return eps**(3/4): 2e-12 nats in float64, 6e-6 in float32."""
    return float(jnp.finfo(dtype).eps) ** 0.75
