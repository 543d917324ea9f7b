"""Newton's method by conjugate gradients on Hessian-vector products: no Hessian is formed."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxinfo.fitting._line_search import NewtonState, damped_step, initial_state, rounding_of
from jaxinfo.fitting._newton import WAY_OUT, hessian_product
from jaxinfo.fitting._trees import add, inner, random_signs

_PROBES = 2
_MAX_PRODUCTS = 250
_LOOSEST = 0.25  # of the gradient may be left: tighter at first takes more products, looser more steps
_CLOSER = 8  # a closer look may take this part of the evaluations so far,
_AT_LEAST = 20  # and so many products in any case


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
        `hvp`, the Hessian-vector product at `params`, `tolerance`, the decrement from which on no step is wanted, and
        `small`, the one that a maximum would have, where it is given them.
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
        small: float = 0.0,
        **extra: Any,
    ) -> tuple[Any, NewtonCGState]:
        del extra
        before = state.newton
        product = hessian_product(value_fn, params) if hvp is None else hvp
        tightness = jnp.clip(jnp.sqrt(2 * before.decrement), 1e-3, _LOOSEST)  # near the end ever tighter: superlinear
        closer = jnp.maximum(before.evaluations // _CLOSER, _AT_LEAST)
        wanted = Wanted(tightness, tolerance, small, state.least, rounding_of(value), closer)
        solved = cg_step(product, grads, state.turn, wanted)
        slope = inner(grads, solved.step)
        updates, newton = damped_step(value_fn, params, value, slope, solved.step, before.evaluations + solved.products)
        newton = newton._replace(decrement=newton.decrement + solved.unseen / 2)
        return updates, NewtonCGState(newton, state.turn + 1, solved.least)

    return optax.GradientTransformationExtraArgs(init, update)  # pyright: ignore[reportArgumentType]


class Wanted(NamedTuple):
    """How well a system is to be solved.

    Attributes:
        tightness: of the gradient, what may be left of it.
        tolerance: half the squared decrement from which on nobody asks for the step.
        small: half the squared decrement that a maximum would have: one that small is looked at more closely.
        least: curvature met in earlier systems, in the preconditioner's metric.
        rounding: of the objective.
        closer: products that the closer look may take.
    """

    tightness: jax.Array
    tolerance: jax.Array | float = 0.0
    small: jax.Array | float = 0.0
    least: jax.Array | float = jnp.inf
    rounding: jax.Array | float = jnp.inf
    closer: jax.Array | int = 0


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


def cg_step(product: Callable[[Any], Any], grads: Any, salt: jax.Array | int, wanted: Wanted) -> Solution:
    """Solve H d = -g, preconditioned by the norms of the Hessian's rows."""
    scale = row_norms(product, grads, salt)
    solved = conjugate_gradients(product, grads, scale, wanted)
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
    unseen: jax.Array  # what a direction without curvature may add to the gain
    products: jax.Array
    closer: jax.Array  # products left for the closer look
    stopped: jax.Array


def conjugate_gradients(
    product: Callable[[Any], Any], grads: Any, scale: Any, wanted: Wanted, most: int = _MAX_PRODUCTS
) -> Solution:
    """Solve H d = -g from d = 0 until the residual has fallen to what is `wanted` of the gradient, `most` products.

    Who only asks whether half the squared decrement is within a tolerance need not know it closer than that: where
    the least curvature of earlier systems is given, it is enough once what the step gains and what the residual can
    add to it, at that curvature, stay within it.

    But a small decrement is not yet a maximum. Where parameters hardly differ in their effect, as of collinear
    features, a residual that is a thousandth of the gradient may hide all there is to gain, along a direction whose
    curvature no system has met. So the system is solved on, until the residual is rounding or could not add to the
    decrement at any curvature that can be told from 0.

    Returns:
        The solution. Where a direction is met that has no positive curvature, within rounding of the preconditioner's,
        it is the one so far, or that direction itself if it is the first. (What drives CG along the free shift of a
        softmax is rounding, and divided by a curvature of nearly 0 it would be long.)
    """
    tightness, tolerance, small, earlier, rounding, closer = wanted

    def precondition(tree: Any) -> Any:
        return jax.tree.map(lambda r, s: r / s, tree, scale)

    residual = optax.tree.scale(-1, grads)
    direction = precondition(residual)
    power = inner(residual, direction)
    goal = (tightness**2).astype(power.dtype) * power
    floor = 16 * jnp.finfo(power.dtype).eps
    earlier = jnp.asarray(earlier, power.dtype)
    small = jnp.asarray(2 * small, power.dtype)
    # the residual is what rounding left of a sum over the examples: it promises no more than the objective's rounding
    faint = (2 * floor * rounding).astype(power.dtype)
    certain = jnp.maximum(faint, 0.1 * floor * small)
    none, count = jnp.zeros_like(power), jnp.asarray(0, jnp.int32)
    start = _Solve(
        step=optax.tree.zeros_like(grads),
        residual=residual,
        direction=direction,
        power=power,
        gain=none,
        least=earlier,
        unseen=none,
        products=count,
        closer=jnp.asarray(closer, jnp.int32),
        stopped=power <= 0,
    )

    def near(s: _Solve) -> jax.Array:
        return (s.products > 0) & jnp.isfinite(earlier) & (s.gain + s.power / s.least <= 2 * tolerance)

    def enough(s: _Solve) -> jax.Array:
        return near(s) | (s.power <= goal)

    def unfinished(s: _Solve) -> jax.Array:
        look_closer = (s.gain <= small) & (s.power > certain) & (s.closer > 0)
        return ~s.stopped & (~enough(s) | look_closer) & (s.products < most)

    def improve(s: _Solve) -> _Solve:
        image = product(s.direction)
        weight = inner(s.direction, jax.tree.map(jnp.multiply, scale, s.direction))
        curvature = inner(s.direction, image) / weight
        flat = ~(curvature > floor)
        seen = s.power / jnp.maximum(jnp.abs(curvature), floor)  # what this direction adds to the gain
        first, told = s.products == 0, s.power > faint
        down = (curvature < -jnp.sqrt(floor)) & (s.gain + seen <= small)  # off a saddle
        length = jnp.where(flat & ~(first & told), first.astype(s.power.dtype), seen / weight)
        length = jnp.where(down, jnp.sqrt(WAY_OUT / (jnp.abs(curvature) * weight)), length)
        step = add(s.step, length, s.direction)
        residual = add(s.residual, -length, image)
        z = precondition(residual)
        power = inner(residual, z)
        return _Solve(
            step=step,
            residual=residual,
            direction=add(z, power / s.power, s.direction),
            power=power,
            gain=s.gain + length * s.power,
            least=jnp.where(flat, s.least, jnp.minimum(s.least, curvature)),
            unseen=jnp.where(down, WAY_OUT, jnp.where(flat & ~first & told, seen, 0)),
            products=s.products + 1,
            closer=s.closer - enough(s).astype(jnp.int32),
            stopped=flat,
        )

    solved = jax.lax.while_loop(unfinished, improve, start)
    doubtful = (near(solved) & (solved.power > goal)) | ((solved.gain <= small) & (solved.power > certain))
    unseen = jnp.where(doubtful & ~solved.stopped, solved.power / solved.least, solved.unseen)
    return Solution(solved.step, solved.products, solved.least, unseen)
