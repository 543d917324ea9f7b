"""torch's softmax, log_softmax and logsumexp."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Real

from jaxinfo import _checks
from jaxinfo import _numerics as numerics
from jaxinfo.compat._torch_arguments import converted, flag, floating, is_whole, numbers, said


def softmax(
    input: Real[Array, "..."] | Bool[Array, "..."], dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Float[Array, "..."]:
    """torch.nn.functional.softmax by `jaxinfo.softmax`.

    Args:
        input: logits; integers and bools only with `dtype`.
        dim: the class axis; None is torch's legacy choice: 0 if `input` has 0, 1 or 3 axes, else 1.
        _stacklevel: accepted for torch's sake, without effect.
        dtype: the dtype to convert `input` to first, and of the result.

    Returns:
        Probabilities in the shape of `input`; nan for a row that is no distribution.

    Raises:
        TypeError: a dtype does not fit, or `dim` is no int.
        ValueError: there is no axis `dim`.

    Examples:
        >>> import jax.numpy as jnp
        >>> softmax(jnp.zeros((1, 4), jnp.bfloat16), dim=1)
        Array([[0.25, 0.25, 0.25, 0.25]], dtype=bfloat16)
    """
    del _stacklevel
    x, axis, shape = _laid_out(input, dim, dtype)
    return numerics.softmax(x, axis=axis).reshape(shape).astype(x.dtype)


def log_softmax(
    input: Real[Array, "..."] | Bool[Array, "..."], dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Float[Array, "..."]:
    """torch.nn.functional.log_softmax by `jaxinfo.log_softmax`, in nats.

    Args:
        input: logits; integers and bools only with `dtype`.
        dim: the class axis; None is torch's legacy choice: 0 if `input` has 0, 1 or 3 axes, else 1.
        _stacklevel: accepted for torch's sake, without effect.
        dtype: the dtype to convert `input` to first, and of the result.

    Returns:
        Log-probabilities in the shape of `input`; nan for a row that is no distribution.

    Raises:
        TypeError: a dtype does not fit, or `dim` is no int.
        ValueError: there is no axis `dim`.

    Examples:
        >>> import jax.numpy as jnp
        >>> log_softmax(jnp.array([30.0, 0.0]), dim=0)[0]  # torch returns 0
        Array(-9.357623e-14, dtype=float32)
    """
    del _stacklevel
    x, axis, shape = _laid_out(input, dim, dtype)
    return numerics.log_softmax(x, axis=axis).reshape(shape).astype(x.dtype)


def logsumexp(
    input: Real[Array, "..."] | Bool[Array, "..."], dim: int | Sequence[int], keepdim: bool = False
) -> Float[Array, "..."]:
    """torch.logsumexp by `jaxinfo.logsumexp`, in nats; there is no `out`.

    Args:
        input: any values; integers and bools are taken as float32.
        dim: the axis or axes to sum over.
        keepdim: keep the summed axes with size 1.

    Returns:
        One value per row in the dtype of `input`: -inf where all elements are -inf or there is none.

    Raises:
        TypeError: a dtype does not fit, or `dim` holds what is no int.
        ValueError: there is no axis `dim`, or one is named twice.

    Examples:
        >>> import jax.numpy as jnp
        >>> logsumexp(jnp.zeros((2, 3)), dim=(0, 1))  # log 6
        Array(1.7917595, dtype=float32)
    """
    x = numbers(input=input)[0] if is_whole(input) else floating(input, "input")
    dtype, shape, keepdim = x.dtype, x.shape, flag(keepdim, "keepdim")
    x = _checks.as_float_array(x, "input").reshape(shape or (1,))
    axes = _axes(tuple(dim) if isinstance(dim, list | tuple) else (dim,), x.ndim, "an int or a tuple of ints")
    rest = [axis for axis in range(-x.ndim, 0) if axis not in axes]
    rows = jnp.transpose(x, [axis % x.ndim for axis in (*rest, *axes)])
    rows = rows.reshape(*(x.shape[axis] for axis in rest), math.prod(x.shape[axis] for axis in axes))
    out = numerics.logsumexp(rows)
    if not shape:
        out = out.reshape(())
    elif keepdim:
        out = out.reshape([1 if axis in axes else n for axis, n in zip(range(-x.ndim, 0), x.shape, strict=True)])
    return out.astype(dtype)


def _laid_out(input: ArrayLike, dim: int | None, dtype: Any) -> tuple[jax.Array, int, tuple[int, ...]]:
    """Return `input` in its dtype with at least one axis, the class axis, and the shape it came in.

    Raises:
        TypeError: `input` is an integer and no dtype is given, or `dtype` is not floating.
    """
    if dtype is not None and is_whole(input):
        x = converted(input, _floating_dtype(dtype))
    else:
        x = floating(input, "input")
        x = x if dtype is None else x.astype(_floating_dtype(dtype))
    shape = x.shape
    x = x.reshape(shape or (1,))
    legacy = 0 if len(shape) in (0, 1, 3) else 1
    return x, _axes((legacy if dim is None else dim,), x.ndim, "an int")[0], shape


def _floating_dtype(dtype: Any) -> jnp.dtype:
    """Return `dtype` as JAX's own.

    Raises:
        TypeError: it is none, or not floating.
    """
    try:
        found = jnp.dtype(dtype)
    except (TypeError, ValueError):
        found = None
    if found is None or not jnp.issubdtype(found, jnp.floating):
        raise TypeError(f"`dtype` must be a floating dtype, got {said(dtype)}.")
    return found


def _axes(dims: tuple, ndim: int, wanted: str) -> tuple[int, ...]:
    """Return the axes that `dim` names, counted from the end.

    Raises:
        TypeError: an axis is no int.
        ValueError: there is no such axis, or one is named twice.
    """
    got = dims[0] if len(dims) == 1 else dims
    if not all(isinstance(d, int | np.integer) and not isinstance(d, bool) for d in dims):
        raise TypeError(f"`dim` must be {wanted}, got {said(got)}.")
    if not all(-ndim <= d < ndim for d in dims) or len({d % ndim for d in dims}) != len(dims):
        raise ValueError(f"`dim` must name axes of `input`, which has {ndim}, each once, got {got}.")
    return tuple(int(d) % ndim - ndim for d in dims)
