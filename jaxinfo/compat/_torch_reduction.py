"""What torch's losses share: the meaning of `reduction`, dtypes, broadcasting, and `weight`."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxinfo import _checks
from jaxinfo._exact import over
from jaxinfo._reduce import mean, total
from jaxinfo.compat._torch_arguments import flag, numbers, said


def reduction_from(
    reduction: str,
    size_average: bool | None = None,
    reduce: bool | None = None,
    also: tuple[str, ...] = (),
) -> str:
    """Return the reduction to make; the two legacy arguments override `reduction` when one is given.

    Raises:
        TypeError: a legacy argument is no bool.
        ValueError: `reduction` is not one of torch's.
    """
    if size_average is not None or reduce is not None:
        if reduce is not None and not flag(reduce, "reduce"):
            return "none"
        return "mean" if size_average is None or flag(size_average, "size_average") else "sum"
    known = ("none", "mean", "sum", *also)
    if not isinstance(reduction, str) or reduction not in known:
        raise ValueError(f"`reduction` must be one of {', '.join(map(repr, known))}, got {said(reduction)}.")
    return reduction


def reduced(
    losses: jax.Array,
    reduction: str,
    dtype: jnp.dtype,
    *,
    where: jax.Array | None = None,
    weights: jax.Array | None = None,
) -> jax.Array:
    """Return `losses`, their sum or their mean, in `dtype`; a mean over nothing is nan, with gradient 0.

    `weights` are already multiplied into the losses: they are the denominator only, as in torch, where
    label smoothing adds other weights to the numerator than to the denominator.
    """
    if reduction == "mean" and weights is None:
        losses = mean(losses, where=where, empty=jnp.nan)
    elif reduction == "mean":
        _, weight = total(jnp.ones_like(losses), weights=weights, where=where)
        summed, _ = total(losses, where=where)
        counted = weight != 0
        losses = jnp.where(counted, over(summed, jnp.where(counted, weight, 1)), jnp.nan)
    elif reduction == "sum":
        losses, _ = total(losses, where=where)
    return losses.astype(dtype)


def times(weight: jax.Array, losses: jax.Array) -> jax.Array:
    """Return weight * losses in one shape, with 0 * inf = 0: what has no weight has no say."""
    weight, losses = _checks.promote(weight, losses)
    absent = (weight == 0) & jnp.isinf(losses)
    return weight * jnp.where(absent, 0, losses)


def weighted(losses: jax.Array, weight: ArrayLike | None) -> jax.Array:
    """Return the losses times `weight`, which broadcasts to them.

    Raises:
        TypeError: `weight` is no array of numbers.
        ValueError: `weight` does not broadcast to the losses.
    """
    if weight is None:
        return losses
    (array,) = numbers(weight=weight)
    check_broadcasts(array, losses.shape, "weight")
    return times(jnp.broadcast_to(array, losses.shape), losses)


def check_broadcasts(x: ArrayLike, shape: tuple[int, ...], name: str) -> None:
    """Check that `x` broadcasts to the shape of the input.

    Raises:
        ValueError: it does not.
    """
    got = jnp.shape(x)
    if len(got) > len(shape) or any(n not in (1, m) for n, m in zip(got[::-1], shape[::-1], strict=False)):
        raise ValueError(f"`{name}` must broadcast to {shape}, the shape of `input`, got {got}.")


def broadcast_shape(**arrays: jax.Array) -> tuple[int, ...]:
    """Return the shape that the named arrays broadcast to.

    Raises:
        ValueError: they do not.
    """
    try:
        return jnp.broadcast_shapes(*(array.shape for array in arrays.values()))
    except ValueError:
        names = " and ".join(f"`{name}`" for name in arrays)
        shapes = " and ".join(str(array.shape) for array in arrays.values())
        raise ValueError(f"{names} must broadcast to one shape, got {shapes}.") from None


def result_dtype(*arrays: ArrayLike | None) -> jnp.dtype:
    """Return torch's promotion of the floating arguments: a half precision stays unless it meets another dtype.

    A scalar array yields to arrays with axes, and a Python number, or what JAX types as weakly as one, to both.
    """
    floating = [a for a in arrays if a is not None and jnp.issubdtype(jnp.result_type(a), jnp.floating)]
    strong = [a for a in floating if not getattr(a, "weak_type", isinstance(a, float))] or floating
    with_axes = [a for a in strong if jnp.ndim(a)] or strong
    dtypes = {jnp.result_type(a) for a in with_axes}
    if len(dtypes) == 1:
        return dtypes.pop()
    return max(dtypes | {jnp.dtype(jnp.float32)}, key=lambda dtype: jnp.finfo(dtype).bits)
