"""An output head and its logits, a block of classes at a time: the only place where logits are made.

A head is hidden states and the kernel that maps them to logits. Its classes are cut into blocks of one
size; where they do not divide evenly the last, smaller block is handled apart, so that no class is ever
padded.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from jaxinfo._logratio import graft
from jaxinfo._rows import centre
from jaxinfo._transform import transform

Carry = TypeVar("Carry")


class Head(NamedTuple):
    """What logits are made of; every part can be differentiated, and a part that is None is not there.

    Attributes:
        hidden: [N, D].
        kernel: [D, V], or a block of its columns.
        bias: [V], or the same block of it.
        temperature: scalar that divides the logits.
        soft_cap: scalar that bounds them.
    """

    hidden: jax.Array
    kernel: jax.Array
    bias: jax.Array | None = None
    temperature: jax.Array | None = None
    soft_cap: jax.Array | None = None

    @property
    def classes(self) -> int:
        """The number of classes, V."""
        return self.kernel.shape[1]

    def block(self, start: Any, size: int) -> "Head":
        """Return the head of `size` classes from `start`."""
        return self._replace(kernel=cut(self.kernel, start, size), bias=cut(self.bias, start, size))


def affine(head: Head, dtype: Any, products: jax.Array | None = None) -> jax.Array:
    """Return hidden @ kernel + bias [N, V] of a block in `dtype`, accumulated in it; `products` may be there already.

    What is made here is pinned (see `jaxinfo._normalise.pin`): every use sees the same values. Products that are
    there are the same for each use, and so is their sum with the bias; pinned, XLA would copy them.
    """
    x = _products(dtype, head.hidden, head.kernel) if products is None else products
    if head.bias is not None:
        x = x + jnp.expand_dims(head.bias.astype(dtype), 0)
    return jax.lax.optimization_barrier(x) if products is None else x


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _products(dtype: Any, hidden: jax.Array, kernel: jax.Array) -> jax.Array:
    """Return hidden @ kernel, to whose derivative an infinite kernel has nothing to add (see `finite`)."""
    return product(hidden, kernel, (1, 0), dtype)


@_products.defjvp
def _products_jvp(dtype: Any, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    (hidden, kernel), (t_hidden, t_kernel) = primals, tangents
    moved = product(t_hidden, finite(kernel), (1, 0), dtype) + product(hidden, t_kernel, (1, 0), dtype)
    return _products(dtype, hidden, kernel), moved


def finite(kernel: jax.Array) -> jax.Array:
    """Return it with 0 in the place of infinities: a class at -inf has slope 0, and 0 times infinity would be nan."""
    return jnp.where(jnp.isfinite(kernel), kernel, 0)


def shaped(x: jax.Array, temperature: jax.Array | None, soft_cap: jax.Array | None) -> jax.Array:
    """Return the logits after temperature and soft cap."""
    return transform(x, 1.0 if temperature is None else temperature, soft_cap)


def product(a: jax.Array, b: jax.Array, axes: tuple[int, int], dtype: Any) -> jax.Array:
    """Contract an axis of `a` with one of `b`, in the wider of their dtypes, accumulated in `dtype`."""
    wide = max((a.dtype, b.dtype), key=lambda t: jnp.finfo(t).bits)
    contract = (((axes[0],), (axes[1],)), ((), ()))
    return jax.lax.dot_general(a.astype(wide), b.astype(wide), contract, preferred_element_type=dtype)


def cut(x: Any, start: Any, size: int) -> Any:
    """Return `size` classes of the last axis from `start`; all of it where it has one element, None for None."""
    if x is None or x.shape[-1] == 1 != size:
        return x
    if x.dtype.itemsize == 2:
        # XLA's CPU backend cuts half precisions in float32: tied to the block's place, the whole array is not
        # converted beforehand.
        x, start = jax.lax.optimization_barrier((x, jnp.asarray(start)))
    return jax.lax.dynamic_slice_in_dim(x, start, size, x.ndim - 1)


def paste(whole: Any, part: Any, start: Any) -> Any:
    """Return `whole` with `part` in its place from class `start`, None for None."""
    if whole is None:
        return None
    part = part.astype(whole.dtype)
    if whole.dtype.itemsize != 2:
        return _written(whole, part, start)
    return jax.lax.platform_dependent(whole, part, jnp.asarray(start), cpu=_written_as_bits, default=_written)


def _written(whole: jax.Array, part: jax.Array, start: Any) -> jax.Array:
    return jax.lax.dynamic_update_slice_in_dim(whole, part, start, whole.ndim - 1)


def _written_as_bits(whole: jax.Array, part: jax.Array, start: Any) -> jax.Array:
    """XLA's CPU backend would convert the whole of a half-precision array to float32 and back to update it."""
    bits, part_bits = (jax.lax.bitcast_convert_type(a, jnp.uint16) for a in (whole, part))
    return jax.lax.bitcast_convert_type(_written(bits, part_bits, start), whole.dtype)


def fold(body: Callable[[Carry, Any, int], Carry], carry: Carry, classes: int, size: int) -> Carry:
    """Fold `body(carry, start, size)` over the blocks of the classes, in order."""
    blocks, rest = divmod(classes, size)
    if blocks == 1:
        carry = body(carry, 0, size)
    elif blocks:
        carry, _ = jax.lax.scan(lambda c, i: (body(c, i * size, size), None), carry, jnp.arange(blocks))
    return body(carry, blocks * size, rest) if rest else carry


def below(x: jax.Array, top: jax.Array) -> jax.Array:
    """Return x - top of the block `x` [N, B] for tops [N] held constant, right at infinities, with derivative 1."""
    return graft(jax.lax.stop_gradient(centre(x, jnp.expand_dims(top, 1))), x)


def put(x: jax.Array, at: jax.Array, value: jax.Array | float) -> jax.Array:
    """Return `x` [N, B] with `value` at column `at` of each row; a column outside [0, B) is not there.

    On the CPU a selection keeps XLA from its vectorised kernels, and a scatter does not.
    """
    values = jnp.broadcast_to(jnp.asarray(value, x.dtype), at.shape)

    def scatter(x: jax.Array, at: jax.Array, values: jax.Array) -> jax.Array:
        beyond = jnp.where(within(at, x.shape[1]), at, x.shape[1])
        rows = jnp.arange(x.shape[0], dtype=at.dtype)
        return x.at[rows, beyond].set(values, mode="drop", unique_indices=True)

    def select(x: jax.Array, at: jax.Array, values: jax.Array) -> jax.Array:
        return jnp.where(is_at(x, at), jnp.expand_dims(values, 1), x)

    return jax.lax.platform_dependent(x, at, values, cpu=scatter, default=select)


def take(x: jax.Array, at: jax.Array) -> jax.Array:
    """Return the element of each row of `x` [N, B] at column `at`, and 0 where there is no such column."""
    here = within(at, x.shape[1])
    picked = jnp.take_along_axis(x, jnp.expand_dims(jnp.where(here, at, 0), 1), axis=1)[:, 0]
    return jnp.where(here, picked, 0)


def within(at: jax.Array, size: int) -> jax.Array:
    """Return which of the columns `at` are in [0, size)."""
    return (at >= 0) & (at < size)


def is_at(x: jax.Array, at: jax.Array) -> jax.Array:
    """Return where in `x` [N, B] the column is `at`."""
    return jax.lax.broadcasted_iota(at.dtype, x.shape, 1) == jnp.expand_dims(at, 1)


class Included(NamedTuple):
    """Which classes of which rows are included.

    Attributes:
        classes: [M, V] for M distinct rows, or a block of its columns.
        row: [N], which of them each row has; None where M is 1 or N.
    """

    classes: jax.Array
    row: jax.Array | None

    def block(self, start: Any, size: int) -> "Included":
        """Return the same for `size` classes from `start`."""
        return self._replace(classes=cut(self.classes, start, size))

    def of(self, x: jax.Array) -> jax.Array:
        """Return it for each element of the block `x`."""
        return jnp.broadcast_to(self.classes if self.row is None else self.classes[self.row], x.shape)


def least(dtype: Any) -> float:
    """Return the lowest finite float: as a maximum of nothing it keeps -inf - (-inf), a nan, from coming up."""
    return float(jnp.finfo(dtype).min)


def meet(*trees: Any) -> tuple[Any, ...]:
    """Return the arrays as varying over every mesh axis that one of them varies over, inside `shard_map`.

    A kernel that is the same on all shards of the data meets hidden states that are not. The derivative of
    being made to vary is a sum over the shards, so each gets the gradient of all.
    """
    axes = frozenset().union(*map(_varying, jax.tree.leaves(trees)))

    def vary(a: jax.Array) -> jax.Array:
        missing = tuple(sorted(axes - _varying(a), key=str))
        return jax.lax.pcast(a, missing, to="varying") if missing else a

    return jax.tree.map(vary, trees)


def _varying(a: jax.Array) -> frozenset:
    """Return the mesh axes that an array varies over, as its type says; jax has named this in two ways."""
    kind = jax.typeof(a)
    return kind.vma if hasattr(kind, "vma") else kind.manual_axis_type.varying


def like(value: float, reference: jax.Array, shape: tuple[int, ...] | None = None, dtype: Any = None) -> jax.Array:
    """Return an array full of `value`, which varies over the mesh axes that `reference` varies over."""
    shape = reference.shape if shape is None else shape
    return meet(jnp.full(shape, value, dtype or reference.dtype), reference)[0]
