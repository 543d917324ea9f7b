"""Checks of what the entrances are given: one sentence with the argument, what was wanted and what came."""

import operator
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

MODES = ("forward", "reverse")


def check_function(f: Any, name: str = "f") -> None:
    """Refuse what cannot be called.

    Raises:
        TypeError: `f` is no function.
    """
    if not callable(f):
        raise TypeError(f"`{name}` must be a function, got {type(f).__name__}.")


def check_options(order: Any, modes: Any, directions: Any, dtypes: Any, seed: Any, budget: Any) -> None:
    """Refuse options of `check_gradients` that it cannot follow.

    Raises:
        TypeError: `dtypes` are no floating dtypes.
        ValueError: another one is not what it must be.
    """
    if as_integer(order) not in (1, 2):
        raise ValueError(f"`order` must be 1 or 2, got {order!r}.")
    check_modes(modes, MODES)
    if (as_integer(directions) or 0) < 1:
        raise ValueError(f"`directions` must be an integer of at least 1, got {directions!r}.")
    if dtypes is not None and not (_is_sequence(dtypes) and len(dtypes) and all(map(_is_floating, dtypes))):
        raise TypeError(f"`dtypes` must be a sequence of floating dtypes, at least one, got {dtypes!r}.")
    check_count("seed", seed)
    if budget is not None and not (_is_number(budget) and budget > 0):
        raise ValueError(f"`budget_seconds` must be a positive number or None, got {budget!r}.")


def check_modes(modes: Any, known: Sequence[str]) -> None:
    """Refuse modes that are not among the known ones.

    Raises:
        ValueError: there is another one, or none.
    """
    if not _is_sequence(modes) or not len(modes) or not all(isinstance(m, str) and m in known for m in modes):
        raise ValueError(f"`modes` must be some of {tuple(known)}, got {modes!r}.")


def check_count(name: str, value: Any) -> None:
    """Refuse what is no integer from 0 on.

    Raises:
        ValueError: `value` is not.
    """
    number = as_integer(value)
    if number is None or number < 0:
        raise ValueError(f"`{name}` must be a non-negative integer, got {value!r}.")


def check_declared(shape: Any, dtype: Any) -> None:
    """Refuse a declared shape or dtype that no loss can have.

    Raises:
        TypeError: `dtype` names none.
        ValueError: `shape` is no sequence of sizes.
    """
    if shape is not None and not (_is_sequence(shape) and all(map(_is_size, shape))):
        raise ValueError(f"`shape` must be a sequence of sizes or None, got {shape!r}.")
    if dtype is not None and _dtype(dtype) is None:
        raise TypeError(f"`dtype` must be a dtype or None, got {dtype!r}.")


def check_probed(arrays: Sequence[Any], outputs: Sequence[Any]) -> None:
    """Refuse arguments of a hunt that hold nothing to vary, and a function that returns nothing to look at.

    Raises:
        ValueError: no array is of a real floating dtype, of `args` or of what `f` returns.
    """
    if not any(jnp.issubdtype(x.dtype, jnp.floating) for x in arrays):
        kinds = ", ".join(sorted({str(x.dtype) for x in arrays})) or "none"
        raise ValueError(f"`args` must hold an array of a real floating dtype, got arrays of these dtypes: {kinds}.")
    if not outputs:
        raise ValueError("`f` must return an array of a real floating dtype, got none.")


def as_integer(value: Any) -> int | None:
    """Return an integer of Python or NumPy as one of Python, None for anything else."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        return None
    return operator.index(value)


def _is_size(value: Any) -> bool:
    number = as_integer(value)
    return number is not None and number >= 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence | set | frozenset) and not isinstance(value, str | bytes)


def _dtype(value: Any) -> np.dtype | None:
    try:
        return None if value is None else jnp.dtype(value)
    except TypeError:
        return None


def _is_floating(value: Any) -> bool:
    dtype = _dtype(value)
    return dtype is not None and jnp.issubdtype(dtype, jnp.floating)
