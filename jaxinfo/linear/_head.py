"""An output head and its logits, a block of classes at a time: the only place where logits are made.

A head is hidden states and the kernel that maps them to logits.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxinfo._logratio import graft
from jaxinfo._rows import centre
from jaxinfo._transform import transform
from jaxinfo.linear._blocks import cut
from jaxinfo.linear._products import finite, product


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
    x = _unbiased(dtype, head.hidden, head.kernel) if products is None else products
    if head.bias is not None:
        x = x + jnp.expand_dims(head.bias.astype(dtype), 0)
    return jax.lax.optimization_barrier(x) if products is None else x


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _unbiased(dtype: Any, hidden: jax.Array, kernel: jax.Array) -> jax.Array:
    """Return hidden @ kernel, to whose derivative an infinite kernel has nothing to add (see `finite`)."""
    return product(hidden, kernel, (1, 0), dtype)


@_unbiased.defjvp
def _unbiased_jvp(dtype: Any, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    (hidden, kernel), (t_hidden, t_kernel) = primals, tangents
    moved = product(t_hidden, finite(kernel), (1, 0), dtype) + product(hidden, t_kernel, (1, 0), dtype)
    return _unbiased(dtype, hidden, kernel), moved


def shaped(x: jax.Array, temperature: jax.Array | None, soft_cap: jax.Array | None) -> jax.Array:
    """Return the logits after temperature and soft cap."""
    return transform(x, 1.0 if temperature is None else temperature, soft_cap)


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
