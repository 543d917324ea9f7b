"""Products of matrices that are accumulated in the compute dtype, and which dtype their operands have.

Half precisions are multiplied as they are where that is what the processor is made for. Some CPUs multiply bfloat16
faster than float32 (AMX, AMD's AVX-512); on the others a product of half precisions is one of float32 and slower than
one of float32 numbers that are there. Those are made of a block at a time, and are exact.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxinfo._processor import multiplies_bfloat16


def product(a: jax.Array, b: jax.Array, axes: tuple[int, int], dtype: Any, operands: Any = None) -> jax.Array:
    """Contract an axis of `a` with one of `b`, both in the dtype `operands`, accumulated in `dtype`.

    The operands' is the wider of theirs unless given; a CPU that is not made for it takes them in `dtype`.

    Returns:
        The product in `dtype`.
    """
    operands = wider(a, b) if operands is None else operands

    def taken_in(kind: Any) -> Any:
        return lambda a, b: whole_product(a.astype(kind), b.astype(kind), axes, dtype)

    if not widened(operands):
        return taken_in(operands)(a, b)
    return jax.lax.platform_dependent(a, b, cpu=taken_in(dtype), default=taken_in(operands))


def whole_product(a: jax.Array, b: jax.Array, axes: tuple[int, int], dtype: Any) -> jax.Array:
    """Return the same of operands as they are, of which no wider copy is made: they may be large."""
    wide = wider(a, b)
    contract = (((axes[0],), (axes[1],)), ((), ()))
    return jax.lax.dot_general(a.astype(wide), b.astype(wide), contract, preferred_element_type=dtype)


def wider(a: jax.Array, b: jax.Array) -> Any:
    """Return the wider of their dtypes."""
    return max((a.dtype, b.dtype), key=lambda t: jnp.finfo(t).bits)


def widened(dtype: Any) -> bool:
    """Return whether this machine's CPU multiplies matrices of `dtype` as float32."""
    return jnp.finfo(dtype).bits == 16 and not (dtype == jnp.bfloat16 and multiplies_bfloat16())


def finite(kernel: jax.Array) -> jax.Array:
    """Return it with 0 in the place of infinities: a class at -inf has slope 0, and 0 times infinity would be nan."""
    return jnp.where(jnp.isfinite(kernel), kernel, 0)
