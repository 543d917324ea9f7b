"""torch's losses of binary outcomes, given by probabilities or by logits."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Real

from jaxinfo import _checks
from jaxinfo._numerics import logits_from_probs
from jaxinfo._sigmoid import sigmoid_cross_entropy
from jaxinfo.compat._torch_arguments import floating, is_whole, numbers, outcomes_from
from jaxinfo.compat._torch_reduction import check_broadcasts, reduced, reduction_from, result_dtype, weighted

_LARGEST_LOSS = 100.0  # torch's bound of -log p
_SMALLEST_SPREAD = 1e-12  # torch's bound of p (1 - p) in the gradient


def binary_cross_entropy(
    input: Float[Array, "..."],
    target: Real[Array, "..."] | Bool[Array, "..."],
    weight: Real[Array, "..."] | Bool[Array, "..."] | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Float[Array, "..."]:
    r"""torch.nn.functional.binary_cross_entropy by `jaxinfo.sigmoid_cross_entropy` of the log-odds, in nats.

    .. math:: -t \log p - (1 - t) \log(1 - p)

    Each logarithm is bounded at -100 as in torch, so that a certain and wrong outcome costs 100, not inf.
    A probability near 1 has already lost its digits: use `binary_cross_entropy_with_logits` where you can.

    Args:
        input: probabilities p; one outside [0, 1] gives nan.
        target: t in the shape of `input`: probabilities, or integers or bools 0 and 1.
        weight: multiplies the losses; broadcasts to `input`.
        size_average: legacy; with `reduce` it overrides `reduction`.
        reduce: legacy.
        reduction: "none"; "sum"; or "mean", over all elements whatever their weight.

    Returns:
        A scalar, or with "none" one value per element, in the dtype that `input` and `target` promote to. The mean
        of nothing is nan.

    Raises:
        TypeError: a dtype does not fit.
        ValueError: a shape or `reduction` does not fit.

    Gradient:
        (p - t) / max(p (1 - p), 1e-12) to the input, as torch's: a wrong outcome pushes also beyond the bound.

    Examples:
        >>> import jax.numpy as jnp
        >>> binary_cross_entropy(jnp.array([0.5, 0.0, 1.0]), jnp.array([1.0, 1.0, 1.0]), reduction="none")
        Array([  0.6931472, 100.       ,   0.       ], dtype=float32)
    """
    reduction = reduction_from(reduction, size_average, reduce)
    p, t = _checks.as_float_array(floating(input, "input"), "input"), outcomes_from(target)
    _checks.check_same_shape(t, p.shape, name="target", of="input")
    losses = weighted(sigmoid_cross_entropy(_bounded_log_odds(p), t), weight)
    return reduced(losses, reduction, result_dtype(input, target))


def binary_cross_entropy_with_logits(
    input: Float[Array, "..."],
    target: Real[Array, "..."] | Bool[Array, "..."],
    weight: Real[Array, "..."] | Bool[Array, "..."] | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Real[Array, "..."] | Bool[Array, "..."] | None = None,
) -> Float[Array, "..."]:
    """torch.nn.functional.binary_cross_entropy_with_logits by `jaxinfo.sigmoid_cross_entropy`, in nats.

    Args:
        input: log-odds of outcome 1; +inf and -inf are certainty.
        target: in the shape of `input`: probabilities of outcome 1, or integers or bools 0 and 1.
        weight: multiplies the losses; broadcasts to `input`.
        size_average: legacy; with `reduce` it overrides `reduction`.
        reduce: legacy.
        reduction: "none"; "sum"; or "mean", over all elements whatever their weight.
        pos_weight: multiplies the term of outcome 1; broadcasts to `input`.

    Returns:
        A scalar, or with "none" one value per element, in the dtype of `target` as in torch, that of `input` where
        `target` holds integers or bools: 0 or +inf for certainty that is right or wrong. The mean of nothing is nan.

    Raises:
        TypeError: a dtype does not fit.
        ValueError: a shape or `reduction` does not fit.

    Examples:
        >>> import jax.numpy as jnp
        >>> binary_cross_entropy_with_logits(jnp.array([0.0, jnp.inf]), jnp.array([1.0, 1.0]), reduction="none")
        Array([0.6931472, 0.       ], dtype=float32)
    """
    reduction = reduction_from(reduction, size_average, reduce)
    x, t = floating(input, "input"), outcomes_from(target)
    _checks.check_same_shape(t, x.shape, name="target", of="input")
    if pos_weight is not None:
        (pos_weight,) = numbers(pos_weight=pos_weight)
        check_broadcasts(pos_weight, x.shape, "pos_weight")
    losses = weighted(sigmoid_cross_entropy(x, t, pos_weight=pos_weight), weight)
    return reduced(losses, reduction, result_dtype(input if is_whole(target) else target))


@jax.custom_jvp
def _bounded_log_odds(p: jax.Array) -> jax.Array:
    return jnp.clip(logits_from_probs(p) - jnp.log1p(-p), -_LARGEST_LOSS, _LARGEST_LOSS)


@_bounded_log_odds.defjvp
def _bounded_log_odds_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    """d log(p / (1 - p)) = dp / (p (1 - p)), within torch's bound and not stopped by the clipping."""
    (p,), (t,) = primals, tangents
    return _bounded_log_odds(p), t / jnp.maximum(p * (1 - p), _SMALLEST_SPREAD)
