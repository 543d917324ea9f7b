"""linear_token_statistics: what reinforcement learning and monitoring ask of an output head."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer

from jaxinfo import _checks
from jaxinfo._explicit import by_tokens
from jaxinfo.linear._any import rows_any
from jaxinfo.linear._arguments import DIFFERENTIATION, Options, as_block_size, check_choice, lay_out, local_labels
from jaxinfo.linear._head import meet, within
from jaxinfo.linear._modes import reverse_only
from jaxinfo.linear._reverse import rows_reverse
from jaxinfo.linear._rows import Fixed, Inputs, Plan
from jaxinfo.linear._shards import best_class, merge
from jaxinfo.linear._strategy import block_of


class TokenStatistics(NamedTuple):
    """Statistics of each token's distribution over the vocabulary, in nats and of the batch shape.

    Attributes:
        log_prob: log-probability of the label.
        logsumexp: log-normaliser of the logits.
        entropy: entropy of the distribution.
        argmax: the likeliest class, the first of several, int32.
    """

    log_prob: jax.Array
    logsumexp: jax.Array
    entropy: jax.Array
    argmax: jax.Array


@by_tokens
def linear_token_statistics(
    hidden: Float[Array, "*batch D"],
    kernel: Float[Array, "D V"],
    labels: Integer[Array, "..."],
    *,
    bias: Float[Array, "..."] | None = None,
    where: Bool[Array, "..."] | None = None,
    soft_cap: float | Float[Array, ""] | None = None,
    temperature: float | Float[Array, ""] = 1.0,
    axis_name: str | tuple[str, ...] | None = None,
    block_size: int | None = None,
    differentiation: str = "reverse",
) -> TokenStatistics:
    r"""Log-probability, log-normaliser, entropy and likeliest class of each token, never holding [N, V].

    .. math:: \log q_y, \quad \log \sum_j e^{x_j}, \quad -\sum_j q_j \log q_j, \quad \arg\max_j x_j,
              \qquad x = h W + b

    Args:
        hidden: hidden states, with any number of batch axes.
        kernel: the output kernel.
        labels: class indices of the batch shape; one outside [0, V) has log-probability nan.
        bias: added to the logits, shape [V].
        where: the elements to include, broadcastable to `[*batch, V]`.
        soft_cap: replaces logits by cap * tanh(logits / cap), before the mask.
        temperature: divides the logits, before the cap.
        axis_name: inside `shard_map`, the mesh axis that the columns of `kernel` are sharded over.
        block_size: classes in a block, chosen unless given; any size gives the same result.
        differentiation: "reverse", or "any" for every mode and order.

    Returns:
        `TokenStatistics` in the compute dtype (float32 for half precisions). Where nothing is included they are
        0, -inf, 0 and -1; where the label is excluded its log-probability is -inf.

    Raises:
        TypeError: a dtype does not fit.
        ValueError: a shape or an option does not fit.

    Gradient:
        Of the first three: one-hot - q, q, and -q (log q + H) to the logits.

    Accuracy:
        That of `log_softmax`, `logsumexp` and `entropy` on logits accumulated in float32 (tests/linear).

    Examples:
        >>> import jax.numpy as jnp
        >>> s = linear_token_statistics(jnp.ones((1, 1)), jnp.log(jnp.array([[1.0, 2.0, 1.0]])), jnp.array([1]))
        >>> [round(float(x[0]), 4) for x in s]
        [-0.6931, 1.3863, 1.0397, 1.0]
    """
    check_choice(differentiation, "differentiation", DIFFERENTIATION)
    size = as_block_size(block_size)
    labels = _checks.as_labels(labels)
    problem = lay_out(hidden, kernel, bias, Options(where, soft_cap, temperature, axis_name))
    columns, faulty = local_labels(labels, problem, "labels")
    inputs, fixed = meet(Inputs(problem.head), Fixed(columns, problem.included, problem.counted))
    plan = Plan(block_of(size, inputs), problem.dtype, "top", entropy=True)
    statistics: Any = rows_reverse if differentiation == "reverse" else rows_any
    with reverse_only():
        rows, kept = statistics(plan, inputs, fixed)
    here = within(columns, problem.head.classes)
    best = jax.lax.bitcast_convert_type(kept.best, jnp.int32)
    argmax = best_class(rows.top, best, problem.head.classes, axis_name)
    rows = merge(rows, here, axis_name)
    nothing = rows.lse == -jnp.inf
    # a row that is no distribution, or whose label does not exist, is nan in its gradient as well
    entropy = rows.entropy * jnp.where(nothing, jnp.nan, 1).astype(problem.dtype)
    log_prob = (rows.picked - rows.lse) * jnp.where(nothing | faulty, jnp.nan, 1).astype(problem.dtype)
    top = jnp.where(nothing, 0, rows.top)
    out = TokenStatistics(log_prob, top + rows.lse, entropy, argmax)
    if problem.counted is not None:
        counted = problem.counted
        empty = TokenStatistics(*(jnp.asarray(v, x.dtype) for v, x in zip((0, -jnp.inf, 0, -1), out, strict=True)))
        out = jax.tree.map(lambda x, e: jnp.where(counted, x, e), out, empty)
    return jax.tree.map(lambda x: x.reshape(problem.batch), out)
