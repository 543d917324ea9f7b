"""Floating dtypes and the settings under which the oracle runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp


@contextmanager
def float64() -> Iterator[None]:
    """Trace and run in float64, whatever the caller's settings; they are as before afterwards.

    Constants in the caller's code may be float32, so dtypes promote; and a step that leaves the domain gives a nan
    that is nobody's fault.
    """
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"), as_called():
        yield


@contextmanager
def as_called() -> Iterator[None]:
    """Run in the caller's settings, except that a nan raises nothing and matrices are multiplied in full precision."""
    with jax.debug_nans(False), jax.debug_infs(False), jax.default_matmul_precision("highest"):
        yield


def is_float(dtype: Any) -> bool:
    """Whether `dtype` is a real floating dtype."""
    return jnp.issubdtype(dtype, jnp.floating)


def is_complex(dtype: Any) -> bool:
    """Whether `dtype` is a complex dtype."""
    return jnp.issubdtype(dtype, jnp.complexfloating)


def bits(dtype: Any) -> int:
    """Return the width of a floating dtype, of a complex one that of its parts."""
    return int(jnp.finfo(dtype).bits)


def eps(dtype: Any) -> float:
    """Return the distance from 1 to the next number of a floating dtype."""
    return float(jnp.finfo(dtype).eps)
