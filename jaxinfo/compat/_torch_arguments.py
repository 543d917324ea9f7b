"""torch's arguments, checked under the names that torch's caller knows and laid out for jaxinfo's own functions."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxinfo import _checks
from jaxinfo._explicit import like_first


def floating(x: ArrayLike, name: str) -> jax.Array:
    """Return `x` as an array of its own floating dtype.

    Raises:
        TypeError: it is no array, or has another dtype.
    """
    _refuse_lists(x, name)
    _checks.as_float_array(x, name)
    return jnp.asarray(x)


def labels_from(target: ArrayLike) -> jax.Array:
    """Return class indices.

    Raises:
        TypeError: `target` holds no integers.
    """
    _refuse_lists(target, "target")
    return _checks.as_labels(target, "target")


def targets_from(target: ArrayLike) -> jax.Array:
    """Return class indices, or probabilities in their compute dtype.

    Raises:
        TypeError: `target` is neither.
    """
    _refuse_lists(target, "target")
    return _checks.as_targets(target, "target")


def numbers(**arguments: ArrayLike) -> tuple[jax.Array, ...]:
    """Return the named arguments in one compute dtype, that of the floating ones; integers and bools take it.

    Raises:
        TypeError: an argument is no array, or has a dtype that is no number's.
    """
    for name, x in arguments.items():
        _refuse_lists(x, name)
    known = [_checks.as_float_array(x, name) for name, x in arguments.items() if not is_whole(x)]
    dtype = _checks.widest(*known) if known else jnp.dtype(jnp.float32)
    return tuple(converted(x, dtype) for x in arguments.values())


def converted(x: ArrayLike, dtype: jnp.dtype) -> jax.Array:
    """Return `x` in `dtype`, NumPy's own numbers at once, since JAX's may not hold them."""
    return jnp.asarray(np.asarray(x) if _on_host(x) else x, dtype)


def is_whole(x: Any) -> bool:
    """Return whether `x` holds integers or bools."""
    dtype = np.asarray(x).dtype if _on_host(x) else getattr(x, "dtype", jnp.dtype(jnp.float32))
    return dtype == jnp.bool_ or jnp.issubdtype(dtype, jnp.integer)


def is_integer_scalar(x: Any) -> bool:
    """Return whether `x` is an array or NumPy scalar that holds one integer, as jit makes of an int."""
    dtype = getattr(x, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jnp.integer) and jnp.shape(x) == ()


def outcomes_from(target: ArrayLike) -> jax.Array:
    """Return binary targets: integers, for bools too, or probabilities.

    Raises:
        TypeError: `target` is neither.
    """
    is_bool = getattr(target, "dtype", None) == jnp.bool_
    return jnp.asarray(target, jnp.int32) if is_bool else targets_from(target)


def flag(value: Any, name: str) -> bool:
    """Return an option that is true or false.

    Raises:
        TypeError: it is no bool, or one that is traced.
    """
    if not isinstance(value, int | np.bool_):
        raise TypeError(f"`{name}` must be a bool, and static under jax.jit, got {said(value)}.")
    return bool(value)


def offset(eps: ArrayLike, dtype: jnp.dtype) -> ArrayLike:
    """Return `eps`, a number or a scalar array of `dtype`.

    Raises:
        TypeError: it is neither a number nor a floating array.
        ValueError: it is nan, or an array that is no scalar.
    """
    number = float(eps) if isinstance(eps, int) and not isinstance(eps, bool) else eps
    return _checks.as_option(number, "eps", dtype, low=-math.inf, wanted="a number")


def counted_rows(labels: jax.Array, ignore_index: Any) -> tuple[jax.Array, jax.Array]:
    """Return class indices that can be compared with any, and which of them are not `ignore_index`.

    Raises:
        TypeError: `ignore_index` is neither an int nor an integer scalar array.
    """
    if labels.dtype.itemsize < 4:  # torch has uint8, which cannot hold -100
        labels = labels.astype(jnp.int32)
    index = _as_index(ignore_index)
    if isinstance(index, int):
        info = jnp.iinfo(labels.dtype)
        if not info.min <= index <= info.max:
            return labels, jnp.ones(labels.shape, jnp.bool_)
        return labels, labels != index
    near = index.astype(labels.dtype)
    same = (near.astype(index.dtype) == index) & ((near < 0) == (index < 0))  # the indices can hold it
    return labels, (labels != near) | ~same


def check_probabilities(target: jax.Array, ignore_index: Any) -> None:
    """Check that targets in the shape of `input` are probabilities, and that none is to be ignored.

    Raises:
        TypeError: they are integers, or `ignore_index` is no integer.
        ValueError: an index to ignore is given.
    """
    if not jnp.issubdtype(target.dtype, jnp.floating):
        raise TypeError(
            f"`target` in the shape of `input` holds probabilities and must be floating, got {target.dtype}."
        )
    index = _as_index(ignore_index)
    if isinstance(index, int) and index >= 0:
        raise ValueError(f"`ignore_index` must stay negative where `target` holds probabilities, got {index}.")


def class_weight(weight: ArrayLike | None, classes: int, input: jax.Array, target: jax.Array) -> jax.Array | None:
    """Return `weight`, one per class; for class indices it has the dtype of `input`, as torch demands.

    Raises:
        TypeError: it is no array of numbers, or of another dtype.
        ValueError: it has another shape.
    """
    if weight is None:
        return None
    (array,) = numbers(weight=weight)
    if array.shape != (classes,):
        raise ValueError(f"`weight` must have shape ({classes},), one per class, got {array.shape}.")
    wanted, got = input.dtype, jnp.result_type(weight)
    if jnp.issubdtype(target.dtype, jnp.integer) and got != wanted:
        raise TypeError(f"`weight` must have dtype {wanted}, that of `input`, got {got}.")
    return array


def of_target(weight: jax.Array, target: jax.Array) -> jax.Array:
    """Return the weight of each row's class; any weight where there is no such class: the loss is 0 or nan there."""
    return like_first(lambda target, weight: jnp.take(weight, target, mode="clip"), target, weight)


def _as_index(ignore_index: Any) -> int | jax.Array:
    """Return `ignore_index` as an int, or as the scalar array that is not read, since it may be traced.

    Raises:
        TypeError: it is neither an int nor an integer scalar array.
    """
    if isinstance(ignore_index, jax.Array) and is_integer_scalar(ignore_index):
        return ignore_index
    if isinstance(ignore_index, bool) or not (isinstance(ignore_index, int) or is_integer_scalar(ignore_index)):
        raise TypeError(f"`ignore_index` must be an int or an integer scalar array, got {said(ignore_index)}.")
    return int(ignore_index)


def said(x: Any) -> str:
    """Return how an error says what came: of an array, dtype and shape."""
    is_array = isinstance(x, jax.Array | np.ndarray)
    return f"an array of dtype {x.dtype} and shape {x.shape}" if is_array else repr(x)


def _on_host(x: Any) -> bool:
    return isinstance(x, int | np.ndarray | np.generic)


def _refuse_lists(x: Any, name: str) -> None:
    """Check that `x` is no list or text, which neither torch nor JAX takes for an array.

    Raises:
        TypeError: it is.
    """
    if isinstance(x, list | tuple | str):
        raise TypeError(f"`{name}` must be an array, got {type(x).__name__}.")
