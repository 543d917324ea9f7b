"""The class axis: sums, maxima and picks along it, on one device or sharded over a mesh axis."""

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from jaxinfo._exact import sum_by_product


@dataclass(frozen=True)
class Classes:
    """Where the classes lie.

    Attributes:
        axis: the array axis, counted from the end so that leading batch axes never move it.
        mesh_axis: inside `shard_map`, the mesh axis (or axes) the classes are sharded over: every method
            then speaks of all classes, and its result is the same on each shard.
        narrow: the half precision whose values the logits still are, None if they have digits of their own.
    """

    axis: int
    mesh_axis: Any = None
    narrow: Any = None

    def sum(self, x: jax.Array) -> jax.Array:
        """Sum over all classes, the axis kept."""
        local = jnp.sum(x, axis=self.axis, keepdims=True)
        return local if self.mesh_axis is None else jax.lax.psum(local, self.mesh_axis)

    def sum_apart(self, x: jax.Array) -> jax.Array:
        """Return `sum`, on CPUs as a product with ones: for a sum that is taken from each of its terms again.

        XLA's CPU backend (jaxlib 0.10.2) makes one kernel of a plain sum and such a use of it. That kernel is 2 to 8
        times slower than the two, and wrong from the first digit where a factor of float32 has an axis less, as
        under vmap of a tangent alone.
        """
        if self.mesh_axis is not None:
            return self.sum(x)
        return jax.lax.platform_dependent(x, cpu=partial(sum_by_product, axis=self.axis), default=self.sum)

    def max(self, x: jax.Array, least: float = -math.inf) -> jax.Array:
        """Largest over all classes and `least`, the axis kept."""
        local = jnp.max(x, axis=self.axis, keepdims=True, initial=least)
        return local if self.mesh_axis is None else jax.lax.pmax(local, self.mesh_axis)

    def narrowed(self, x: jax.Array) -> jax.Array:
        """Return logits in the half precision that they come from, if they do: nothing is rounded.

        For the forms of CPUs, where a maximum takes a third of the time and what is written out half the memory. XLA
        (jaxlib 0.10) knows the conversion there and back as none only behind the barrier, and before it rounds each.
        """
        return x if self.narrow is None else jax.lax.optimization_barrier(x.astype(self.narrow))

    def widened(self) -> "Classes":
        """Return the classes of logits that have digits of their own."""
        return replace(self, narrow=None)

    def any(self, x: jax.Array) -> jax.Array:
        """Whether any class has it, the axis kept."""
        local = jnp.any(x, axis=self.axis, keepdims=True)
        return local if self.mesh_axis is None else jax.lax.pmax(local.astype(jnp.int32), self.mesh_axis) > 0

    def count(self, x: jax.Array) -> int:
        """The number of classes of `x`."""
        shards = 1 if self.mesh_axis is None else jax.lax.axis_size(self.mesh_axis)
        return x.shape[self.axis] * shards

    def index(self, x: jax.Array) -> jax.Array:
        """The class index of each element of `x`, in int32."""
        local = jax.lax.broadcasted_iota(jnp.int32, x.shape, x.ndim + self.axis)
        return local if self.mesh_axis is None else local + self._first(x)

    def labels(self, labels: jax.Array, x: jax.Array) -> jax.Array:
        """Return labels with the axis kept, in int32, -1 where `x` has no such class: none wraps on the way."""
        if labels.dtype.itemsize < 4:
            labels = labels.astype(jnp.int32)
        exists = (labels >= 0) & (labels < self.count(x))
        return jnp.expand_dims(jnp.where(exists, labels, 0).astype(jnp.int32) - (~exists).astype(jnp.int32), self.axis)

    def pick(self, x: jax.Array, labels: jax.Array) -> jax.Array:
        """Return the element of `x` at each of `labels`, the axis kept; nan for label -1.

        A gather from an array whose type holds a sharding is refused by JAX; a sum against the index costs
        a pass and needs none.
        """
        if typed_sharding(x) or x.shape[self.axis] == 0:
            return self._pick_by_selection(x, labels)
        if self.mesh_axis is None:
            picked = jnp.take_along_axis(x, jnp.maximum(labels, 0), axis=self.axis)
        else:
            local = labels - self._first(x)
            here = (local >= 0) & (local < x.shape[self.axis])
            picked = jnp.take_along_axis(x, jnp.where(here, local, 0), axis=self.axis)
            picked = jax.lax.psum(jnp.where(here, picked, 0), self.mesh_axis)
        return picked * jnp.where(labels < 0, jnp.nan, 1).astype(x.dtype)  # a factor: nan in the derivative too

    def pick_logit(self, x: jax.Array, labels: jax.Array) -> jax.Array:
        """Return `pick` of logits, not differentiable: of half precision as bits, where CPUs convert all its floats.

        Without the barrier of `narrowed`: the conversion belongs to the gather, and is not made of all classes.
        """

        def bits(x: jax.Array, labels: jax.Array) -> jax.Array:
            given = jax.lax.bitcast_convert_type(x.astype(self.narrow), jnp.uint16)
            picked = jnp.take_along_axis(given, jnp.maximum(labels, 0), axis=self.axis)
            return jnp.where(labels < 0, jnp.nan, jax.lax.bitcast_convert_type(picked, self.narrow).astype(x.dtype))

        if self.narrow is None or not self._local(x):
            return self.pick(x, labels)
        return jax.lax.platform_dependent(x, labels, cpu=bits, default=self._pick_by_selection)

    def split(self, t: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return `t` with 0 at each label, and what stood there, the axis kept; linear in `t`.

        A sum over the first is one over the other classes. On CPUs it takes a gather and a scatter where it can, which
        leave sums over the rest free to fuse; on accelerators selections fuse, and a scatter is an array of its own.
        """

        def by_selection(t: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
            return jnp.where(self.index(t) == labels, 0, t), self._selected(t, labels, t)

        def by_index(t: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
            where = list(jnp.indices(labels.shape, jnp.int32, sparse=True))
            where[self.axis] = jnp.maximum(labels, 0)
            there = t[tuple(where)]
            return t.at[tuple(where)].multiply(0, unique_indices=True), there

        if not self._local(t):
            return by_selection(t, labels)
        return jax.lax.platform_dependent(t, labels, cpu=by_index, default=by_selection)

    def pick_made(self, x: jax.Array, labels: jax.Array) -> jax.Array:
        """Return `pick` of what is not in memory yet, and would be written there for accelerators to gather from it."""
        if not self._local(x):
            return self.pick(x, labels)
        return jax.lax.platform_dependent(x, labels, cpu=self.pick, default=self._pick_by_selection)

    def pick_weight(self, weights: jax.Array, labels: jax.Array, x: jax.Array) -> jax.Array:
        """Return the weight of each label, for `weights` laid along the class axis of `x`; nan for label -1."""
        if self.mesh_axis is not None or typed_sharding(x) or typed_sharding(weights):
            picked = self._selected(weights, labels, x)
        else:
            picked = jnp.take(weights.reshape(-1), jnp.maximum(labels, 0))
        return jnp.where(labels < 0, jnp.nan, picked)

    def slope(self, *pairs: tuple[jax.Array, Any]) -> jax.Array:
        """Return the directional derivative sum_j slope_j t_j of (slope, tangent) pairs, zero tangents left out."""
        return self.sum(sum(slope * t for slope, t in pairs if not isinstance(t, SymbolicZero)))  # type: ignore[arg-type]

    def _pick_by_selection(self, x: jax.Array, labels: jax.Array) -> jax.Array:
        return self._selected(x, labels, x) * jnp.where(labels < 0, jnp.nan, 1).astype(x.dtype)

    def _selected(self, values: jax.Array, labels: jax.Array, x: jax.Array) -> jax.Array:
        """Return the sum over the classes of `x` that are labels: of one value each, 0 for label -1."""
        return self.sum(jnp.where(self.index(x) == labels, values, 0))

    def _local(self, x: jax.Array) -> bool:
        """Whether there are classes, all of them here for XLA to lay out."""
        return self.mesh_axis is None and not typed_sharding(x) and x.shape[self.axis] > 0

    def _first(self, x: jax.Array) -> jax.Array:
        return jax.lax.axis_index(self.mesh_axis) * x.shape[self.axis]


def typed_sharding(x: jax.Array) -> bool:
    """Whether explicit sharding has put mesh axes into the array's type."""
    sharding = getattr(jax.typeof(x), "sharding", None)
    return sharding is not None and any(part is not None for part in sharding.spec)
