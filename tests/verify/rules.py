"""Functions with a reverse rule of the test's own, and a point to ask them at."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

X = jnp.asarray([0.5, -1.25, 2.0, 0.75], jnp.float32)


def with_rule(value: Callable[..., Any], rule: Callable[..., Any]) -> Callable[..., Any]:
    """Return `value` with `rule(cotangent, x)` as its reverse rule."""
    wrapped = jax.custom_vjp(lambda x: value(x))
    wrapped.defvjp(lambda x: (value(x), x), lambda x, c: (rule(c, x),))
    return wrapped
