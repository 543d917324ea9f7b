"""Long formulas that a program calls again and again, traced once for each shape and dtype."""

from collections.abc import Callable
from typing import Any

import jax


def traced_once(*static: str) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator that keeps what JAX makes of a function, and of its derivatives, for the next call.

    A derivative of a derivative calls the same formulas many times over, and tracing them in Python takes longer
    than XLA does. The program is the same, operation for operation: the calls are inlined.

    Args:
        *static: names of the arguments that are no arrays.
    """
    return lambda function: jax.jit(function, static_argnames=static, inline=True)
