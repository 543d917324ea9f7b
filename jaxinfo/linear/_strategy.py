"""Which way a loss is computed, and in blocks of which size."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxinfo.linear._rows import Inputs

_ROOM = 64 * 2**20  # bytes that "auto" lets the strategy by tokens take beside the gradients
_TOKENS = 256  # tokens in a block


class Way(NamedTuple):
    """A strategy, "vocabulary" or "token", with classes and tokens in a block."""

    kind: str
    size: int
    tokens: int = 0


def choose(
    strategy: str,
    size: int | None,
    inputs: Inputs,
    *,
    dtype: Any,
    reduction: str,
    differentiation: str,
    axis_name: Any,
) -> Way:
    """Return the way for a strategy that may be "auto".

    Raises:
        ValueError: the strategy by tokens is asked for where it cannot be.
    """
    tokens, (features, classes) = inputs.head.hidden.shape[0], inputs.head.kernel.shape
    wide = jnp.finfo(dtype).bits // 8
    columns = block_of(size, inputs)
    possible = reduction != "none" and differentiation == "reverse" and axis_name is None
    if strategy == "token" and not possible:
        raise ValueError(
            'strategy="token" must come with `reduction` "sum" or "mean", differentiation="reverse" and no '
            f"`axis_name`, got {reduction!r}, {differentiation!r} and {axis_name!r}."
        )
    rows = min(max(tokens, 1), _TOKENS)
    extra = rows * classes * wide
    if inputs.head.kernel.dtype != dtype:
        extra += features * classes * wide
    dense = tokens * classes * wide
    lean = tokens > rows and extra <= max(_ROOM, dense // 10) and extra <= 4 * _ROOM
    kind = "token" if strategy == "token" or (strategy == "auto" and possible and lean) else "vocabulary"
    return Way(kind, columns, rows)


def block_of(size: int | None, inputs: Inputs) -> int:
    """Return the classes in a block: `size`, or a multiple of 128 that keeps a block of logits small."""
    return min(size or 1024, max(inputs.head.classes, 1))
