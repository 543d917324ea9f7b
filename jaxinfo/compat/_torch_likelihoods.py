"""torch's losses of numbers: gaussian_nll_loss and poisson_nll_loss."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Real

from jaxinfo import _checks
from jaxinfo._likelihoods import gaussian_nll
from jaxinfo._logratio import graft
from jaxinfo.compat._torch_arguments import converted, flag, floating, is_integer_scalar, is_whole, numbers, offset
from jaxinfo.compat._torch_reduction import broadcast_shape, reduced, reduction_from, result_dtype, times

_HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


def gaussian_nll_loss(
    input: Real[Array, "..."] | Bool[Array, "..."],
    target: Real[Array, "..."] | Bool[Array, "..."],
    var: float | Real[Array, ""] | Float[Array, "..."],
    full: bool = False,
    eps: float | Float[Array, ""] = 1e-6,
    reduction: str = "mean",
) -> Float[Array, "..."]:
    r"""torch.nn.functional.gaussian_nll_loss by `jaxinfo.gaussian_nll`, in nats.

    .. math:: \tfrac12 \Big(\log v + \frac{(\mathrm{input} - \mathrm{target})^2}{v}\Big),
              \qquad v = \max(\mathrm{var}, \epsilon)

    Args:
        input: expectations.
        target: observations; broadcasts with `input`.
        var: variances: a number, also as an array without axes, or an array of the shape of `input`, without its
            last axis, or with one axis of size 1. A negative one in an array gives nan.
        full: whether to add the constant log(2 pi) / 2, which makes it the whole density.
        eps: smallest variance.
        reduction: "none"; "sum"; or "mean".

    Returns:
        A scalar, or with "none" one value per element, in the promoted dtype. The mean of nothing is nan.

    Raises:
        TypeError: a dtype does not fit.
        ValueError: a shape or an option does not fit, or a number given as variance is negative.

    Gradient:
        As `gaussian_nll` at v; a variance below `eps` gets the gradient at `eps`, as in torch.

    Examples:
        >>> import jax.numpy as jnp
        >>> gaussian_nll_loss(jnp.array([0.0, 2.0]), jnp.zeros(2), 1.0, reduction="none")
        Array([0., 2.], dtype=float32)
    """
    reduction, full = reduction_from(reduction), flag(full, "full")
    mean, x = numbers(input=input, target=target)
    mean, x, variance = _checks.promote(mean, x, _variance(var, mean))
    shape = broadcast_shape(input=mean, target=x)
    # the bound is invisible to the gradient, as in torch, so that a collapsed variance can grow again
    bounded = graft(jnp.maximum(variance, offset(eps, variance.dtype)), variance)
    variance = jnp.broadcast_to(jnp.where(variance < 0, jnp.nan, bounded), shape)
    losses = gaussian_nll(jnp.broadcast_to(x, shape), jnp.broadcast_to(mean, shape), variance)
    losses = losses if full else losses - _HALF_LOG_TWO_PI
    return reduced(losses, reduction, result_dtype(input, target, _as_torch_lays(var, input)))


def poisson_nll_loss(
    input: Real[Array, "..."] | Bool[Array, "..."],
    target: Real[Array, "..."] | Bool[Array, "..."],
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float | Float[Array, ""] = 1e-8,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Float[Array, "..."]:
    r"""torch.nn.functional.poisson_nll_loss, in nats.

    .. math:: e^{\mathrm{input}} - t \, \mathrm{input} \qquad \text{or} \qquad
              \mathrm{input} - t \log(\mathrm{input} + \epsilon)

    `full` adds torch's own approximation of log t!, Stirling's t log t - t + log(2 pi t) / 2 for t > 1 and 0
    below, which is 0.04 short of log 2! at t = 2. `jaxinfo.poisson_nll` is the exact density.

    Args:
        input: log-rates, or rates without `log_input`.
        target: counts t; broadcasts with `input`.
        log_input: whether `input` holds logarithms.
        full: whether to add the approximation of log t!.
        size_average: legacy; with `reduce` it overrides `reduction`.
        eps: added to a rate before its logarithm is taken; without effect if `log_input`.
        reduce: legacy.
        reduction: "none"; "sum"; or "mean".

    Returns:
        A scalar, or with "none" one value per element, in the promoted dtype: 0 for a count of 0 at log-rate
        -inf, +inf for another count there and at an infinite rate. The mean of nothing is nan.

    Raises:
        TypeError: a dtype does not fit.
        ValueError: the shapes do not broadcast, or an option does not fit.

    Examples:
        >>> import jax.numpy as jnp
        >>> poisson_nll_loss(jnp.array([0.0, -jnp.inf]), jnp.array([3, 0]), reduction="none")
        Array([1., 0.], dtype=float32)
    """
    reduction = reduction_from(reduction, size_average, reduce)
    log_input, full = flag(log_input, "log_input"), flag(full, "full")
    x, t = numbers(input=input, target=target)
    added = offset(eps, x.dtype)
    shape = broadcast_shape(input=x, target=t)
    x, t = jnp.broadcast_to(x, shape), jnp.broadcast_to(t, shape)
    rate, log_rate = (jnp.exp(x), x) if log_input else (x, jnp.log(x + added))
    losses = rate + times(t, -log_rate)
    outgrown = (log_rate == jnp.inf) & (t < jnp.inf)  # a rate outgrows its log
    losses = graft(jnp.where(outgrown, jnp.inf, losses), losses)
    losses = losses + _stirling(t) if full else losses
    return reduced(losses, reduction, result_dtype(_of_functions(input), target))


def _stirling(t: jax.Array) -> jax.Array:
    counted = ~(t <= 1)  # a nan too
    t = jnp.where(counted, t, 1)
    return jnp.where(counted, t * jnp.log(t) - t + 0.5 * jnp.log(2 * math.pi * t), 0)


def _variance(var: ArrayLike, mean: jax.Array) -> jax.Array:
    """Return the variances with as many axes as `mean`, as torch lays them out.

    Raises:
        TypeError: `var` is no number and no floating array.
        ValueError: the shape is none of torch's and not that of a number, or a number is negative.
    """
    if _is_number(var):
        _checks.check_number(var, "var", low=0, wanted="a non-negative number or an array")
        return jnp.full(mean.shape, var, mean.dtype)
    variance = converted(var, mean.dtype) if is_integer_scalar(var) else floating(var, "var")
    variance = _checks.as_float_array(variance, "var")
    if variance.shape in ((), mean.shape):
        return variance.reshape(variance.shape or (1,) * mean.ndim)
    if variance.shape == mean.shape[:-1]:
        return jnp.expand_dims(variance, -1)
    unlike = [n for n, m in zip(variance.shape, mean.shape, strict=False) if n != m]
    if variance.ndim != mean.ndim or unlike != [1]:
        raise ValueError(
            f"`var` must have shape {mean.shape}, that of `input`, or lack its last axis, or have one axis of "
            f"size 1, got {variance.shape}."
        )
    return variance


def _is_number(var: ArrayLike) -> bool:
    return isinstance(var, float | int | np.number)


def _as_torch_lays(var: ArrayLike, input: ArrayLike) -> ArrayLike:
    """Return what `var` says about the dtype: a number is like `input`, a scalar beside one axis like an array."""
    if _is_number(var) or getattr(var, "weak_type", False):
        return _of_functions(input)
    return jnp.expand_dims(var, -1) if jnp.ndim(var) == jnp.ndim(input) - 1 else var


def _of_functions(x: ArrayLike) -> ArrayLike:
    """Return an array of the dtype that a function such as exp has at `x`: torch answers integers in float32."""
    return np.broadcast_to(np.float32(0), jnp.shape(x)) if is_whole(x) else x
