"""Arrays whose last axis, the classes, is cut into blocks: gone over in order, read and written a block at a time.

All blocks have one size; where the classes do not divide evenly the last, smaller block is handled apart, so that no
class is ever padded. XLA's CPU backend would turn all of a half-precision array into float32 to cut or to update it:
what keeps it from that is here.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

Carry = TypeVar("Carry")


def fold(body: Callable[[Carry, Any, int], Carry], carry: Carry, classes: int, size: int) -> Carry:
    """Fold `body(carry, start, size)` over the blocks of the classes, in order."""
    blocks, rest = divmod(classes, size)
    if blocks == 1:
        carry = body(carry, 0, size)
    elif blocks:
        carry, _ = jax.lax.scan(lambda c, i: (body(c, i * size, size), None), carry, jnp.arange(blocks))
    return body(carry, blocks * size, rest) if rest else carry


def fold_written(body: Callable[[Carry, Any, int], Carry], carry: Carry, classes: int, size: int) -> Carry:
    """Return the same for a carry whose half-precision arrays are only written, by `paste`."""

    def plain(carry: Carry) -> Carry:
        return fold(body, carry, classes, size)

    def as_bits(carry: Carry) -> Carry:
        bits = jax.tree.map(lambda a: Bits.of(a) if _is_half(a) else a, carry)
        return jax.tree.map(
            lambda a: a.array if isinstance(a, Bits) else a, plain(bits), is_leaf=lambda a: isinstance(a, Bits)
        )

    if not any(map(_is_half, jax.tree.leaves(carry))):
        return plain(carry)
    return jax.lax.platform_dependent(carry, cpu=as_bits, default=plain)


def cut(x: Any, start: Any, size: int) -> Any:
    """Return `size` classes of the last axis from `start`; all of it where it has one element, None for None."""
    if x is None or x.shape[-1] == 1 != size:
        return x
    if _is_half(x):
        # tied to the block's place, the whole array is not converted beforehand
        x, start = jax.lax.optimization_barrier((x, jnp.asarray(start)))
    return jax.lax.dynamic_slice_in_dim(x, start, size, x.ndim - 1)


def paste(whole: Any, part: Any, start: Any) -> Any:
    """Return `whole` with `part` in its place from class `start`, None for None."""
    if whole is None:
        return None
    if isinstance(whole, Bits):
        return dataclasses.replace(whole, bits=paste(whole.bits, Bits.of(part.astype(whole.dtype)).bits, start))
    return jax.lax.dynamic_update_slice_in_dim(whole, part.astype(whole.dtype), start, whole.ndim - 1)


@partial(jax.tree_util.register_dataclass, data_fields=("bits",), meta_fields=("dtype",))
@dataclasses.dataclass(frozen=True)
class Bits:
    """A half-precision array as the integers that its bits are, which XLA's CPU backend updates in place."""

    bits: jax.Array
    dtype: Any

    @classmethod
    def of(cls, a: jax.Array) -> "Bits":
        """Return the bits of an array."""
        return cls(jax.lax.bitcast_convert_type(a, jnp.uint16), a.dtype)

    @property
    def array(self) -> jax.Array:
        """The array that they are the bits of."""
        return jax.lax.bitcast_convert_type(self.bits, self.dtype)


def _is_half(a: jax.Array) -> bool:
    return a.dtype.itemsize == 2
