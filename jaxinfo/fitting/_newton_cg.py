"""Newton's method by conjugate gradients on Hessian-vector products: no Hessian is formed."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxinfo.fitting._line_search import NewtonState, damped_step, initial_state
from jaxinfo.fitting._newton import hessian_product
from jaxinfo.fitting._trees import add, inner, random_signs

_PROBES = 2
_MAX_PRODUCTS = 250


class NewtonCGState(NamedTuple):
    """The state of any Newton method, and the number of the step, which numbers its probes."""

    newton: NewtonState
    turn: jax.Array


def newton_cg() -> optax.GradientTransformationExtraArgs:
    """Return Newton's method with each system solved by preconditioned conjugate gradients, and backtracking.

    The preconditioner is the norm of each row of the Hessian, estimated from a few products with random
    signs: positive whatever the curvature, right for any units of the parameters, and nearly exact where
    the Hessian is nearly diagonal. The systems are solved loosely at first and tightly near the end, so
    that the steps contract faster and faster. The probes are seeded: two runs are the same.

    Returns:
        A transformation whose `update` needs `value` and `value_fn`, as optax's line searches do, and uses
        `hvp`, the Hessian-vector product at `params`, where it is given one.
    """

    def init(params: Any) -> NewtonCGState:
        return NewtonCGState(initial_state(params), jnp.asarray(0, jnp.int32))

    def update(
        grads: Any,
        state: NewtonCGState,
        params: Any,
        *,
        value: jax.Array,
        value_fn: Callable,
        hvp: Callable | None = None,
        **extra: Any,
    ) -> tuple[Any, NewtonCGState]:
        del extra
        before = state.newton
        product = hessian_product(value_fn, params) if hvp is None else hvp
        tightness = jnp.clip(jnp.sqrt(2 * before.decrement), 1e-3, 0.1)  # near the end ever tighter: superlinear
        step, products = cg_step(product, grads, tightness, state.turn)
        slope = inner(grads, step)
        updates, newton = damped_step(value_fn, params, value, slope, step, before.evaluations + products)
        return updates, NewtonCGState(newton, state.turn + 1)

    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore[reportArgumentType]


def cg_step(
    product: Callable[[Any], Any], grads: Any, tightness: jax.Array, salt: jax.Array | int
) -> tuple[Any, jax.Array]:
    """Return -H^-1 g with a residual of `tightness` times the gradient, and the products that took."""
    scale = row_norms(product, grads, salt)
    step, products = conjugate_gradients(product, grads, scale, tightness)
    return step, products + _PROBES


def row_norms(product: Callable[[Any], Any], like: Any, salt: jax.Array | int) -> Any:
    """Estimate the norm of each row of the Hessian: E (H z)_i^2 = sum_j H_ij^2 for random signs z."""

    def squared(number: jax.Array) -> Any:
        return jax.tree.map(jnp.square, product(random_signs(like, _PROBES * salt + number)))

    squares = jax.lax.map(squared, jnp.arange(_PROBES, dtype=jnp.int32))  # apart, for the reason of `images`
    squares = jax.tree.map(lambda s: jnp.mean(s, axis=0), squares)
    largest = jnp.sqrt(optax.tree.max(squares))
    floor = jnp.where(largest > 0, largest, 1) * jnp.finfo(largest.dtype).eps
    return jax.tree.map(lambda s: jnp.maximum(jnp.sqrt(s), floor.astype(s.dtype)), squares)


class _Solve(NamedTuple):
    step: Any
    residual: Any
    direction: Any
    power: jax.Array  # the residual's squared norm in the preconditioner's metric
    products: jax.Array
    stopped: jax.Array


def conjugate_gradients(
    product: Callable[[Any], Any], grads: Any, scale: Any, tightness: jax.Array, most: int = _MAX_PRODUCTS
) -> tuple[Any, jax.Array]:
    """Solve H d = -g from d = 0 until the residual has fallen to `tightness` of the gradient, `most` products.

    Returns:
        The solution and the number of products taken. Where a direction is met that has no positive
        curvature, within rounding of the preconditioner's, it is the solution so far, or that direction
        itself if it is the first. (What drives CG along the free shift of a softmax is rounding, and divided
        by a curvature of nearly 0 it would be long.)
    """

    def precondition(tree: Any) -> Any:
        return jax.tree.map(lambda r, s: r / s, tree, scale)

    residual = optax.tree.scale(-1, grads)
    direction = precondition(residual)
    power = inner(residual, direction)
    goal = (tightness**2).astype(power.dtype) * power
    count = jnp.asarray(0, jnp.int32)
    start = _Solve(optax.tree.zeros_like(grads), residual, direction, power, count, power <= 0)

    def unfinished(s: _Solve) -> jax.Array:
        return ~s.stopped & (s.power > goal) & (s.products < most)

    def improve(s: _Solve) -> _Solve:
        image = product(s.direction)
        curvature = inner(s.direction, image)
        weight = inner(s.direction, jax.tree.map(jnp.multiply, scale, s.direction))
        flat = ~(curvature > 16 * jnp.finfo(curvature.dtype).eps * weight)
        length = jnp.where(flat, jnp.where(s.products == 0, 1, 0), s.power / jnp.where(flat, 1, curvature))
        step = add(s.step, length, s.direction)
        residual = add(s.residual, -length, image)
        z = precondition(residual)
        power = inner(residual, z)
        direction = add(z, power / s.power, s.direction)
        return _Solve(step, residual, direction, power, s.products + 1, flat)

    solved = jax.lax.while_loop(unfinished, improve, start)
    return solved.step, solved.products
