"""Which way a loss is computed, and in blocks of which size."""

from typing import NamedTuple

import jax.numpy as jnp

from jaxinfo.linear._arguments import Problem
from jaxinfo.linear._products import widened, wider
from jaxinfo.linear._rows import Inputs

_ROOM, _MOST = 64 * 2**20, 256 * 2**20  # bytes that "auto" lets the strategy by tokens take beside the gradients
_SHARE = {False: 0.1, True: 0.2}  # of what dense takes, the most that it may; more with half precisions
_LOGITS = 2**23  # in a block, where that leaves enough classes; a few tens of MiB, what a cache holds
_FEW, _MANY = 256, 512  # tokens in a block
_WIDEST = 1280  # classes in a block: where more than that, the TPU's compiler copies the kernel's gradient


class Way(NamedTuple):
    """A strategy, "vocabulary" or "token", which may be another on a CPU, with classes and tokens in a block."""

    kind: str
    size: int
    tokens: int = 0
    on_cpu: str = "vocabulary"


def choose(
    strategy: str,
    size: int | None,
    inputs: Inputs,
    problem: Problem,
    *,
    reduction: str,
    differentiation: str,
) -> Way:
    """Return the way for a strategy that may be "auto".

    Raises:
        ValueError: the strategy by tokens is asked for where it cannot be.
    """
    tokens, (features, classes) = inputs.head.hidden.shape[0], inputs.head.kernel.shape
    wide = jnp.finfo(problem.dtype).bits // 8
    possible = reduction != "none" and differentiation == "reverse" and problem.axis_name is None
    if strategy == "token" and not possible:
        raise ValueError(
            'strategy="token" must come with `reduction` "sum" or "mean", differentiation="reverse" and no '
            f"`axis_name`, got {reduction!r}, {differentiation!r} and {problem.axis_name!r}."
        )
    narrow = inputs.head.kernel.dtype != problem.dtype
    share = _SHARE[narrow] * 2 * tokens * classes * wide  # dense holds the logits and their gradient
    even = (n for n in range(_WIDEST, _WIDEST // 2, -128) if classes % n == 0)
    width = min(size or next(even, _WIDEST), max(classes, 1))
    # besides the logits: a block's slope, kernel and gradient, and the kernel's gradient in the compute dtype
    beside = (2 * features * width + (features * classes if narrow else 0)) * wide

    def rows_within(room: float) -> int:
        return int(max(min(room, _MOST) - beside, 0) // ((classes + width) * wide or 1))

    rows = min(rows_within(share) // 8 * 8, _MANY)
    if rows < _FEW:
        rows = _FEW
        # fewer tokens whose logits outgrow the cache are slower than making each block of logits twice
        possible = possible and rows_within(max(_ROOM, share)) >= rows and rows * classes <= _LOGITS
    kind = "token" if strategy == "token" or (strategy == "auto" and possible and tokens > rows) else "vocabulary"
    if kind == "vocabulary":
        return Way(kind, block_of(size, inputs))
    # to widen the kernel for each block of tokens takes the time that three products in place of four save
    wide_copies = strategy == "auto" and widened(wider(*inputs.head[:2]))
    return Way(kind, width, evenly(tokens, rows), "vocabulary" if wide_copies else kind)


def evenly(tokens: int, most: int) -> int:
    """Return the tokens in each of as few blocks as there must be of `most`: a multiple of 8 where they are several."""
    blocks = max(-(-tokens // most), 1)
    return max(tokens, 1) if blocks == 1 else min(-(-tokens // blocks // 8) * 8, tokens)


def block_of(size: int | None, inputs: Inputs) -> int:
    """Return the classes in a block: `size`, or 256 to 1024, fewer where there are very many tokens.

    Chosen by compiling at several V: a multiple of 128, and `_WIDEST` or fewer, keeps the TPU's compiler from
    copying the kernel's gradient. By tokens, whose blocks are low, those are preferred that divide the classes.
    """
    tokens = max(inputs.head.hidden.shape[0], 1)
    usual = 128 * min(max(_LOGITS // tokens // 128, 2), 8)
    return min(size or usual, max(inputs.head.classes, 1))
