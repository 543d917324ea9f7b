"""torch's linear_cross_entropy."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

from jaxinfo import _checks
from jaxinfo.compat._torch_categorical import of_target
from jaxinfo.compat._torch_reduction import reduced, reduction_from, result_dtype
from jaxinfo.linear import linear_softmax_cross_entropy


def linear_cross_entropy(
    input: Float[Array, "..."],
    linear_weight: Float[Array, "..."],
    target: Integer[Array, "..."] | Float[Array, "..."],
    *,
    linear_bias: Float[Array, "..."] | None = None,
    weight: Float[Array, "..."] | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
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
        A scalar, or with "none" one value per row, in the dtype of `input`; a mean over no row is nan.

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
    hidden, rows = (jnp.asarray(a) for a in (input, linear_weight))
    _checks.as_float_array(hidden, "input")
    _checks.as_float_array(rows, "linear_weight")
    if hidden.ndim not in (1, 2):
        raise ValueError(f"`input` must have shape (in_features,) or (N, in_features), got {hidden.shape}.")
    if rows.ndim < 2 or rows.shape[-1] != hidden.shape[-1] or (rows.ndim > 2 and hidden.ndim == 1):
        raise ValueError(
            f"`linear_weight` must have shape (C, ..., {hidden.shape[-1]}), the last axis being that of `input` "
            f"{hidden.shape}, got {rows.shape}."
        )
    dtype = result_dtype(input, linear_weight)
    if hidden.ndim == 1:
        losses, counted, weights = _losses(
            hidden[None], rows, _lead(target), linear_bias, weight, ignore_index, label_smoothing
        )
        losses, counted, weights = (a if a is None else a[0] for a in (losses, counted, weights))
    else:
        losses, counted, weights = _losses(hidden, rows, target, linear_bias, weight, ignore_index, label_smoothing)
    assert losses is not None
    return reduced(losses, reduction, dtype, where=counted, weights=weights)


def _check_shape(x: jax.Array, wanted: tuple[int, ...], name: str) -> None:
    """Check a shape that `input` and `linear_weight` determine.

    Raises:
        ValueError: it is another.
    """
    if x.shape != wanted:
        raise ValueError(f"`{name}` must have shape {wanted}, that of `input` and `linear_weight`, got {x.shape}.")


def _lead(target: Any) -> jax.Array:
    return jnp.asarray(target)[None]


def _losses(
    hidden: jax.Array, rows: jax.Array, target: Any, bias: Any, weight: Any, ignore_index: int | None, smoothing: Any
) -> tuple[jax.Array, jax.Array | None, jax.Array | None]:
    """Return the loss at each place, which count, and the weights of the mean's denominator.

    Each place (d1, ..., dK) has a head of its own: they are taken one batch axis at a time.

    Raises:
        ValueError: a shape does not fit, or an index to ignore is given for probabilities.
    """
    places = rows.shape[1:-1]
    targets = _checks.as_targets(target, "target")
    if places:
        count, classes, by_index = math.prod(places), rows.shape[0], jnp.issubdtype(targets.dtype, jnp.integer)
        _check_shape(targets, (hidden.shape[0], *(() if by_index else (classes,)), *places), "target")
        if bias is not None:
            bias = _checks.as_float_array(bias, "linear_bias")
            _check_shape(bias, (classes, *places), "linear_bias")
        each = jnp.moveaxis(rows.reshape(classes, count, rows.shape[-1]), 1, 0)
        axis = 1 if by_index else 2
        flat = targets.reshape(*targets.shape[:axis], count)
        biases = None if bias is None else bias.reshape(classes, count).T

        def one(rows: jax.Array, target: jax.Array, bias: jax.Array | None) -> Any:
            return _losses(hidden, rows, target, bias, weight, ignore_index, smoothing)

        out = jax.vmap(one, in_axes=(0, axis, None if bias is None else 0), out_axes=1)(each, flat, biases)
        return jax.tree.map(lambda a: a.reshape(hidden.shape[0], *places), out)
    kernel = rows.T
    options = {"bias": bias, "class_weights": weight, "label_smoothing": smoothing}
    if not jnp.issubdtype(targets.dtype, jnp.integer):
        if ignore_index is not None:
            raise ValueError(f"`ignore_index` must be None where `target` holds probabilities, got {ignore_index}.")
        return linear_softmax_cross_entropy(hidden, kernel, targets, **options), None, None
    _checks.check_labels_shape(targets, hidden.shape, -1, name="target", of="input")
    targets = targets.astype(jnp.int32) if targets.dtype.itemsize < 4 else targets
    counted = targets != (-100 if ignore_index is None else ignore_index)
    losses = linear_softmax_cross_entropy(hidden, kernel, targets, where=counted[:, None], **options)
    weights = None if weight is None else of_target(weight, targets)
    return losses, counted, weights
