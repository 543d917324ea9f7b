"""Checks of shapes, dtypes and options, made at trace time.

Every error a user can meet is raised here: one sentence with the argument in backticks, what was wanted
and what came. Array *values* are never read, so each check works on tracers, and an option given as a
traced array (a learned temperature) is not read either. The errors are plain raises: chex's assertions
can be switched off by their users, and an error about user input must not be.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike


def as_float_array(x: ArrayLike, name: str) -> jax.Array:
    """Return `x` as an array in its compute dtype: half precisions are computed in float32.

    Raises:
        TypeError: `x` is not an array of a floating dtype.
    """
    array = as_array(x, name)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"`{name}` must have a floating dtype, got {array.dtype}.")
    return array.astype(jnp.float32) if jnp.finfo(array.dtype).bits < 32 else array


def as_labels(labels: ArrayLike, name: str = "labels") -> jax.Array:
    """Return `labels` as an integer array.

    Raises:
        TypeError: `labels` does not have an integer dtype.
    """
    array = as_array(labels, name)
    if not jnp.issubdtype(array.dtype, jnp.integer):
        raise TypeError(f"`{name}` must have an integer dtype, got {array.dtype}.")
    return array


def as_counts(x: ArrayLike, name: str) -> jax.Array:
    """Return `x` as an array of integers or floating values that count.

    Raises:
        TypeError: it has another dtype.
    """
    array = as_array(x, name)
    if not (jnp.issubdtype(array.dtype, jnp.integer) or jnp.issubdtype(array.dtype, jnp.floating)):
        raise TypeError(f"`{name}` must be counts, of an integer or a floating dtype, got {array.dtype}.")
    return array


def as_targets(targets: ArrayLike, name: str = "targets") -> jax.Array:
    """Return `targets` as an array: integers are class indices, floating values a distribution.

    Raises:
        TypeError: `targets` has neither an integer nor a floating dtype.
    """
    array = as_array(targets, name)
    if jnp.issubdtype(array.dtype, jnp.integer):
        return array
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(
            f"`{name}` must have an integer dtype (class indices) or a floating one (a distribution), "
            f"got {array.dtype}."
        )
    return as_float_array(array, name)


def canonical_axis(axis: int, ndim: int, name: str = "logits") -> int:
    """Return `axis` counted from the end, so that leading batch axes never move it.

    Raises:
        TypeError: `axis` is not an integer.
        ValueError: there is no such axis.
    """
    if isinstance(axis, bool) or not isinstance(axis, int | np.integer):
        raise TypeError(f"`axis` must be an int, got {axis!r}.")
    if not -ndim <= axis < ndim:
        raise ValueError(f"`axis` must name one of the {ndim} axes of `{name}`, got {axis}.")
    return int(axis) % ndim - ndim


def canonical_axes(axis: int | Sequence[int] | None, ndim: int, name: str = "losses") -> tuple[int, ...]:
    """Return the axes to reduce, all of them for None.

    Raises:
        TypeError: an axis is not an integer.
        ValueError: there is no such axis, or one is named twice.
    """
    if axis is None:
        return tuple(range(-ndim, 0))
    axes = tuple(canonical_axis(a, ndim, name) for a in (axis if isinstance(axis, Sequence) else (axis,)))
    if len(set(axes)) != len(axes):
        raise ValueError(f"`axis` must not name an axis twice, got {axis}.")
    return axes


def check_axis_name(axis_name: object) -> None:
    """Check that `axis_name` names an axis of a mesh, or several; that there is such an axis is JAX's to say.

    Raises:
        TypeError: it names none.
    """
    names = axis_name if isinstance(axis_name, tuple) else (axis_name,)
    if axis_name is not None and not all(isinstance(name, str) for name in names):
        raise TypeError(f"`axis_name` must be a str or a tuple of them, got {axis_name!r}.")


def batch_shape(shape: Sequence[int], axis: int) -> tuple[int, ...]:
    """Return `shape` without its class axis, which is counted from the end."""
    return tuple(shape[:axis]) + tuple(shape[len(shape) + axis + 1 :])


def check_labels_shape(labels: jax.Array, shape: Sequence[int], axis: int, *, name: str, of: str) -> None:
    """Check that `labels` has exactly the batch shape: broadcasting a batch is an error.

    Raises:
        ValueError: the shapes differ.
    """
    wanted = batch_shape(shape, axis)
    if labels.shape != wanted:
        raise ValueError(f"`{name}` must have shape {wanted}, the batch shape of `{of}`, got {labels.shape}.")


def check_same_shape(x: jax.Array, shape: Sequence[int], *, name: str, of: str) -> None:
    """Check that `x` has exactly `shape`.

    Raises:
        ValueError: the shapes differ.
    """
    if x.shape != tuple(shape):
        raise ValueError(f"`{name}` must have shape {tuple(shape)}, that of `{of}`, got {x.shape}.")


def as_where(where: ArrayLike | None, shape: Sequence[int], *, of: str = "logits") -> jax.Array | None:
    """Return `where` as a boolean array with as many axes as `shape`, each of size 1 or of that size.

    Raises:
        TypeError: `where` is not boolean.
        ValueError: `where` does not broadcast to `shape`.
    """
    if where is None:
        return None
    array = as_array(where, "where")
    if array.dtype != jnp.bool_:
        raise TypeError(f"`where` must have dtype bool, got {array.dtype}.")
    fits = array.ndim <= len(shape) and all(
        n in (1, m) for n, m in zip(array.shape[::-1], tuple(shape)[::-1], strict=False)
    )
    if not fits:
        raise ValueError(f"`where` must broadcast to {tuple(shape)}, the shape of `{of}`, got {array.shape}.")
    return array.reshape((1,) * (len(shape) - array.ndim) + array.shape)


def widest(*arrays: jax.Array) -> jnp.dtype:
    """Return the widest dtype among floating `arrays`; a weak type, which is a Python number's, yields to others."""
    strong = [a for a in arrays if not getattr(a, "weak_type", False)]
    return max((a.dtype for a in strong or arrays), key=lambda dtype: jnp.finfo(dtype).bits)


def promote(*arrays: jax.Array) -> tuple[jax.Array, ...]:
    """Return floating `arrays` in the widest dtype among them, explicitly: strict promotion allows no other way."""
    dtype = widest(*arrays)
    return tuple(a.astype(dtype) for a in arrays)


def check_number(value: object, name: str, *, low: float = -math.inf, high: float = math.inf, wanted: str) -> None:
    """Check a Python number against [low, high]; a traced or concrete array is not read.

    Raises:
        TypeError: `value` is neither a number nor an array.
        ValueError: the number is out of range, or nan.
    """
    if isinstance(value, jax.Array | np.ndarray):
        return
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise TypeError(f"`{name}` must be {wanted}, got {value!r}.")
    if not low <= float(value) <= high:
        raise ValueError(f"`{name}` must be {wanted}, got {value!r}.")


def check_integer(value: object, name: str, *, low: int) -> None:
    """Check an option that counts; a float that is an integer is one.

    Raises:
        TypeError: `value` is no number.
        ValueError: it is out of range, or no integer.
    """
    wanted = f"an integer of at least {low}"
    check_number(value, name, low=low, wanted=wanted)
    if float(value) % 1:  # type: ignore[arg-type]  # nan for infinity, which is none either
        raise ValueError(f"`{name}` must be {wanted}, got {value!r}.")


def as_option(
    value: ArrayLike, name: str, dtype: jnp.dtype, *, low: float, wanted: str, high: float = math.inf
) -> ArrayLike:
    """Return a scalar option: a Python number checked against [low, high], or a scalar array in `dtype`.

    Raises:
        TypeError: `value` is neither a number nor a floating array.
        ValueError: the number is out of range, or the array not a scalar.
    """
    check_number(value, name, low=low, high=high, wanted=wanted)
    if not isinstance(value, jax.Array | np.ndarray):
        return float(value) if isinstance(value, np.number) else value  # type: ignore[arg-type]
    array = as_array(value, name)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(f"`{name}` must be a number or a floating scalar array, got dtype {array.dtype}.")
    if array.shape != ():
        raise ValueError(f"`{name}` must be a number or a scalar array, got shape {array.shape}.")
    return array.astype(dtype)


def as_class_weights(weights: ArrayLike | None, shape: Sequence[int], axis: int) -> jax.Array | None:
    """Return `weights` laid along the class axis of `shape`, every other axis of size 1.

    Raises:
        TypeError: `weights` is not floating.
        ValueError: `weights` is not one number per class.
    """
    if weights is None:
        return None
    array = as_float_array(weights, "class_weights")
    if array.shape != (shape[axis],):
        raise ValueError(f"`class_weights` must have shape ({shape[axis]},), one per class, got {array.shape}.")
    return array.reshape(tuple(n if i == axis else 1 for i, n in enumerate(shape, -len(shape))))


def as_array(x: ArrayLike, name: str) -> jax.Array:
    """Return `x` as an array; None, strings and ragged lists are named in one sentence.

    Integers that JAX's own dtype cannot hold become the nearest that it can, which is no class either: JAX would
    take them modulo 2**32.

    Raises:
        TypeError: `x` cannot be made an array.
    """
    try:
        if isinstance(x, int | np.ndarray | np.generic) and np.issubdtype((host := np.asarray(x)).dtype, np.integer):
            dtype = jax.dtypes.canonicalize_dtype(host.dtype)
            if dtype != host.dtype:
                bounds = np.iinfo(dtype)
                return jnp.asarray(np.clip(host, bounds.min, bounds.max).astype(dtype))
        return jnp.asarray(x)
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(f"`{name}` must be an array, got {type(x).__name__}.") from error
