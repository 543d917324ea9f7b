"""What a fit is given, checked before the work: one sentence names what is wrong."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer

from jaxinfo import _checks
from jaxinfo.fitting._objective import Loss, Penalty

MOST_STEPS = 10_000_000  # what is told of every step is kept: 24 bytes each, in float64


def as_key(key: Any) -> jax.Array:
    """Return a random key, one of the old style too; a fixed one if none is given.

    Raises:
        TypeError: it is no random key.
    """
    if key is None:
        return jax.random.key(0)
    dtype = getattr(key, "dtype", None)
    if dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key) and jnp.ndim(key) == 0:
        return key
    if dtype == jnp.uint32 and jnp.shape(key) == jax.random.key_data(jax.random.key(0)).shape:
        return jax.random.wrap_key_data(jnp.asarray(key))
    got = type(key).__name__ if dtype is None else f"dtype {dtype}, shape {jnp.shape(key)}"
    raise TypeError(f"`key` must be one random key, such as jax.random.key(0), got {got}.")


def check_loss(loss: Loss, params: Any, data: Any) -> jax.ShapeDtypeStruct:
    """Return shape and dtype of what `loss` returns.

    Raises:
        TypeError: `loss` cannot be called, or returns no floating array.
    """
    if not callable(loss):
        raise TypeError(f"`loss` must be a function (params, data) -> NLL of every example, got {_kind(loss)}.")
    losses = jax.eval_shape(loss, params, data)
    if not isinstance(losses, jax.ShapeDtypeStruct):
        raise TypeError(f"`loss` must return one array, the NLL of every example, got {type(losses).__name__}.")
    if not jnp.issubdtype(losses.dtype, jnp.floating):
        raise TypeError(f"`loss` must return a floating dtype, the NLL of every example, got {losses.dtype}.")
    return losses


def check_weights(weights: jax.Array) -> None:
    """Check that every weight is finite and none negative, as far as values are known.

    Raises:
        TypeError: they are complex.
        ValueError: one is negative, infinite or nan.
    """
    if jnp.iscomplexobj(weights):
        raise TypeError(f"`weights` must be real numbers, got dtype {weights.dtype}.")
    if weights.dtype == bool or isinstance(weights, Tracer):
        return
    bad = ~((weights >= 0) & jnp.isfinite(weights)).ravel()
    if bool(jnp.any(bad)):
        first = int(jnp.argmax(bad))
        raise ValueError(
            f"`weights` must be finite and not negative, got {weights.ravel()[first]} for example {first}."
        )


def check_validation(loss: Loss, params: Any, validation: Any) -> None:
    """Check that `loss` takes the validation data.

    Raises:
        ValueError: it does not.
    """
    try:
        jax.eval_shape(loss, params, validation)
    except (TypeError, ValueError, IndexError, KeyError, AttributeError) as error:
        why = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}" if str(error) else type(error).__name__
        raise ValueError(f"`validation` must be like `data`, which `loss` takes, got {why}") from error


def check_penalty(penalty: Penalty | None, params: Any) -> None:
    """Check that `penalty` is a function of the parameters that returns one number.

    Raises:
        TypeError: it cannot be called, or returns no floating number.
        ValueError: it returns several.
    """
    if penalty is None:
        return
    if not callable(penalty):
        raise TypeError(f"`penalty` must be a function params -> a number of nats, got {_kind(penalty)}.")
    value = jax.eval_shape(penalty, params)
    if not isinstance(value, jax.ShapeDtypeStruct) or not jnp.issubdtype(value.dtype, jnp.number):
        got = getattr(value, "dtype", type(value).__name__)
        raise TypeError(f"`penalty` must return a number of nats, got {got}.")
    if value.shape != ():
        raise ValueError(f"`penalty` must return one number of nats, got shape {value.shape}.")


def check_optimizer(optimizer: Any) -> None:
    """Check that `optimizer` is one of optax's.

    Raises:
        TypeError: it is not.
    """
    if optimizer is not None and not isinstance(optimizer, optax.GradientTransformation):
        raise TypeError(f"`optimizer` must be one of optax's, such as optax.adam(1e-2), got {_kind(optimizer)}.")


def check_max_steps(max_steps: Any) -> int:
    """Return `max_steps` as an integer.

    Raises:
        TypeError: it is no number.
        ValueError: it is no integer, or out of range.
    """
    _checks.check_integer(max_steps, "max_steps", low=0)
    if max_steps > MOST_STEPS:
        raise ValueError(f"`max_steps` must be at most {MOST_STEPS:,}, of which each is kept, got {max_steps:,}.")
    return int(max_steps)


def _kind(x: Any) -> str:
    return repr(x) if isinstance(x, str | int | float | None) else getattr(x, "__name__", type(x).__name__)
