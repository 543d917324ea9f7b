"""Linear predictors: parameters that a loss takes only through a product with features, as regressions do.

The loss of an example is then one of the few numbers ``x W``, and with its second derivatives h by those the Hessian
is the sum of ``x x^T (x) h`` over the examples: one Hessian-vector product for each column of W, in place of one for
each of its entries, and a product of matrices. Nobody has to say so: the product is found in the traced loss.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from jaxinfo.fitting._images import VALUES_AT_ONCE, images
from jaxinfo.fitting._objective import Loss
from jaxinfo.fitting._products import Product, evaluate, inlined, products


class Predicted(NamedTuple):
    """A loss whose linear predictors have been found.

    Attributes:
        program: the loss as equations, of the leaves of the parameters and those of the data.
        predictors: the products.
        others: the parameters that the loss takes otherwise.
    """

    program: jex.ClosedJaxpr
    predictors: tuple[Product, ...]
    others: np.ndarray

    @property
    def directions(self) -> int:
        """How many Hessian-vector products make the Hessian."""
        return len(self.others) + sum(p.entries.shape[1] for p in self.predictors)

    @property
    def width(self) -> int:
        """How many numbers an example adds to the largest of the products that are summed over the examples."""
        shapes = [p.entries.shape for p in self.predictors]
        return max(min(d * e, d * k * m, e * k * m) for d, k in shapes for e, m in shapes)

    def hessian(self, params: Any, data: Any, summed: Callable[[jax.Array], jax.Array]) -> jax.Array:
        """Return the Hessian [p, p] of the `summed` losses, each a function of its own row of the predictors."""
        size = sum(leaf.size for leaf in jax.tree.leaves(params))
        at, features, gradient = self._taken_apart(params, data, summed)
        product = jax.linearize(gradient, *at)[1]
        blocks = np.cumsum([p.entries.shape[1] for p in self.predictors])

        def push(direction: jax.Array) -> list[jax.Array]:
            *columns, others = jnp.split(direction, blocks)
            slopes, mixed = product(self._spread(columns, at[0]), others)
            slopes = [p.by_rows(slope).astype(others.dtype) for p, slope in zip(self.predictors, slopes, strict=True)]
            return [*slopes, mixed] if mixed.size else slopes

        # the images of examples go through memory in any case: blocks as in a cache would not keep them from it
        pushed = images(push, jnp.eye(self.directions, dtype=at[1].dtype), 4 * VALUES_AT_ONCE)
        hessian = jnp.zeros((size, size), at[1].dtype)
        if len(self.others):
            hessian = hessian.at[np.ix_(self.others, self.others)].set(pushed.pop()[blocks[-1] :])
        for q, x, slope in zip(self.predictors, features, pushed, strict=True):
            *own, others = jnp.split(slope, blocks)  # [K, N, L] of each predictor, and of the other parameters
            block = _contracted("ne,jnl->jel", x, others).reshape(len(self.others), q.entries.size)
            hessian = hessian.at[np.ix_(self.others, q.entries.ravel())].add(block)
            hessian = hessian.at[np.ix_(q.entries.ravel(), self.others)].add(block.T)
            for p, w, h in zip(self.predictors, features, own, strict=True):
                block = _contracted("nd,ne,knl->dkel", w, x, h).reshape(p.entries.size, -1)
                hessian = hessian.at[np.ix_(p.entries.ravel(), q.entries.ravel())].add(block)
        return hessian

    def separate(self, params: Any, data: Any) -> jax.Array:
        """Return whether each example's loss takes its own row of the predictors only, at `params`.

        If every row moves so many times as far, its slopes then change so many times as much.
        """
        at, _, gradient = self._taken_apart(params, data, jnp.sum)
        product = jax.linearize(gradient, *at)[1]
        still, rows = jnp.zeros_like(at[1]), jnp.arange(self.program.out_avals[0].size, dtype=at[1].dtype)
        random = np.random.default_rng(0)
        columns = [jnp.asarray(random.standard_normal(p.entries.shape[1]), still.dtype) for p in self.predictors]
        spread = self._spread(columns, at[0])
        factors = jnp.stack([jnp.ones_like(rows), jnp.cos(rows)])  # no two alike

        def push(factor: jax.Array) -> list[jax.Array]:
            moved = [p.times(factor, once) for p, once in zip(self.predictors, spread, strict=True)]
            return product(moved, still)[0]

        def same(p: Product, once: jax.Array, often: jax.Array) -> jax.Array:
            tolerance = jnp.finfo(once.dtype).eps ** 0.5
            return jnp.allclose(p.times(factors[1], once), often, tolerance, tolerance * jnp.max(jnp.abs(once)))

        slopes = images(push, factors)
        return jnp.all(jnp.stack([same(p, *pair) for p, pair in zip(self.predictors, slopes, strict=True)]))

    def _spread(self, columns: Sequence[jax.Array], likes: Sequence[jax.Array]) -> list[jax.Array]:
        return [p.spread(column, like) for p, column, like in zip(self.predictors, columns, likes, strict=True)]

    def _taken_apart(
        self, params: Any, data: Any, summed: Callable[[jax.Array], jax.Array]
    ) -> tuple[tuple[list[jax.Array], jax.Array], list[jax.Array], Callable]:
        """Return the predictors and the other parameters, the features, and the gradient by the former."""
        flat, unravel = ravel_pytree(params)
        rows = jax.tree.leaves(data)
        values = evaluate(self.program, [*jax.tree.leaves(params), *rows])
        outs = [p.out for p in self.predictors]
        features = [jnp.moveaxis(values[p.features], p.rows, 0).astype(flat.dtype) for p in self.predictors]

        def objective(products: list[jax.Array], others: jax.Array) -> jax.Array:
            leaves = jax.tree.leaves(unravel(flat.at[self.others].set(others)))
            values = evaluate(self.program, [*leaves, *rows], dict(zip(outs, products, strict=True)))
            return summed(values[self.program.jaxpr.outvars[0]])

        return ([values[out] for out in outs], flat[self.others]), features, jax.grad(objective, (0, 1))


def predicted(loss: Loss, params: Any, data: Any) -> Predicted | None:
    """Return `loss` with its linear predictors; None where it has none, or they would save nothing."""
    leaves, structure = jax.tree.flatten(params)
    program = inlined(jax.make_jaxpr(lambda leaves, data: loss(structure.unflatten(leaves), data))(leaves, data))
    (losses,) = program.out_avals
    if losses.ndim != 1:
        return None
    found, others = products(program.jaxpr, len(leaves), losses.size)
    made = Predicted(program, found, others)
    return made if found and made.directions < sum(leaf.size for leaf in leaves) else None


def _contracted(subscripts: str, *operands: jax.Array) -> jax.Array:
    """Return the sum of products, in full precision on accelerators too, in the order that takes the fewest steps."""
    return jnp.einsum(subscripts, *operands, optimize="optimal", precision=jax.lax.Precision.HIGHEST)
