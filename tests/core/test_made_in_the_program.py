"""Logits made inside the program, which XLA may make again, otherwise rounded, for each use of them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinfo

FUNCTIONS: dict[str, Callable[..., jax.Array]] = {
    "entropy": lambda a, b: jaxinfo.entropy(a),
    "cross entropy": lambda a, b: jaxinfo.softmax_cross_entropy(a, jaxinfo.softmax(b)),
    "label": lambda a, b: jaxinfo.softmax_cross_entropy(a, jnp.argmin(b, axis=-1)),
    "kl": jaxinfo.kl_divergence,
    "js": lambda a, b: jaxinfo.js_divergence(a, b, weight=0.1),
    "renyi": lambda a, b: jaxinfo.renyi_divergence(a, b, 0.5),
    "hellinger": lambda a, b: jaxinfo.f_divergence(a, b, "hellinger"),
}


@pytest.mark.parametrize("optimised", [True, False])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_slopes_are_those_of_logits_that_are_there(name: str, optimised: bool) -> None:
    """Without its optimisations XLA rounds a x + b once for one use and twice for another: none equals its maximum."""
    random = np.random.default_rng(0)
    floats = lambda *shape: jnp.asarray(random.standard_normal(shape))  # noqa: E731
    a = [(floats(257, 1), 2 * floats(1, 31), 60 + 3 * floats(31)) for _ in range(2)]
    weight = floats(257)

    def of_logits(x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.vdot(weight, FUNCTIONS[name](x, y))

    def logits(h: jax.Array, w: jax.Array, c: jax.Array) -> jax.Array:
        return h @ w + jnp.expand_dims(c, 0)

    def whole(p: tuple, q: tuple) -> jax.Array:
        return of_logits(logits(*p), logits(*q))

    program = jax.jit(jax.grad(whole, (0, 1))).lower(*a)
    got = program.compile(None if optimised else {"xla_backend_optimization_level": "0"})(*a)
    there, pull = jax.vjp(lambda p, q: (logits(*p), logits(*q)), *a)
    want = pull(jax.jit(jax.grad(of_logits, (0, 1)))(*there))
    for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-10, atol=1e-11)
