"""The methods of a fit: which one runs, and for how long by default."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxinfo.fitting._newton import newton
from jaxinfo.fitting._newton_cg import newton_cg

_EXACT_UP_TO = 200  # parameters: beyond it the exact Hessian costs more than the products that CG needs
_PRODUCTS_UP_TO = 1_000_000  # parameters: beyond it the memory of a linearised gradient counts
_WHOLE_UP_TO = 1_000_000  # examples: beyond it, with so many parameters, one look at all of the data is long
_LEARNING_RATE = 1e-2  # of adam, where no optimizer is given; it is lowered at every plateau
_BATCH = 1024


class Method(NamedTuple):
    """How the steps are made.

    Attributes:
        name: what the result calls it.
        transform: the optax transformation.
        max_steps: the steps it is given unless told, None for 100 passes through the data.
        second_order: whether it uses second derivatives.
        per_example: whether it sees the objective divided by the total weight, as learning rates are meant.
        batch_size: examples in each step, None for all.
    """

    name: str
    transform: optax.GradientTransformationExtraArgs
    max_steps: int | None
    second_order: bool = False
    per_example: bool = False
    batch_size: int | None = None


def choose_method(
    method: str,
    optimizer: optax.GradientTransformation | None,
    batch_size: int | None,
    params: Any,
    examples: int,
) -> Method:
    """Return the method called `method`, the one that suits the size of the problem, or `optimizer`.

    Raises:
        ValueError: there is no such method, or one was named beside an optimizer or a batch size.
    """
    if optimizer is not None and method not in ("auto", "minibatch"):
        raise ValueError(f"`method` must be 'auto' where `optimizer` is given, got {method!r}.")
    if batch_size is not None and method not in ("auto", "minibatch"):
        raise ValueError(f"`method` must be 'auto' or 'minibatch' where `batch_size` is given, got {method!r}.")
    if batch_size is None and optimizer is not None and method == "auto":
        return Method("optimizer", optax.with_extra_args_support(optimizer), 10_000, per_example=True)
    if method == "auto":
        method = "minibatch" if batch_size is not None else _by_size(params, examples)
    match method:
        case "newton":
            return Method(method, newton(), 100, second_order=True)
        case "newton_cg":
            return Method(method, newton_cg(), 100, second_order=True)
        case "lbfgs":
            return Method(method, optax.lbfgs(), 2_000)
        case "minibatch":
            transform = optax.with_extra_args_support(optimizer or optax.adam(_LEARNING_RATE))
            size = min(batch_size or _BATCH, max(examples, 1))
            return Method(method, transform, None, per_example=True, batch_size=size)
    raise ValueError(f"`method` must be 'auto', 'newton', 'newton_cg', 'lbfgs' or 'minibatch', got {method!r}.")


def _by_size(params: Any, examples: int) -> str:
    """Return the method for so many parameters and examples."""
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    if count <= _EXACT_UP_TO:
        return "newton"
    if count <= _PRODUCTS_UP_TO:
        return "newton_cg"
    return "lbfgs" if examples <= _WHOLE_UP_TO else "minibatch"


def default_tolerance(method: Method, dtype: Any) -> float:
    """Return eps**(3/4): 2e-12 nats in float64, 6e-6 in float32; on minibatches 1e-2, a seventh of a standard error."""
    return 1e-2 if method.batch_size else float(jnp.finfo(dtype).eps) ** 0.75
