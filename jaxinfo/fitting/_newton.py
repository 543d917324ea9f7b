"""Damped Newton with the exact Hessian, for up to a few hundred parameters."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from jaxinfo.fitting._images import images
from jaxinfo.fitting._line_search import NewtonState, damped_step, initial_state, rounding_of

_ROUNDING = 8  # eps, below which a slope along a direction without curvature is none
WAY_OUT = 2.0  # nats: of twice the squared decrement, what leaving a saddle is taken to gain


def newton() -> optax.GradientTransformationExtraArgs:
    """Return the damped Newton method: an exact Hessian, its eigenvalues, and backtracking.

    Directions of negative curvature are followed downhill with the inverse of the curvature's absolute
    value, and off a saddle or a maximum without any slope; those without curvature (the free shift of a full
    softmax) are left where they are.

    Returns:
        A transformation whose `update` needs `value` and `value_fn`, as optax's line searches do, and uses
        `hvp`, the Hessian-vector product at `params`, where it is given one, or `hessian`, which makes it whole,
        `tolerance`, the decrement from which on no step is wanted, and `small`, the one that a maximum would have.
    """

    def update(
        grads: Any,
        state: NewtonState,
        params: Any,
        *,
        value: jax.Array,
        value_fn: Callable,
        hvp: Callable | None = None,
        hessian: Callable[[], jax.Array] | None = None,
        tolerance: jax.Array | float = 0.0,
        small: float = 0.0,
        **extra: Any,
    ) -> tuple[Any, NewtonState]:
        del extra
        gradient, unravel = ravel_pytree(grads)
        if hessian is None:
            product = hessian_product(value_fn, params) if hvp is None else hvp
            curvature = exact_hessian(lambda x: ravel_pytree(product(unravel(x)))[0], gradient)
        else:
            curvature = hessian()
        step, gain = newton_step(curvature, gradient, rounding_of(value), small)
        evaluations = state.evaluations + gradient.size
        return damped_step(value_fn, params, value, -gain, unravel(step), evaluations, tolerance)

    return optax.GradientTransformationExtraArgs(initial_state, update)  # pyright: ignore[reportArgumentType]


def hessian_product(value_fn: Callable[[Any], jax.Array], params: Any) -> Callable[[Any], Any]:
    """Return v -> H v at `params`, forward over reverse."""
    return jax.linearize(jax.grad(value_fn), params)[1]


def exact_hessian(product: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """Return the Hessian whose `product` this is, for vectors like `x`: `images` of all unit vectors."""
    return images(product, jnp.eye(x.size, dtype=x.dtype))


def newton_step(
    hessian: jax.Array, gradient: jax.Array, unseen: jax.Array | float = 0.0, small: float = 0.0
) -> tuple[jax.Array, jax.Array]:
    """Return -H^-1 g from the eigenvalues of H scaled to a unit diagonal, and the squared Newton decrement.

    The scaling makes the step independent of the units of each parameter. Eigenvalues below the rounding
    of the largest are raised to it rather than dropped: along a direction in which the likelihood
    flattens out for ever, the step must stay long, or the fit would look converged. A gain of `unseen` cannot be told
    from 0. Where the decrement is `small` but the least curvature negative, the step leads out along that direction.
    """
    eps = jnp.finfo(gradient.dtype).eps
    diagonal = jnp.abs(jnp.diagonal(hessian))
    scale = jnp.where(diagonal > 0, jax.lax.rsqrt(jnp.where(diagonal > 0, diagonal, 1)), 1)
    values, vectors = jnp.linalg.eigh(scale[:, None] * hessian * scale[None, :])
    largest = jnp.max(jnp.abs(values), initial=0)
    floor = jnp.where(largest > 0, largest, 1) * gradient.size * eps
    along = vectors.T @ (scale * gradient)
    # Along a free direction the slope is what rounding left of a sum over the examples, and the step would be long. It
    # is rounding if it is a few eps, in units of standard errors, or promises no more than rounding of the objective.
    faint = (jnp.abs(along) <= _ROUNDING * eps) | (along**2 <= 2 * floor * unseen)
    along = jnp.where((jnp.abs(values) <= floor) & faint, 0, along)
    curvature = jnp.maximum(jnp.abs(values), floor)
    stuck = (jnp.sum(along**2 / curvature) <= 2 * small) & (values[0] < -jnp.sqrt(eps) * largest)
    out = jnp.copysign(jnp.sqrt(WAY_OUT * curvature[0]), along[0])
    along = along.at[0].set(jnp.where(stuck, out, along[0]))
    return -scale * (vectors @ (along / curvature)), jnp.sum(along**2 / curvature)
