"""Arguments of the linear losses, checked and laid out: one batch axis, classes on the last."""

import math
import operator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxinfo import _checks
from jaxinfo._transform import as_soft_cap, as_temperature
from jaxinfo.linear._head import Head, Included

STRATEGIES = ("auto", "vocabulary", "token")
DIFFERENTIATION = ("reverse", "any")
REDUCTIONS = ("none", "sum", "mean")


class Options(NamedTuple):
    """What is done to the logits of a head, and the mesh axis of its classes; as given, unchecked."""

    where: ArrayLike | None
    soft_cap: ArrayLike | None
    temperature: ArrayLike
    axis_name: Any


class Problem(NamedTuple):
    """A head and what goes with it, laid out.

    Attributes:
        head: the head, its hidden states [N, D].
        included: the classes included, or None.
        counted: [N], the rows that count, or None.
        batch: the shape of the batch axes.
        dtype: the compute dtype.
        axis_name: the mesh axis of the classes, or None.
    """

    head: Head
    included: Included | None
    counted: jax.Array | None
    batch: tuple[int, ...]
    dtype: Any
    axis_name: Any


def check_choice(value: object, name: str, known: tuple[str, ...]) -> None:
    """Check that an option is one of the known ones.

    Raises:
        ValueError: it is not.
    """
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"`{name}` must be one of {', '.join(map(repr, known))}, got {value!r}.")


def as_block_size(size: int | None) -> int | None:
    """Return `block_size`, checked.

    Raises:
        TypeError: it is not an integer.
        ValueError: it is not positive.
    """
    if size is None:
        return None
    try:
        count = operator.index(size)
    except TypeError:
        count = None
    if count is None or isinstance(size, bool) or getattr(size, "dtype", None) == jnp.bool_:
        raise TypeError(f"`block_size` must be an int or None, got {size!r}.")
    if count < 1:
        raise ValueError(f"`block_size` must be at least 1, got {count}.")
    return count


def lay_out(
    hidden: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None,
    options: Options,
    *,
    also: tuple[jax.Array | None, ...] = (),
    prefix: str = "",
) -> Problem:
    """Return the head and the mask, checked; the compute dtype is the widest of the head's and of `also`.

    Raises:
        TypeError: a dtype does not fit.
        ValueError: a shape does not fit.
    """
    hidden, kernel = as_floating(hidden, f"{prefix}hidden"), as_floating(kernel, f"{prefix}kernel")
    if hidden.ndim < 1:
        raise ValueError(f"`{prefix}hidden` must have shape (..., D), got {hidden.shape}.")
    if kernel.ndim != 2 or kernel.shape[0] != hidden.shape[-1]:
        raise ValueError(
            f"`{prefix}kernel` must have shape ({hidden.shape[-1]}, V), D being the last axis of "
            f"`{prefix}hidden` {hidden.shape}, got {kernel.shape}."
        )
    classes, batch = kernel.shape[1], hidden.shape[:-1]
    if bias is not None:
        bias = as_floating(bias, f"{prefix}bias")
        if bias.shape != (classes,):
            raise ValueError(
                f"`{prefix}bias` must have shape ({classes},), one per class of `{prefix}kernel`, got {bias.shape}."
            )
    where, soft_cap, temperature, axis_name = options
    _checks.check_axis_name(axis_name)
    mask = _checks.as_where(where, (*batch, classes), of="the logits")
    parts = [_checks.as_float_array(a, prefix) for a in (hidden, kernel, bias, *also) if a is not None]
    dtype = _checks.widest(*parts)
    temperature = as_temperature(temperature, dtype)
    divides = isinstance(temperature, jax.Array) or temperature != 1
    if soft_cap is not None:
        soft_cap = as_soft_cap(soft_cap, dtype)
    included, counted = _rows_of(mask, batch, classes, axis_name)
    flat = hidden.reshape(math.prod(batch), hidden.shape[-1])
    if counted is not None:
        flat = jnp.where(counted[:, None], flat, 0)
    scalars = (jnp.asarray(temperature, dtype) if divides else None, None if soft_cap is None else soft_cap)
    head = Head(flat, kernel, bias, *(None if s is None else jnp.asarray(s, dtype) for s in scalars))
    return Problem(head, included, counted, batch, dtype, axis_name)


def as_floating(x: ArrayLike, name: str) -> jax.Array:
    """Return `x` as an array of its own floating dtype.

    Raises:
        TypeError: it is not floating.
    """
    _checks.as_float_array(x, name)
    return jnp.asarray(x)


def as_row_weights(weights: ArrayLike | None, batch: tuple[int, ...], dtype: Any) -> jax.Array | None:
    """Return one weight per example [N], checked.

    Raises:
        TypeError: `weights` is not floating.
        ValueError: there is not one for each example.
    """
    if weights is None:
        return None
    array = _checks.as_float_array(weights, "weights")
    if array.shape != batch:
        raise ValueError(f"`weights` must have shape {batch}, the batch shape of `hidden`, got {array.shape}.")
    return array.astype(dtype).reshape(-1)


def local_labels(labels: jax.Array, problem: Problem, name: str = "targets") -> tuple[jax.Array, jax.Array]:
    """Return labels [N] as columns of this shard's kernel, outside it where the class is not there, and their faults.

    Raises:
        ValueError: there is not one label for each example.
    """
    if labels.shape != problem.batch:
        raise ValueError(f"`{name}` must have shape {problem.batch}, the batch shape of `hidden`, got {labels.shape}.")
    labels = labels.reshape(-1)
    if labels.dtype.itemsize < 4:
        labels = labels.astype(jnp.int32)
    here, shards = problem.head.classes, 1
    first = jnp.zeros((), jnp.int32)
    if problem.axis_name is not None:
        shards = jax.lax.axis_size(problem.axis_name)
        first = jax.lax.axis_index(problem.axis_name).astype(jnp.int32) * here
    exists = (labels >= 0) & (labels < here * shards)
    if problem.counted is not None:
        exists, labels = exists | ~problem.counted, jnp.where(problem.counted, labels, 0)
    return jnp.where(exists, jnp.where(exists, labels, 0).astype(jnp.int32) - first, -1), ~exists


def _rows_of(
    mask: jax.Array | None, batch: tuple[int, ...], classes: int, axis_name: Any
) -> tuple[Included | None, jax.Array | None]:
    """Return the distinct rows of a mask over batch and classes, and which examples count."""
    if mask is None:
        return None, None
    lead = mask.shape[:-1]
    distinct = mask.reshape(math.prod(lead), mask.shape[-1])
    count = jnp.any(distinct, axis=1)
    if axis_name is not None:
        count = jax.lax.pmax(count.astype(jnp.int32), axis_name) > 0
    counted = jnp.broadcast_to(count.reshape(lead), batch).reshape(-1)
    if mask.shape[-1] == 1 and (axis_name is None or classes > 1):  # a shard of one class has its own element
        return None, counted
    row = None
    if math.prod(lead) not in (1, math.prod(batch)):
        row = jnp.broadcast_to(jnp.arange(math.prod(lead)).reshape(lead), batch).reshape(-1)
    return Included(distinct, row), counted
