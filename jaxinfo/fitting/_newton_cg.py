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
_LOOSEST = 0.25  # of the gradient may be left: tighter at first takes more products, looser more steps


class NewtonCGState(NamedTuple):
    """The state of any Newton method, the number of the step, which numbers its probes, and the least curvature met."""

    newton: NewtonState
    turn: jax.Array
    least: jax.Array


def newton_cg() -> optax.GradientTransformationExtraArgs:
    """Return Newton's method with each system solved by preconditioned conjugate gradients, and backtracking.

    The preconditioner is the norm of each row of the Hessian, estimated from a few products with random
    signs: positive whatever the curvature, right for any units of the parameters, and nearly exact where
    the Hessian is nearly diagonal. The systems are solved loosely at first and tightly near the end, so
    that the steps contract faster and faster. The probes are seeded: two runs are the same.

    Returns:
        A transformation whose `update` needs `value` and `value_fn`, as optax's line searches do, and uses
        `hvp`, the Hessian-vector product at `params`, and `tolerance`, the decrement that is small enough,
        where it is given them.
    """

    def init(params: Any) -> NewtonCGState:
        newton = initial_state(params)
        return NewtonCGState(newton, jnp.asarray(0, jnp.int32), jnp.full_like(newton.decrement, jnp.inf))

    def update(
        grads: Any,
        state: NewtonCGState,
        params: Any,
        *,
        value: jax.Array,
        value_fn: Callable,
        hvp: Callable | None = None,
        tolerance: jax.Array | float = 0.0,
        **extra: Any,
    ) -> tuple[Any, NewtonCGState]:
        del extra
        before = state.newton
        product = hessian_product(value_fn, params) if hvp is None else hvp
        tightness = jnp.clip(jnp.sqrt(2 * before.decrement), 1e-3, _LOOSEST)  # near the end ever tighter: superlinear
        solved = cg_step(product, grads, tightness, state.turn, tolerance, state.least)
        slope = inner(grads, solved.step)
        updates, newton = damped_step(value_fn, params, value, slope, solved.step, before.evaluations + solved.products)
        newton = newton._replace(decrement=newton.decrement + solved.unseen / 2)
        return updates, NewtonCGState(newton, state.turn + 1, solved.least)

    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore[reportArgumentType]


class Solution(NamedTuple):
    """The solution of H d = -g by conjugate gradients.

    Attributes:
        step: d.
        products: Hessian-vector products taken.
        least: curvature met, in the preconditioner's metric.
        unseen: what the residual may add to the squared decrement; 0 where it was made small for the step's sake.
    """

    step: Any
    products: jax.Array
    least: jax.Array
    unseen: jax.Array


def cg_step(
    product: Callable[[Any], Any],
    grads: Any,
    tightness: jax.Array,
    salt: jax.Array | int,
    tolerance: jax.Array | float = 0.0,
    least: jax.Array | float = jnp.inf,
) -> Solution:
    """Solve H d = -g to a residual of `tightness` times the gradient, or until the decrement is within `tolerance`."""
    scale = row_norms(product, grads, salt)
    solved = conjugate_gradients(product, grads, scale, tightness, tolerance=tolerance, least=least)
    return solved._replace(products=solved.products + _PROBES)


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
    gain: jax.Array  # minus the slope along the step: the squared decrement, as far as it is seen
    least: jax.Array  # curvature met in that metric
    products: jax.Array
    stopped: jax.Array


def conjugate_gradients(
    product: Callable[[Any], Any],
    grads: Any,
    scale: Any,
    tightness: jax.Array,
    most: int = _MAX_PRODUCTS,
    tolerance: jax.Array | float = 0.0,
    least: jax.Array | float = jnp.inf,
) -> Solution:
    """Solve H d = -g from d = 0 until the residual has fallen to `tightness` of the gradient, `most` products.

    Who only asks whether half the squared decrement is within `tolerance` need not know it closer than that: where
    the `least` curvature of earlier systems is given, the solution ends once what the step gains and what the
    residual can add to it, at that curvature, stay within it.

    Returns:
        The solution. Where a direction is met that has no positive curvature, within rounding of the
        preconditioner's, it is the one so far, or that direction itself if it is the first. (What drives CG
        along the free shift of a softmax is rounding, and divided by a curvature of nearly 0 it would be long.)
    """

    def precondition(tree: Any) -> Any:
        return jax.tree.map(lambda r, s: r / s, tree, scale)

    residual = optax.tree.scale(-1, grads)
    direction = precondition(residual)
    power = inner(residual, direction)
    goal = (tightness**2).astype(power.dtype) * power
    count, gain = jnp.asarray(0, jnp.int32), jnp.zeros_like(power)
    earlier = jnp.asarray(least, power.dtype)
    start = _Solve(optax.tree.zeros_like(grads), residual, direction, power, gain, earlier, count, power <= 0)

    def near_enough(s: _Solve) -> jax.Array:
        return (s.products > 0) & jnp.isfinite(earlier) & (s.gain + s.power / s.least <= 2 * tolerance)

    def unfinished(s: _Solve) -> jax.Array:
        return ~s.stopped & ~near_enough(s) & (s.power > goal) & (s.products < most)

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
        least = jnp.where(flat, s.least, jnp.minimum(s.least, curvature / weight))
        return _Solve(step, residual, direction, power, s.gain + length * s.power, least, s.products + 1, flat)

    solved = jax.lax.while_loop(unfinished, improve, start)
    unseen = jnp.where(near_enough(solved) & (solved.power > goal), solved.power / solved.least, 0)
    return Solution(solved.step, solved.products, solved.least, unseen)
