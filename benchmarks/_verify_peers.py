"""Gradient checkers side by side: ours, jax's, chex's and the rule of torch.autograd.gradcheck.

Each answers "caught" or "passed", or "not run" where it cannot be asked. torch's rule is its documented one in float64,
eps 1e-6, atol 1e-5, rtol 1e-3: all entries of the Jacobian where that is at most 10,000 inputs, otherwise one random
projection (its fast mode), and the same projection of the gradient for the second order.
"""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads

from jaxinfo import verify

NAMES = ("jaxinfo", "check_grads", "chex", "torch's rule")
_SLOW = 10_000


def on_floats(f: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Return `f` as a function of its floating leaves, and returning only such: the others refuse anything else."""
    leaves, tree = jax.tree_util.tree_flatten(args)
    places = [i for i, x in enumerate(leaves) if jnp.issubdtype(jnp.result_type(x), jnp.inexact)]

    def call(*floats: Any) -> Any:
        filled = list(leaves)
        for i, x in zip(places, floats, strict=True):
            filled[i] = x
        out = jax.tree_util.tree_leaves(f(*jax.tree_util.tree_unflatten(tree, filled)))
        return [y for y in out if jnp.issubdtype(jnp.result_type(y), jnp.inexact)]

    return call, tuple(leaves[i] for i in places)


def modes_of(f: Callable[..., Any], args: tuple[Any, ...]) -> tuple[str, ...]:
    """Return the modes that JAX has for `f`: a custom_vjp is not asked for forward mode, a loop not for reverse."""
    found = []
    try:
        jax.jit(lambda *x: jax.jvp(f, x, x)).lower(*args)
        found.append("fwd")
    except Exception:
        pass
    try:
        jax.eval_shape(lambda *x: jax.vjp(f, *x)[1](f(*x)), *args)
        found.append("rev")
    except Exception:
        pass
    return tuple(found)


def ask(name: str, f: Callable[..., Any], args: tuple[Any, ...], seed: int) -> tuple[str, Any]:
    """Return what a checker says, and of ours the report."""
    if name == "jaxinfo":
        report = verify.check_gradients(f, *args, seed=seed)
        return {"CORRECT": "passed", "WRONG": "caught"}.get(str(report.verdict), str(report.verdict)), report
    try:
        g, floats = on_floats(f, args)
        modes = modes_of(g, floats)
        if name == "check_grads":
            check_grads(g, floats, order=2, modes=modes)
        elif name == "chex":
            chex.assert_numerical_grads(lambda *x: sum(jnp.sum(y) for y in g(*x)), floats, order=2, modes=modes)
        elif not _torch_rule(f, args, seed):
            return "caught", None
    except AssertionError:
        return "caught", None
    except Exception as error:
        return f"not run ({type(error).__name__})", None
    return "passed", None


def _torch_rule(f: Callable[..., Any], args: tuple[Any, ...], seed: int) -> bool:
    wide = jax.tree_util.tree_map(
        lambda x: np.asarray(x, np.float64) if jnp.issubdtype(jnp.result_type(x), jnp.floating) else x, args
    )
    with jax.enable_x64(True):
        g, floats = on_floats(f, jax.tree_util.tree_map(jnp.asarray, wide))
        point, back = jax.flatten_util.ravel_pytree(floats)

        def flat(x: jax.Array) -> jax.Array:
            return jnp.concatenate([jnp.real(y).astype(jnp.float64).ravel() for y in g(*back(x))])

        rng = np.random.default_rng(seed)
        outputs = jax.eval_shape(flat, point).size
        u = jnp.asarray(rng.normal(size=outputs))
        small = point.size <= _SLOW and outputs * point.size <= 10**7
        first = _entries(flat, point, outputs) if small else _projection(flat, point, rng, u)
        return first and _projection(lambda x: jax.vjp(flat, x)[1](u)[0], point, rng, None)


def _entries(f: Callable[..., Any], point: jax.Array, outputs: int) -> bool:
    analytic = jax.jit(jax.jacrev(f))(point).reshape(outputs, point.size)
    column = jax.jit(lambda x, i: (f(x.at[i].add(1e-6)) - f(x.at[i].add(-1e-6))) / 2e-6)
    numeric = jax.lax.map(lambda i: column(point, i), jnp.arange(point.size), batch_size=64).T
    return bool(jnp.allclose(analytic, numeric, rtol=1e-3, atol=1e-5))


def _projection(f: Callable[..., Any], point: jax.Array, rng: np.random.Generator, u: Any) -> bool:
    v = rng.normal(size=point.size)
    v = jnp.asarray(v / np.linalg.norm(v))
    size = jax.eval_shape(f, point).size
    weights = jnp.asarray(rng.normal(size=size)) if u is None else u
    run = jax.jit(f)
    numeric = jnp.sum(weights * (run(point + 1e-6 * v) - run(point - 1e-6 * v))) / 2e-6
    analytic = jnp.sum(jax.jit(lambda x: jax.vjp(f, x)[1](weights)[0])(point) * v)
    return bool(jnp.allclose(analytic, numeric, rtol=1e-3, atol=1e-5))
