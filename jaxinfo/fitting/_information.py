"""Fisher information, and what follows from it: the inverse where there is one, else the pseudo-inverse."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jaxinfo.fitting._images import images
from jaxinfo.fitting._newton import exact_hessian
from jaxinfo.fitting._newton_cg import Wanted, conjugate_gradients, row_norms
from jaxinfo.fitting._objective import Loss

EXACT_UP_TO = 2_000  # parameters: beyond it no matrix is formed
_TIGHT = 30  # conjugate gradients stop when the residual has fallen to this many eps


class Inverse(NamedTuple):
    """The pseudo-inverse of a symmetric matrix.

    Attributes:
        matrix: the Moore-Penrose inverse, [p, p].
        rank: number of eigenvalues, after scaling to a unit diagonal, that are not 0 within rounding.
        condition: largest of these over the smallest, in absolute value.
        lowest: the smallest eigenvalue of them, negative where the matrix is indefinite.
        free: columns that span the directions it maps to 0, of length 1 after scaling to a unit diagonal.
        diagonal: that of the matrix.
    """

    matrix: jax.Array
    rank: jax.Array
    condition: jax.Array
    lowest: jax.Array
    free: jax.Array
    diagonal: jax.Array


def pseudo_inverse(matrix: jax.Array) -> Inverse:
    """Return the Moore-Penrose inverse of a symmetric matrix, with its rank judged after scaling.

    Scaled to a unit diagonal the eigenvalues do not depend on the units of the parameters: what then lies
    within rounding of 0 is a direction that changes nothing. The inverse of the scaled matrix, projected
    from both sides onto what is orthogonal to those directions, is the Moore-Penrose inverse itself.
    """
    diagonal = jnp.abs(jnp.diagonal(matrix))
    scale = jnp.where(diagonal > 0, jax.lax.rsqrt(jnp.where(diagonal > 0, diagonal, 1)), 1)
    values, vectors = jnp.linalg.eigh(scale[:, None] * matrix * scale[None, :])
    size = jnp.abs(values)
    floor = 8 * len(diagonal) * jnp.finfo(matrix.dtype).eps * jnp.max(size, initial=0)
    free = size <= floor
    inverted = jnp.where(free, 0, 1 / jnp.where(free, 1, values))
    general = scale[:, None] * jnp.matmul(vectors * inverted[None, :], vectors.T) * scale[None, :]
    # columns of the free directions, orthonormal in the parameters' own units; the others are set to 0
    directions = jnp.where(free[None, :], scale[:, None] * vectors, 0)
    basis, lengths, _ = jnp.linalg.svd(directions, full_matrices=False)
    basis = jnp.where((lengths > 1e-6 * jnp.max(lengths, initial=0))[None, :], basis, 0)
    project = jnp.eye(len(diagonal), dtype=matrix.dtype) - jnp.matmul(basis, basis.T)
    projected = jnp.matmul(jnp.matmul(project, general), project)
    least = jnp.min(jnp.where(free, jnp.inf, size), initial=jnp.inf)
    return Inverse(
        jnp.where(jnp.any(free), projected, general),
        jnp.sum(~free),
        jnp.max(size, initial=0) / least,
        jnp.min(jnp.where(free, jnp.inf, values), initial=jnp.inf),
        directions,
        diagonal,
    )


def hessian_matrix(objective: Callable[[Any], jax.Array], params: Any) -> jax.Array:
    """Return the Hessian [p, p] of `objective` at `params`, symmetric to the last bit."""
    flat, unravel = ravel_pytree(params)
    product = jax.linearize(jax.grad(lambda x: objective(unravel(x))), flat)[1]
    hessian = exact_hessian(product, flat)
    return (hessian + hessian.T) / 2


def outer_product(loss: Loss, params: Any, data: Any, weights: jax.Array | None) -> jax.Array:
    """Return the sum over examples of weight * score score^T, [p, p]."""
    flat, unravel = ravel_pytree(params)
    losses, push = jax.linearize(lambda x: loss(unravel(x), data).reshape(-1), flat)
    scores = images(push, jnp.eye(flat.size, dtype=flat.dtype))  # [p, N]
    if weights is None:
        return jnp.matmul(scores, scores.T)
    counted = weights.reshape(-1).astype(losses.dtype)
    scores = jnp.where(counted[None, :] == 0, 0, scores)
    return jnp.matmul(scores * counted[None, :], scores.T)


def solve(product: Callable[[Any], Any], right: Any, *, most: int | None = None) -> tuple[Any, jax.Array]:
    """Solve H x = right by conjugate gradients on products with H, to the rounding of its dtype.

    Returns:
        The solution, and the size of its residual in relation to that of `right`, in the preconditioner's norm.
    """
    size = sum(leaf.size for leaf in jax.tree.leaves(right))
    dtype = jnp.result_type(*jax.tree.leaves(right)[:1])
    scale = row_norms(product, right, 3)
    tight = jnp.asarray(_TIGHT * jnp.finfo(dtype).eps, dtype)
    negative = jax.tree.map(jnp.negative, right)
    solution = conjugate_gradients(product, negative, scale, Wanted(tight), most=most or max(10 * size, 250)).step
    left = jax.tree.map(lambda r, h: r - h, right, product(solution))

    def power(tree: Any) -> jax.Array:
        return jax.tree.reduce(jnp.add, jax.tree.map(lambda r, s: jnp.sum(r * r / s), tree, scale))

    whole = power(right)
    return solution, jnp.sqrt(power(left) / jnp.where(whole > 0, whole, 1))


def symmetric_solve(product: Callable[[Any], Any], right: Any) -> Any:
    """Solve H x = right for a symmetric H given by its products, differentiably: exactly up to some thousand."""
    flat, unravel = ravel_pytree(right)

    def flat_product(x: jax.Array) -> jax.Array:
        return ravel_pytree(product(unravel(x)))[0]

    def flat_solve(matvec: Callable[[jax.Array], jax.Array], b: jax.Array) -> jax.Array:
        if b.size > EXACT_UP_TO:
            return solve(matvec, b)[0]
        return jnp.matmul(pseudo_inverse(exact_hessian(matvec, b)).matrix, b)

    return unravel(jax.lax.custom_linear_solve(flat_product, flat, flat_solve, symmetric=True))
