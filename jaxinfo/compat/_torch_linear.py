"""torch's linear_cross_entropy."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer, Real

from jaxinfo.compat._torch_arguments import class_weight, counted_rows, floating, of_target, targets_from
from jaxinfo.compat._torch_reduction import reduced, reduction_from, result_dtype
from jaxinfo.linear import linear_softmax_cross_entropy


def linear_cross_entropy(
    input: Float[Array, "..."],
    linear_weight: Float[Array, "..."],
    target: Integer[Array, "..."] | Float[Array, "..."],
    *,
    linear_bias: Float[Array, "..."] | None = None,
    weight: Real[Array, "..."] | Bool[Array, "..."] | None = None,
    reduction: str = "mean",
    ignore_index: int | Integer[Array, ""] | None = None,
    label_smoothing: float | Float[Array, ""] = 0.0,
    options: Any = None,
) -> Float[Array, "..."]:
    """torch.nn.functional.linear_cross_entropy by `jaxinfo.linear_softmax_cross_entropy`, in nats.

    Args:
        input: hidden states, (in_features,) or (N, in_features).
        linear_weight: one row per class, (C, in_features), or (C, d1, ..., dK, in_features).
        target: class indices, or probabilities with the classes on axis 1 (0 of a single example).
        linear_bias: added to the logits, (C,) or (C, d1, ..., dK).
        weight: multiplies the term of each class, shape (C,).
        reduction: "none"; "sum"; or "mean", which divides by the summed weights of the counted targets, by the
            number of rows if targets are probabilities.
        ignore_index: a row with this target has loss 0 and gradient 0; None is -100, and what probabilities need.
        label_smoothing: a in [0, 1].
        options: torch's choice of how to chunk; without effect, the logits are never held here.

    Returns:
        A scalar, or with "none" one value per row, in the dtype that the arguments of the logits promote to, with
        probabilities those too; a mean over no row is nan.

    Raises:
        TypeError: a dtype does not fit.
        ValueError: a shape or an option does not fit.

    Examples:
        >>> import jax.numpy as jnp
        >>> hidden, weight = jnp.eye(2), jnp.array([[2.0, 0.0], [0.0, 1.0]])
        >>> linear_cross_entropy(hidden, weight, jnp.array([0, 0]))
        Array(0.720095, dtype=float32)
    """
    del options
    reduction = reduction_from(reduction)
    hidden, rows = floating(input, "input"), floating(linear_weight, "linear_weight")
    _check_head(hidden, rows)
    batch, classes, places = hidden.shape[:-1], rows.shape[0], rows.shape[1:-1]
    targets = targets_from(target)
    by_index = jnp.issubdtype(targets.dtype, jnp.integer)
    _check_shape(targets, (*batch, *places) if by_index else (*batch, classes, *places), "target")
    weights = class_weight(weight, classes, hidden, targets)
    if linear_bias is not None:
        linear_bias = floating(linear_bias, "linear_bias")
        _check_shape(linear_bias, (classes, *places), "linear_bias")
    counted = None
    if by_index:
        targets, counted = counted_rows(targets, -100 if ignore_index is None else ignore_index)
    elif ignore_index is not None:
        raise ValueError(f"`ignore_index` must be None where `target` holds probabilities, got {ignore_index}.")
    losses = _losses(hidden, rows, linear_bias, targets, counted, weights, label_smoothing)
    dtype = result_dtype(input, linear_weight, linear_bias, *(() if by_index else (target, weight)))
    denominator = None if weights is None or counted is None else of_target(weights, targets)
    return reduced(losses, reduction, dtype, where=counted, weights=denominator)


def _check_head(hidden: jax.Array, rows: jax.Array) -> None:
    """Check the shapes of `input` and `linear_weight`.

    Raises:
        ValueError: they are none of torch's.
    """
    if hidden.ndim not in (1, 2):
        raise ValueError(f"`input` must have shape (in_features,) or (N, in_features), got {hidden.shape}.")
    if rows.ndim < 2 or rows.shape[-1] != hidden.shape[-1] or (rows.ndim > 2 and hidden.ndim == 1):
        raise ValueError(
            f"`linear_weight` must have shape (C, ..., {hidden.shape[-1]}), the last axis being that of `input` "
            f"{hidden.shape}, got {rows.shape}."
        )


def _check_shape(x: jax.Array, wanted: tuple[int, ...], name: str) -> None:
    """Check a shape that `input` and `linear_weight` determine.

    Raises:
        ValueError: it is another.
    """
    if x.shape != wanted:
        raise ValueError(f"`{name}` must have shape {wanted}, that of `input` and `linear_weight`, got {x.shape}.")


def _losses(
    hidden: jax.Array,
    rows: jax.Array,
    bias: jax.Array | None,
    targets: jax.Array,
    counted: jax.Array | None,
    weight: jax.Array | None,
    smoothing: Any,
) -> jax.Array:
    """Return the loss at each place. Each place (d1, ..., dK) has a head of its own: one batch axis for all of them."""
    places = rows.shape[1:-1]
    options = {"class_weights": weight, "label_smoothing": smoothing}
    if not places:
        where = None if counted is None else counted[..., None]
        return linear_softmax_cross_entropy(hidden, rows.T, targets, bias=bias, where=where, **options)
    count, classes = math.prod(places), rows.shape[0]
    each = jnp.moveaxis(rows.reshape(classes, count, rows.shape[-1]), 1, 0)
    lead = targets.ndim - len(places)
    flat = targets.reshape(*targets.shape[:lead], count)
    which = None if counted is None else counted.reshape(hidden.shape[0], count)
    biases = None if bias is None else bias.reshape(classes, count).T

    def one(rows: jax.Array, bias: jax.Array | None, targets: jax.Array, counted: jax.Array | None) -> jax.Array:
        return _losses(hidden, rows, bias, targets, counted, weight, smoothing)

    axes = (0, None if bias is None else 0, lead, None if counted is None else 1)
    out = jax.vmap(one, in_axes=axes, out_axes=1)(each, biases, flat, which)
    return out.reshape(hidden.shape[0], *places)
