"""Correct functions of released libraries: on these a gradient checker must find nothing.

Each case makes a function and its arguments from a random generator, a dtype and a size, so that many seeds give many
points. They are chosen to be hard: cancellation, large vocabularies, kinks beside the point, loops, decompositions.
"""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

Case = tuple[Callable[..., Any], tuple[Any, ...]]
Make = Callable[[np.random.Generator, Any], Case]


def _normal(rng: np.random.Generator, dtype: Any, *shape: int, scale: float = 1.0) -> jax.Array:
    return jnp.asarray(scale * rng.normal(size=shape), dtype)


def _wide(dtype: Any) -> Any:
    """Return a dtype that fft and special functions know."""
    return jnp.float64 if np.dtype(dtype) == np.float64 else jnp.float32


def _labels(rng: np.random.Generator, classes: int, *shape: int) -> jax.Array:
    return jnp.asarray(rng.integers(0, classes, size=shape), jnp.int32)


def _spd(rng: np.random.Generator, dtype: Any, n: int) -> jax.Array:
    a = rng.normal(size=(n, n))
    return jnp.asarray(a @ a.T + n * np.eye(n), dtype)


def _scan(x: jax.Array) -> jax.Array:
    def step(c: jax.Array, a: jax.Array) -> tuple[jax.Array, jax.Array]:
        c = jnp.tanh(c * a + 0.5)
        return c, c * a

    return jax.lax.scan(step, jnp.ones((), x.dtype), x)[1]


def _while(x: jax.Array) -> jax.Array:
    return jax.lax.while_loop(lambda c: c[0] < 5, lambda c: (c[0] + 1, jnp.sin(c[1]) + c[1]), (0, x))[1]


def _cond(x: jax.Array) -> jax.Array:
    return jax.lax.cond(x.sum() > 0, lambda y: jnp.sin(y), lambda y: jnp.cosh(y), x)


def _mlp(x: jax.Array, params: Any) -> jax.Array:
    for w, b in params[:-1]:
        x = jax.nn.relu(x @ w + b)
    w, b = params[-1]
    return x @ w + b


def _mlp_params(rng: np.random.Generator, dtype: Any) -> list[Any]:
    sizes = (6, 16, 16, 3)
    return [
        (_normal(rng, dtype, i, o, scale=i**-0.5), _normal(rng, dtype, o, scale=0.1))
        for i, o in itertools.pairwise(sizes)
    ]


def _attention(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    return jax.nn.dot_product_attention(q, k, v, is_causal=True)


def _newton_sqrt(x: jax.Array) -> jax.Array:
    return jax.lax.fori_loop(0, 8, lambda _, y: 0.5 * (y + x / y), jnp.ones_like(x))


def _dropout(x: jax.Array) -> jax.Array:
    keep = jax.random.bernoulli(jax.random.key(7), 0.5, x.shape)
    return jnp.where(keep, x * x, 0).sum()


def _pinned(x: jax.Array) -> jax.Array:
    return jnp.sum(jax.nn.softmax(x.astype(jnp.float32)) * jnp.arange(x.shape[-1], dtype=jnp.float32))


def _nested(tree: Any) -> Any:
    return {"a": tree["w"] @ tree["x"][0], "b": (jnp.exp(tree["x"][1]), tree["n"] * tree["w"].sum())}


CASES: dict[str, Make] = {
    "jax.nn.softmax": lambda r, d: (jax.nn.softmax, (_normal(r, d, 3, 8, scale=3),)),
    "jax.nn.log_softmax, 32768 classes": lambda r, d: (jax.nn.log_softmax, (_normal(r, d, 32768, scale=3),)),
    "jax.nn.logsumexp of large logits": lambda r, d: (jax.nn.logsumexp, (_normal(r, d, 5, scale=100) + 1000,)),
    "jax.nn.gelu": lambda r, d: (jax.nn.gelu, (_normal(r, d, 20, scale=2),)),
    "jax.nn.gelu, exact": lambda r, d: (lambda x: jax.nn.gelu(x, approximate=False), (_normal(r, d, 20),)),
    "jax.nn.silu": lambda r, d: (jax.nn.silu, (_normal(r, d, 20, scale=4),)),
    "jax.nn.relu": lambda r, d: (jax.nn.relu, (_normal(r, d, 50),)),
    "jax.nn.softplus": lambda r, d: (jax.nn.softplus, (_normal(r, d, 20, scale=8),)),
    "jax.nn.log_sigmoid": lambda r, d: (jax.nn.log_sigmoid, (_normal(r, d, 20, scale=8),)),
    "jax.nn.standardize": lambda r, d: (jax.nn.standardize, (_normal(r, d, 4, 8) + 10,)),
    "jax.nn.dot_product_attention": lambda r, d: (_attention, tuple(_normal(r, d, 1, 4, 2, 4) for _ in range(3))),
    "optax cross-entropy, 32768 classes": lambda r, d: (
        lambda x, y: optax.softmax_cross_entropy_with_integer_labels(x, y).mean(),
        (_normal(r, d, 2, 32768, scale=2), _labels(r, 32768, 2)),
    ),
    "optax sigmoid cross-entropy": lambda r, d: (
        optax.sigmoid_binary_cross_entropy,
        (_normal(r, d, 12, scale=4), jnp.asarray(r.integers(0, 2, 12), d)),
    ),
    "optax.huber_loss": lambda r, d: (optax.huber_loss, (_normal(r, d, 12), _normal(r, d, 12))),
    "optax.cosine_similarity": lambda r, d: (optax.cosine_similarity, (_normal(r, d, 6), _normal(r, d, 6))),
    "optax.kl_divergence": lambda r, d: (
        lambda x, y: optax.losses.kl_divergence(jax.nn.log_softmax(x), jax.nn.softmax(y)),
        (_normal(r, d, 6), _normal(r, d, 6)),
    ),
    "optax.ctc_loss": lambda r, d: (
        lambda x, y: optax.ctc_loss(x, jnp.zeros(x.shape[:2], x.dtype), y, jnp.zeros(y.shape, x.dtype)),
        (_normal(r, d, 2, 5, 4), _labels(r, 3, 2, 2) + 1),
    ),
    "jnp.linalg.solve": lambda r, d: (jnp.linalg.solve, (_spd(r, d, 4), _normal(r, d, 4))),
    "jnp.linalg.cholesky": lambda r, d: (jnp.linalg.cholesky, (_spd(r, _wide(d), 4),)),
    "jnp.linalg.eigh": lambda r, d: (lambda a: jnp.linalg.eigh(a)[0], (_spd(r, _wide(d), 4),)),
    "jnp.linalg.svd, singular values": lambda r, d: (
        lambda a: jnp.linalg.svd(a, compute_uv=False),
        (_normal(r, _wide(d), 4, 3),),
    ),
    "jnp.linalg.slogdet": lambda r, d: (lambda a: jnp.linalg.slogdet(a)[1], (_normal(r, d, 4, 4),)),
    "jnp.linalg.inv": lambda r, d: (jnp.linalg.inv, (_spd(r, _wide(d), 3),)),
    "jnp.linalg.norm": lambda r, d: (jnp.linalg.norm, (_normal(r, d, 9),)),
    "jnp.sort": lambda r, d: (jnp.sort, (_normal(r, d, 30),)),
    "jnp.max": lambda r, d: (jnp.max, (_normal(r, d, 30),)),
    "jnp.clip": lambda r, d: (lambda x: jnp.clip(x, -0.7, 0.7), (_normal(r, d, 30),)),
    "jnp.cumprod": lambda r, d: (jnp.cumprod, (_normal(r, d, 7),)),
    "jnp.fft": lambda r, d: (
        lambda x: jnp.abs(jnp.fft.rfft(x)) ** 2,
        (_normal(r, _wide(d), 8),),
    ),
    "complex exponential": lambda r, d: (
        lambda x: jnp.exp(1j * x) * x,
        (_normal(r, _wide(d), 6),),
    ),
    "a square at 0": lambda r, d: (lambda x: x**2, (jnp.zeros(4, d),)),
    "a square root near 0": lambda r, d: (jnp.sqrt, (jnp.asarray(10.0 ** r.uniform(-6, 0, 8), d),)),
    "large numbers that cancel": lambda r, d: (lambda x: (x + 1e4) - 1e4 + jnp.sin(x), (_normal(r, d, 6),)),
    "lax.scan": lambda r, d: (_scan, (_normal(r, d, 9),)),
    "lax.while_loop": lambda r, d: (_while, (_normal(r, d, 5),)),
    "lax.cond": lambda r, d: (_cond, (_normal(r, d, 5),)),
    "lax.fori_loop, Newton": lambda r, d: (_newton_sqrt, (jnp.asarray(r.uniform(0.5, 2, 5), d),)),
    "relu network": lambda r, d: (_mlp, (_normal(r, d, 4, 6), _mlp_params(r, d))),
    "dropout with a fixed key": lambda r, d: (_dropout, (_normal(r, d, 40),)),
    "softmax pinned to float32": lambda r, d: (_pinned, (_normal(r, d, 10),)),
    "pytree of floats and integers": lambda r, d: (
        _nested,
        ({"w": _normal(r, d, 2, 3), "x": (_normal(r, d, 3), _normal(r, d, 2)), "n": 3},),
    ),
    "jax.scipy.special.gammaln": lambda r, d: (
        jax.scipy.special.gammaln,
        (jnp.asarray(r.uniform(0.5, 20, 8), _wide(d)),),
    ),
    "checkpointed": lambda r, d: (jax.checkpoint(lambda x: jnp.sum(jnp.sin(x) ** 3)), (_normal(r, d, 8),)),
}
