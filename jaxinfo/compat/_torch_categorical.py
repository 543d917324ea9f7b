"""torch's losses of classes: cross_entropy, nll_loss and kl_div."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Integer, Real

from jaxinfo import _checks
from jaxinfo._classification import nll, softmax_cross_entropy
from jaxinfo._numerics import logits_from_probs
from jaxinfo.compat._torch_arguments import (
    check_probabilities,
    class_weight,
    counted_rows,
    flag,
    floating,
    labels_from,
    numbers,
    of_target,
    targets_from,
)
from jaxinfo.compat._torch_reduction import broadcast_shape, reduced, reduction_from, result_dtype, times


def cross_entropy(
    input: Float[Array, "..."],
    target: Integer[Array, "..."] | Float[Array, "..."],
    weight: Real[Array, "..."] | Bool[Array, "..."] | None = None,
    size_average: bool | None = None,
    ignore_index: int | Integer[Array, ""] = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float | Float[Array, ""] = 0.0,
) -> Float[Array, "..."]:
    r"""torch.nn.functional.cross_entropy by `jaxinfo.softmax_cross_entropy`, in nats.

    Args:
        input: logits, classes on axis 1, or on axis 0 of a single example.
        target: class indices of any integer dtype in the shape of `input` without its classes, or
            probabilities in the shape of `input`, not renormalised.
        weight: multiplies the term of each class, shape [C].
        size_average: legacy; with `reduce` it overrides `reduction`.
        ignore_index: a row with this target has loss 0 and gradient 0; not for probabilities.
        reduce: legacy.
        reduction: "none"; "sum"; or "mean", which divides by the summed weights of the counted targets (for
            the smoothing part too), by the number of rows if targets are probabilities.
        label_smoothing: a in [0, 1]: targets become (1 - a) t + a / K over the K classes that are not -inf.

    Returns:
        A scalar, or with "none" one value per row, in the dtype of `input` (promoted with `target` and `weight`
        where these are probabilities and theirs differ). A mean over no row, or over weights that sum to
        0, is nan; its gradient is 0. An index outside [0, C) gives nan.

    Raises:
        TypeError: a dtype does not fit.
        ValueError: a shape or an option does not fit.

    Examples:
        >>> import jax.numpy as jnp
        >>> logits = jnp.array([[2.0, 0.0], [0.0, 1.0], [-jnp.inf, -jnp.inf]])
        >>> cross_entropy(logits, jnp.array([0, 0, -100]))
        Array(0.720095, dtype=float32)
    """
    reduction = reduction_from(reduction, size_average, reduce)
    x, axis = _with_classes(input)
    targets = targets_from(target)
    weights = class_weight(weight, x.shape[axis], x, targets)
    options = {"axis": axis, "class_weights": weights, "label_smoothing": label_smoothing}
    if targets.shape == x.shape:
        check_probabilities(targets, ignore_index)
        losses = softmax_cross_entropy(x, targets, **options)
        return reduced(losses, reduction, result_dtype(input, target, weight))
    labels, counted = _indices(targets, ignore_index, x, axis)
    losses = softmax_cross_entropy(x, labels, where=jnp.expand_dims(counted, axis), **options)
    denominator = None if weights is None else of_target(weights, labels)
    return reduced(losses, reduction, result_dtype(input), where=counted, weights=denominator)


def nll_loss(
    input: Float[Array, "..."],
    target: Integer[Array, "..."],
    weight: Float[Array, "..."] | None = None,
    size_average: bool | None = None,
    ignore_index: int | Integer[Array, ""] = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Float[Array, "..."]:
    """torch.nn.functional.nll_loss by `jaxinfo.nll`, in nats.

    Args:
        input: log-probabilities, taken as given; classes on axis 1, or on axis 0 of a single example.
        target: class indices of any integer dtype in the shape of `input` without its classes.
        weight: multiplies the loss of each class, shape [C].
        size_average: legacy; with `reduce` it overrides `reduction`.
        ignore_index: a row with this target has loss 0 and gradient 0.
        reduce: legacy.
        reduction: "none"; "sum"; or "mean", which divides by the summed weights of the counted targets.

    Returns:
        A scalar, or with "none" one value per row, in the dtype of `input`. A mean over no row, or over
        weights that sum to 0, is nan; its gradient is 0. An index outside [0, C) gives nan.

    Raises:
        TypeError: a dtype does not fit.
        ValueError: a shape or an option does not fit.

    Examples:
        >>> import jax.numpy as jnp
        >>> log_probs = jnp.log(jnp.array([[0.25, 0.75], [0.5, 0.5]]))
        >>> nll_loss(log_probs, jnp.array([0, 1]), weight=jnp.array([1.0, 3.0]))  # (log 4 + 3 log 2) / 4
        Array(0.8664341, dtype=float32)
    """
    reduction = reduction_from(reduction, size_average, reduce)
    x, axis = _with_classes(input)
    labels, counted = _indices(target, ignore_index, x, axis)
    weights = class_weight(weight, x.shape[axis], x, labels)
    losses = nll(x, labels, axis=axis, where=jnp.expand_dims(counted, axis))
    denominator = None if weights is None else of_target(weights, labels)
    losses = losses if denominator is None else times(denominator, losses)
    return reduced(losses, reduction, result_dtype(input), where=counted, weights=denominator)


def kl_div(
    input: Float[Array, "..."],
    target: Float[Array, "..."],
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Float[Array, "..."]:
    r"""torch.nn.functional.kl_div: the terms of KL(target || input), elementwise and as given, in nats.

    .. math:: t \, (\log t - \mathrm{input})

    The terms are not normalised and have both signs, so their sum cancels where the two distributions are
    close. `jaxinfo.kl_divergence` of the logits keeps its digits there.

    Args:
        input: log-probabilities log q.
        target: probabilities t, or their logarithms with `log_target`; broadcasts with `input`.
        size_average: legacy; with `reduce` it overrides `reduction`.
        reduce: legacy.
        reduction: "none"; "sum"; "batchmean", the sum divided by the size of the first axis of `input`; or "mean",
            which divides by the number of elements, classes included, and so is no divergence.
        log_target: whether `target` holds logarithms.

    Returns:
        A scalar, or with "none" one value per element, in the promoted dtype: 0 where t is 0, also where
        log q is -inf; +inf where only q is 0; nan for a negative t.

    Raises:
        TypeError: a dtype does not fit.
        ValueError: the shapes do not broadcast, or `reduction` is unknown.

    Gradient:
        -t to the input; log t + 1 - log q to probabilities, and 0 at an exact 0 by convention.

    Examples:
        >>> import jax.numpy as jnp
        >>> p, q = jnp.array([[0.5, 0.5, 0.0]]), jnp.array([[0.25, 0.75, 0.0]])
        >>> kl_div(jnp.log(q), p, reduction="batchmean").round(6)
        Array(0.143841, dtype=float32)
    """
    reduction = reduction_from(reduction, size_average, reduce, also=("batchmean",))
    log_target = flag(log_target, "log_target")
    log_q, t = numbers(input=floating(input, "input"), target=floating(target, "target"))
    batch = log_q.shape[0] if log_q.ndim else 1
    shape = broadcast_shape(input=log_q, target=t)
    log_q, t = jnp.broadcast_to(log_q, shape), jnp.broadcast_to(t, shape)
    log_t, t = (t, jnp.exp(t)) if log_target else (logits_from_probs(t), t)
    # 0 log 0 = 0, and a t of 0 is a constant: what has no mass has no say and gets no gradient
    absent = t == 0
    terms = times(jnp.where(absent, 0, t), jnp.where(absent, 0, log_t) - log_q)
    dtype = result_dtype(input, target)
    if reduction != "batchmean":
        return reduced(terms, reduction, dtype)
    return (reduced(terms, "sum", terms.dtype) / (batch or jnp.nan)).astype(dtype)


def _with_classes(input: ArrayLike) -> tuple[jax.Array, int]:
    """Return `input` and torch's class axis: 1, or 0 for a single example.

    Raises:
        ValueError: `input` has no axis.
    """
    x = floating(input, "input")
    if x.ndim == 0:
        raise ValueError("`input` must have a class axis, got shape ().")
    return x, min(1, x.ndim - 1)


def _indices(target: ArrayLike, ignore_index: Any, x: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    """Return the class indices, and which rows count.

    Raises:
        TypeError: `target` or `ignore_index` holds no integers.
        ValueError: `target` does not have the shape of `x` without its classes.
    """
    labels = labels_from(target)
    _checks.check_labels_shape(labels, x.shape, axis - x.ndim, name="target", of="input")
    return counted_rows(labels, ignore_index)
