"""linear_kl_divergence and linear_js_divergence: how far two output heads are apart, for distillation."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxinfo import _checks
from jaxinfo._explicit import by_tokens
from jaxinfo.linear._arguments import Options
from jaxinfo.linear._pair import kl_slopes, kl_terms, kl_terms_any, mixture_slopes, mixture_terms
from jaxinfo.linear._two_heads import two_heads


@by_tokens
def linear_kl_divergence(
    p_hidden: Float[Array, "*batch D"],
    p_kernel: Float[Array, "D V"],
    q_hidden: Float[Array, "*batch E"],
    q_kernel: Float[Array, "E V"],
    *,
    p_bias: Float[Array, "..."] | None = None,
    q_bias: Float[Array, "..."] | None = None,
    where: Bool[Array, "..."] | None = None,
    soft_cap: float | Float[Array, ""] | None = None,
    temperature: float | Float[Array, ""] = 1.0,
    axis_name: str | tuple[str, ...] | None = None,
    block_size: int | None = None,
    differentiation: str = "reverse",
) -> Float[Array, "..."]:
    r"""KL(P || Q) of the distributions of two output heads over one vocabulary, in nats, never holding [N, V].

    .. math:: \sum_j p_j \log \frac{p_j}{q_j}, \qquad p = \mathrm{softmax}(h_p W_p + b_p), \;
              q = \mathrm{softmax}(h_q W_q + b_q)

    Distillation of a teacher p into a student q, or with the roles exchanged; the widths may differ.

    Args:
        p_hidden: hidden states of the reference.
        p_kernel: its output kernel.
        q_hidden: hidden states of the approximation, of the same batch shape.
        q_kernel: its output kernel, over the same classes.
        p_bias: added to the logits of p, shape [V].
        q_bias: added to the logits of q, shape [V].
        where: the elements to include, broadcastable to `[*batch, V]`.
        soft_cap: replaces the logits of both by cap * tanh(logits / cap), before the mask.
        temperature: divides the logits of both, before the cap.
        axis_name: inside `shard_map`, the mesh axis that the columns of both kernels are sharded over.
        block_size: classes in a block, chosen unless given; any size gives the same result.
        differentiation: "reverse", or "any" for every mode and order.

    Returns:
        One value per example in the compute dtype, never negative; exactly 0 for two equal heads and where
        nothing is included; +inf where Q lacks a class that P has.

    Raises:
        TypeError: a dtype does not fit.
        ValueError: a shape or an option does not fit.

    Gradient:
        To both heads: q - p, as p expm1(d), and -p (KL + d) to the logits, d = log q - log p.

    Accuracy:
        That of `kl_divergence` on logits accumulated in float32, also where the two hardly differ (tests/linear).

    Examples:
        >>> import jax.numpy as jnp
        >>> h, w = jnp.ones((1, 1)), jnp.array([[1.0, 2.0, 3.0]])
        >>> linear_kl_divergence(h, w, h, jnp.zeros((1, 3))).round(6)
        Array([0.266217], dtype=float32)
    """
    pair = two_heads(
        (p_hidden, p_kernel, p_bias),
        (q_hidden, q_kernel, q_bias),
        Options(where, soft_cap, temperature, axis_name),
        block_size=block_size,
        differentiation=differentiation,
    )
    if differentiation == "any":
        finite, infinite = pair.total_any(kl_terms_any, 2)
        return pair.settle(jnp.where(finite == jnp.inf, infinite, finite))
    value = jnp.maximum(pair.total(kl_terms, 1)[0], 0)
    return pair.settle(pair.with_slopes(value, kl_slopes, (value,)))


@by_tokens
def linear_js_divergence(
    p_hidden: Float[Array, "*batch D"],
    p_kernel: Float[Array, "D V"],
    q_hidden: Float[Array, "*batch E"],
    q_kernel: Float[Array, "E V"],
    *,
    weight: float | Float[Array, ""] = 0.5,
    p_bias: Float[Array, "..."] | None = None,
    q_bias: Float[Array, "..."] | None = None,
    where: Bool[Array, "..."] | None = None,
    soft_cap: float | Float[Array, ""] | None = None,
    temperature: float | Float[Array, ""] = 1.0,
    axis_name: str | tuple[str, ...] | None = None,
    block_size: int | None = None,
    differentiation: str = "reverse",
) -> Float[Array, "..."]:
    r"""Jensen-Shannon divergence of the distributions of two output heads, in nats, never holding [N, V].

    .. math:: w \, \mathrm{KL}(P \| M) + (1 - w) \, \mathrm{KL}(Q \| M), \qquad M = w P + (1 - w) Q

    Args:
        p_hidden: hidden states of the first head.
        p_kernel: its output kernel.
        q_hidden: hidden states of the second, of the same batch shape.
        q_kernel: its output kernel, over the same classes.
        weight: w in [0, 1], the weight of P in the mixture.
        p_bias: added to the logits of p, shape [V].
        q_bias: added to the logits of q, shape [V].
        where: the elements to include, broadcastable to `[*batch, V]`.
        soft_cap: replaces the logits of both by cap * tanh(logits / cap), before the mask.
        temperature: divides the logits of both, before the cap.
        axis_name: inside `shard_map`, the mesh axis that the columns of both kernels are sharded over.
        block_size: classes in a block, chosen unless given; any size gives the same result.
        differentiation: "reverse", or "any" for every mode and order.

    Returns:
        One value per example in the compute dtype, in [0, log 2]; exactly 0 for two equal heads and where nothing
        is included.

    Raises:
        TypeError: a dtype does not fit.
        ValueError: a shape or an option does not fit.

    Gradient:
        To both heads, and to `weight` if it is an array.

    Accuracy:
        That of `js_divergence` on logits accumulated in float32 (tests/linear).

    Examples:
        >>> import jax.numpy as jnp
        >>> h = jnp.ones((1, 1))
        >>> p, q = jnp.array([[0.0, -jnp.inf]]), jnp.array([[-jnp.inf, 0.0]])  # nothing in common: log 2
        >>> linear_js_divergence(h, p, h, q).round(6)
        Array([0.693147], dtype=float32)
    """
    pair = two_heads(
        (p_hidden, p_kernel, p_bias),
        (q_hidden, q_kernel, q_bias),
        Options(where, soft_cap, temperature, axis_name),
        block_size=block_size,
        differentiation=differentiation,
    )
    dtype = pair.plan.dtype
    w = jnp.asarray(_checks.as_option(weight, "weight", dtype, low=0, high=1, wanted="a number in [0, 1]"), dtype)
    if differentiation == "any":
        to_p, to_q = pair.total_any(lambda p: mixture_terms(p, w), 2)
        return pair.settle(w * to_p + (1 - w) * to_q)
    still = jax.lax.stop_gradient(w)
    to_p, to_q = pair.total(lambda p: mixture_terms(p, still), 2)
    value = jnp.minimum(still * to_p + (1 - still) * to_q, math.log(2))
    out = pair.with_slopes(value, mixture_slopes, (to_p, to_q, still))
    return pair.settle(out + (w - still) * jnp.where(jnp.isfinite(to_p - to_q), to_p - to_q, 0))
