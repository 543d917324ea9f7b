"""linear_softmax_cross_entropy: the loss of an output head, from its hidden states."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Integer

from jaxinfo import _checks
from jaxinfo._cross_entropy import acts
from jaxinfo._exact import over
from jaxinfo._explicit import by_tokens
from jaxinfo._reduce import mean, total
from jaxinfo.linear._any import rows_any
from jaxinfo.linear._arguments import (
    DIFFERENTIATION,
    REDUCTIONS,
    STRATEGIES,
    Options,
    Problem,
    as_block_size,
    as_row_weights,
    check_choice,
    lay_out,
    local_labels,
)
from jaxinfo.linear._cross_entropy import Terms, losses
from jaxinfo.linear._head import meet, within
from jaxinfo.linear._modes import reverse_only
from jaxinfo.linear._reverse import rows_reverse
from jaxinfo.linear._rows import Fixed, Inputs, Plan
from jaxinfo.linear._shards import merge
from jaxinfo.linear._strategy import Way, choose
from jaxinfo.linear._tokens import Known, Sum, token_sum


@by_tokens
def linear_softmax_cross_entropy(
    hidden: Float[Array, "*batch D"],
    kernel: Float[Array, "D V"],
    targets: Integer[Array, "..."] | Float[Array, "..."],
    *,
    bias: Float[Array, "..."] | None = None,
    where: Bool[Array, "..."] | None = None,
    class_weights: Float[Array, "..."] | None = None,
    label_smoothing: float | Float[Array, ""] = 0.0,
    z_loss: float | Float[Array, ""] = 0.0,
    soft_cap: float | Float[Array, ""] | None = None,
    temperature: float | Float[Array, ""] = 1.0,
    axis_name: str | tuple[str, ...] | None = None,
    weights: Float[Array, "..."] | None = None,
    reduction: str = "none",
    strategy: str = "auto",
    block_size: int | None = None,
    differentiation: str = "reverse",
) -> Float[Array, "..."]:
    r"""Cross-entropy of softmax(hidden @ kernel + bias) under the targets, in nats, never holding [N, V].

    .. math:: -\sum_j t_j \log q_j, \qquad q = \mathrm{softmax}(h W + b)

    The value of `jaxinfo.softmax_cross_entropy` on the logits of an output head, whose options it shares. The
    logits are made a block of classes at a time, and made again for the gradient.

    Args:
        hidden: hidden states of the examples or tokens, with any number of batch axes.
        kernel: the output kernel; a column of -inf is a class that does not exist.
        targets: integers of the batch shape are class indices; floating values of shape `[*batch, V]` are a
            distribution, not renormalised. A label outside [0, V) gives nan in value and gradient.
        bias: added to the logits, shape [V].
        where: the elements to include, broadcastable to `[*batch, V]`: [V] masks classes, `[*batch, 1]` examples. An
            example with nothing included has loss 0 and gradient 0, whatever it holds.
        class_weights: multiplies the term of each class, shape [V].
        label_smoothing: a in [0, 1]: targets become (1 - a) t + a / K over the K included finite classes.
        z_loss: adds z_loss * logsumexp(logits)**2.
        soft_cap: replaces logits by cap * tanh(logits / cap), before the mask; -inf stays.
        temperature: divides the logits, before the cap.
        axis_name: inside `shard_map`, the mesh axis that the columns of `kernel` (and `bias`, `class_weights`,
            the last axis of `where` and of a distribution) are sharded over; labels are global, the result too.
        weights: one weight per example of the sum or mean, 1 unless given.
        reduction: "none" for one value per example; "sum"; or "mean", the weighted mean over the examples that
            count, 0 where there are none.
        strategy: "vocabulary" goes over blocks of classes, four products with the kernel in all, and keeps nothing;
            "token" over blocks of tokens, three products, for a sum or a mean, and keeps the logits of one block
            and a float32 copy of the kernel's gradient; "auto" takes the faster one that stays lean.
        block_size: classes in a block, chosen unless given; any size gives the same result.
        differentiation: "reverse" for reverse mode alone, the leanest; "any" for every mode and order, which
            costs about one copy of the kernel more.

    Returns:
        One value per example in the compute dtype (float32 for half precisions), or their sum or mean.

    Raises:
        TypeError: a dtype does not fit, or forward mode is asked of differentiation="reverse".
        ValueError: a shape or an option does not fit.

    Gradient:
        That of the unfused loss to hidden, kernel, bias, distribution targets, weights, class_weights and the
        scalar options that are arrays. The kernel's is accumulated in float32 and returned in its dtype.

    Accuracy:
        That of `softmax_cross_entropy` on logits accumulated in float32, confident predictions included; block
        sizes make no difference beyond 1e-12 in float64 (tests/linear).

    Examples:
        >>> import jax.numpy as jnp
        >>> hidden, kernel = jnp.eye(2), jnp.array([[30.0, 0.0], [0.0, 0.0]])
        >>> linear_softmax_cross_entropy(hidden, kernel, jnp.array([0, 1]))  # a confident row is not rounded to 0
        Array([9.357623e-14, 6.931472e-01], dtype=float32)
    """
    check_choice(reduction, "reduction", REDUCTIONS)
    check_choice(strategy, "strategy", STRATEGIES)
    check_choice(differentiation, "differentiation", DIFFERENTIATION)
    size = as_block_size(block_size)
    targets = _checks.as_targets(targets)
    by_class = None if class_weights is None else _checks.as_float_array(class_weights, "class_weights")
    also = (None if jnp.issubdtype(targets.dtype, jnp.integer) else targets, by_class)
    problem = lay_out(hidden, kernel, bias, Options(where, soft_cap, temperature, axis_name), also=also)
    if weights is not None and reduction == "none":
        raise ValueError('`weights` are those of a sum or a mean, and `reduction` is "none".')
    row_weights = as_row_weights(weights, problem.batch, problem.dtype)
    asked = _ask(problem, targets, by_class, label_smoothing, z_loss)
    way = choose(strategy, size, asked.inputs, problem, reduction=reduction, differentiation=differentiation)
    plan = Plan(way.size, problem.dtype, "label" if asked.here is not None else "top", acts(asked.terms.smoothing))
    if way.kind == "token":
        return _sum_of_tokens(plan, way, asked, _shares(row_weights, problem, reduction))
    loss = _of_each(plan, asked, problem, differentiation)
    if reduction == "none":
        return loss.reshape(problem.batch)
    if reduction == "sum":
        return total(loss, weights=row_weights, where=problem.counted)[0]
    return mean(loss, weights=row_weights, where=problem.counted)


class _Asked(NamedTuple):
    """What is asked of a head.

    Attributes:
        inputs: what is differentiated.
        fixed: what is not.
        terms: what the loss is made of besides.
        here: [N], whether the label is a class of this shard; None for targets that are distributions.
    """

    inputs: Inputs
    fixed: Fixed
    terms: Terms
    here: jax.Array | None


def _ask(
    problem: Problem,
    targets: jax.Array,
    class_weights: ArrayLike | None,
    label_smoothing: ArrayLike,
    z_loss: ArrayLike,
) -> _Asked:
    """Return targets and options, checked.

    Raises:
        TypeError: a dtype does not fit.
        ValueError: a shape or an option does not fit.
    """
    classes, dtype = problem.head.classes, problem.dtype
    by_class = _checks.as_class_weights(class_weights, (1, classes), -1)
    by_class = None if by_class is None else by_class.astype(dtype)
    smoothing = _checks.as_option(label_smoothing, "label_smoothing", dtype, low=0, high=1, wanted="a number in [0, 1]")
    penalty = _checks.as_option(z_loss, "z_loss", dtype, low=0, wanted="a non-negative number")
    terms = Terms(smoothing=smoothing, z_loss=penalty, counted=problem.counted)
    fixed = Fixed(included=problem.included, counted=problem.counted)
    if not jnp.issubdtype(targets.dtype, jnp.integer):
        _checks.check_same_shape(targets, (*problem.batch, classes), name="targets", of="the logits")
        inputs = Inputs(problem.head, targets.astype(dtype).reshape(-1, classes), by_class)
        return _Asked(inputs, fixed, terms, None)
    labels, faulty = local_labels(targets, problem)
    here = within(labels, classes)
    terms = terms._replace(faulty=faulty)
    if by_class is not None:
        terms = terms._replace(label_weights=_picked(by_class, labels, here, problem.axis_name))
    inputs = Inputs(problem.head, weights=by_class if acts(smoothing) else None)
    return _Asked(inputs, fixed._replace(labels=labels), terms, here)


def _of_each(plan: Plan, asked: _Asked, problem: Problem, differentiation: str) -> jax.Array:
    """Return the loss of each row, over blocks of classes."""
    inputs, fixed = meet(asked.inputs, asked.fixed)
    statistics: Any = rows_reverse if differentiation == "reverse" else rows_any
    with reverse_only():
        rows, kept = statistics(plan, inputs, fixed)
    axis = problem.axis_name
    finite = kept.finite if axis is None else jax.lax.psum(kept.finite, axis)
    return losses(merge(rows, asked.here, axis), finite, asked.terms, plan.dtype)


def _sum_of_tokens(plan: Plan, way: Way, asked: _Asked, shares: jax.Array) -> jax.Array:
    """Return the sum of the losses times their shares, over blocks of tokens."""
    terms = asked.terms
    options = (jnp.asarray(o, plan.dtype) if acts(o) else None for o in (terms.smoothing, terms.z_loss))
    wanted, known = Sum(shares, terms.label_weights, *options), Known(asked.fixed, terms.faulty)
    inputs, wanted, known = meet(asked.inputs, wanted, known)
    with reverse_only():
        return token_sum(plan, way, inputs, wanted, known)


def _shares(weights: jax.Array | None, problem: Problem, reduction: str) -> jax.Array:
    """Return the part of each loss in the sum or mean."""
    weights = jnp.ones(problem.head.hidden.shape[0], problem.dtype) if weights is None else weights
    if problem.counted is not None:
        weights = jnp.where(problem.counted, weights, 0)
    if reduction == "sum":
        return weights
    total = jnp.sum(weights)
    return jnp.where(total != 0, over(weights, jnp.where(total != 0, total, 1)), 0)


def _picked(weights: jax.Array, labels: jax.Array, here: jax.Array, axis_name: Any) -> jax.Array:
    picked = jnp.where(here, weights[0, jnp.where(here, labels, 0)], 0)
    return picked if axis_name is None else jax.lax.psum(picked, axis_name)
