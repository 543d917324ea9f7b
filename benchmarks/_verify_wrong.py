"""A bank of wrong gradients: what people get wrong, and what the usual checkers let pass.

Each mutant makes, from a generator, a shape and a dtype, a function whose value is right and whose derivative is not,
its arguments, and the index of the wrong element of the first argument where the fault is in one element only.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Case(NamedTuple):
    """A function with a wrong derivative, where to ask for it, and the one element that is wrong, if it is one."""

    f: Callable[..., Any]
    args: tuple[Any, ...]
    index: tuple[int, ...] | None = None


Make = Callable[[np.random.Generator, tuple[int, int], Any], Case]
Rule = Callable[[jax.Array, jax.Array], jax.Array]


def cross_entropy(x: jax.Array, labels: jax.Array) -> jax.Array:
    """Return the mean cross-entropy of labels."""
    return jnp.mean(jax.nn.logsumexp(x, axis=-1) - jnp.take_along_axis(x, labels[:, None], axis=-1)[:, 0])


def with_vjp(value: Callable[[jax.Array], Any], rule: Callable[[jax.Array, Any], jax.Array]) -> Callable[..., Any]:
    """Return `value` with a reverse rule of its own."""
    wrapped = jax.custom_vjp(value)
    wrapped.defvjp(lambda x: (value(x), x), lambda x, c: (rule(x, c).astype(x.dtype),))
    return wrapped


def with_jvp(value: Callable[[jax.Array], Any], rule: Callable[[jax.Array, Any], Any]) -> Callable[..., Any]:
    """Return `value` with a forward rule of its own."""
    wrapped = jax.custom_jvp(value)
    wrapped.defjvp(lambda xs, ts: (value(xs[0]), rule(xs[0], ts[0])))
    return wrapped


def _point(rng: np.random.Generator, shape: tuple[int, int], dtype: Any) -> tuple[jax.Array, jax.Array]:
    return jnp.asarray(rng.normal(size=shape), dtype), jnp.asarray(rng.integers(0, shape[1], shape[0]), jnp.int32)


def _gradient(x: jax.Array, labels: jax.Array) -> jax.Array:
    return (jax.nn.softmax(x) - jax.nn.one_hot(labels, x.shape[1], dtype=x.dtype)) / x.shape[0]


def loss_mutant(mutate: Callable[[jax.Array, jax.Array, jax.Array], jax.Array], index: Any = None) -> Make:
    """Return a mutant of the cross-entropy: `mutate(gradient, x, labels)` is what its reverse rule gives."""

    def make(rng: np.random.Generator, shape: tuple[int, int], dtype: Any) -> Case:
        x, labels = _point(rng, shape, dtype)
        f = with_vjp(lambda x: cross_entropy(x, labels), lambda x, c: c * mutate(_gradient(x, labels), x, labels))
        return Case(f, (x,), None if index is None else index(shape, np.asarray(labels)))

    return make


def loss_rule(rule: Callable[[jax.Array, jax.Array, jax.Array], jax.Array]) -> Make:
    """Return a mutant whose reverse rule is `rule(x, labels, cotangent)`."""

    def make(rng: np.random.Generator, shape: tuple[int, int], dtype: Any) -> Case:
        x, labels = _point(rng, shape, dtype)
        return Case(with_vjp(lambda x: cross_entropy(x, labels), lambda x, c: rule(x, labels, c)), (x,))

    return make


def plain(f: Callable[[jax.Array, jax.Array], Any]) -> Make:
    """Return a mutant that is `f(x, labels)` as it stands: a stop_gradient, a rule inside."""

    def make(rng: np.random.Generator, shape: tuple[int, int], dtype: Any) -> Case:
        x, labels = _point(rng, shape, dtype)
        return Case(lambda x: f(x, labels), (x,))

    return make


def elementwise(rule: Callable[[jax.Array, jax.Array], jax.Array], *, forward: bool, index: Any = None) -> Make:
    """Return a mutant of the sine with 2,000 outputs at most and the rule `rule(x, tangent or cotangent)`."""

    def make(rng: np.random.Generator, shape: tuple[int, int], dtype: Any) -> Case:
        x = jnp.asarray(rng.normal(size=min(2000, shape[0] * shape[1])), dtype)
        return Case((with_jvp if forward else with_vjp)(jnp.sin, rule), (x,), index)

    return make


def _middle(shape: tuple[int, int], labels: np.ndarray) -> tuple[int, int]:
    i, j = shape[0] // 2, (2 * shape[1]) // 3
    return i, j if j != labels[i] else j - 1


def _at_label(shape: tuple[int, int], labels: np.ndarray) -> tuple[int, int]:
    return shape[0] - 1, int(labels[-1])


def _one(change: Callable[[Any], Any]) -> Callable[..., jax.Array]:
    def mutate(g: jax.Array, x: jax.Array, labels: jax.Array) -> jax.Array:
        del x
        i, j = g.shape[0] // 2, (2 * g.shape[1]) // 3
        j = jnp.where(labels[i] == j, j - 1, j)
        return g.at[i, j].set(change(g[i, j]))

    return mutate


def _cap(x: jax.Array) -> jax.Array:
    return 5 * jnp.tanh(x / 5)


def _cap_without_slope(x: jax.Array) -> jax.Array:
    return with_jvp(_cap, lambda x, t: t)(x)


def _scan_rows(x: jax.Array, labels: jax.Array) -> jax.Array:
    """Sum rows in a loop whose body forgets the carry's part of the derivative in one step."""
    del labels

    def body(carry: jax.Array, pair: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        row, step = pair
        kept = jnp.where(step == 1, jax.lax.stop_gradient(carry), carry)
        return kept * 0.9 + jax.nn.logsumexp(row), None

    return jax.lax.scan(body, jnp.zeros((), x.dtype), (x, jnp.arange(x.shape[0])))[0]


def _branch(x: jax.Array, labels: jax.Array) -> jax.Array:
    wrong = with_jvp(jnp.cosh, lambda x, t: 2 * jnp.sinh(x) * t)
    return jax.lax.cond(x[0, 0] == x[0, 0], wrong, jnp.cosh, x[:, 0]).sum() + 0 * labels[0].astype(x.dtype)


def _second_only(x: jax.Array, labels: jax.Array) -> jax.Array:
    def rule(x: jax.Array, t: jax.Array) -> jax.Array:
        return jnp.sum(jax.lax.stop_gradient(_gradient(x, labels)) * t)

    return with_jvp(lambda x: cross_entropy(x, labels), rule)(x)


def _second_scaled(x: jax.Array, labels: jax.Array) -> jax.Array:
    inner = with_jvp(
        lambda x: _gradient(x, labels), lambda x, t: 1.01 * jax.jvp(lambda x: _gradient(x, labels), (x,), (t,))[1]
    )
    return with_jvp(lambda x: cross_entropy(x, labels), lambda x, t: jnp.sum(inner(x) * t))(x)


def _other_dtype(g: jax.Array, x: jax.Array, labels: jax.Array, wrong: Any) -> jax.Array:
    del labels
    return g * 1.5 if x.dtype == wrong else g


def _only_in_own(rng: np.random.Generator, shape: tuple[int, int], dtype: Any) -> Case:
    return loss_mutant(lambda g, x, y: _other_dtype(g, x, y, dtype))(rng, shape, dtype)


def _swapped(rng: np.random.Generator, shape: tuple[int, int], dtype: Any) -> Case:
    x, labels = _point(rng, shape, dtype)
    value = lambda p: cross_entropy(p["w"] * 2 + p["b"], labels)  # noqa: E731
    f = jax.custom_vjp(value)
    f.defvjp(
        lambda p: (value(p), p),
        lambda p, c: ((lambda g: {"w": c * g, "b": c * 2 * g})(_gradient(p["w"] * 2 + p["b"], labels)),),
    )
    return Case(f, ({"b": x, "w": x[::-1] * 0.5},))


def _forgotten_targets(rng: np.random.Generator, shape: tuple[int, int], dtype: Any) -> Case:
    x, _ = _point(rng, shape, dtype)
    t = jax.nn.softmax(jnp.asarray(rng.normal(size=shape), dtype))
    value = lambda x, t: -jnp.mean(jnp.sum(t * jax.nn.log_softmax(x), axis=-1))  # noqa: E731
    f = jax.custom_vjp(value)
    f.defvjp(
        lambda x, t: (value(x, t), (x, t)),
        lambda r, c: (c * jax.grad(value)(*r), jnp.zeros_like(r[1])),
    )
    return Case(f, (x, t))


def _other_value(rng: np.random.Generator, shape: tuple[int, int], dtype: Any) -> Case:
    x, labels = _point(rng, shape, dtype)
    f = jax.custom_vjp(lambda x: cross_entropy(x, labels))
    f.defvjp(lambda x: (cross_entropy(x, labels) * 1.1, x), lambda x, c: (c * _gradient(x, labels),))
    return Case(f, (x,))


def _noise(x: jax.Array) -> jax.Array:
    return 1 + 0.01 * jax.random.normal(jax.random.key(3), x.shape, jnp.float32).astype(x.dtype)


def _one_hot(x: jax.Array, labels: jax.Array) -> jax.Array:
    return jax.nn.one_hot(labels, x.shape[1], dtype=x.dtype)


def _smoothed(g: jax.Array, x: jax.Array, labels: jax.Array) -> jax.Array:
    return g + 0.01 / x.shape[0] * (_one_hot(x, labels) - 1 / x.shape[1])


def _stopped(x: jax.Array, labels: jax.Array) -> jax.Array:
    del labels
    return jnp.mean(jax.lax.stop_gradient(jax.nn.logsumexp(x, axis=-1)) - x[:, 0])


def _z_loss(x: jax.Array, labels: jax.Array) -> jax.Array:
    square = with_jvp(lambda z: z**2, lambda z, t: z * t)
    return cross_entropy(x, labels) + 1e-3 * jnp.mean(square(jax.nn.logsumexp(x, axis=-1)))


def _seventeenth(factor: float) -> Rule:
    return lambda x, t: (jnp.cos(x) * t).at[17].multiply(factor)


def _row(i: int, factor: float) -> Callable[..., jax.Array]:
    return lambda g, x, y: g.at[i].multiply(factor)


BANK: dict[str, Make] = {
    "zero": loss_mutant(lambda g, x, y: 0 * g),
    "sign flipped": loss_mutant(lambda g, x, y: -g),
    "scaled by 1.1": loss_mutant(lambda g, x, y: 1.1 * g),
    "scaled by 1.001": loss_mutant(lambda g, x, y: 1.001 * g),
    "scaled by 1.0001": loss_mutant(lambda g, x, y: 1.0001 * g),
    "sum for mean": loss_mutant(lambda g, x, y: g * x.shape[0]),
    "one element zero": loss_mutant(_one(lambda e: 0 * e), _middle),
    "one element 10 % off": loss_mutant(_one(lambda e: 1.1 * e), _middle),
    "one element 1 % off": loss_mutant(_one(lambda e: 1.01 * e), _middle),
    "one element flipped": loss_mutant(_one(lambda e: -e), _middle),
    "one label's element 0.1 % off": loss_mutant(lambda g, x, y: g.at[-1, y[-1]].multiply(1.001), _at_label),
    "nan in one element": loss_mutant(_one(lambda e: e * jnp.nan), _middle),
    "inf in one element": loss_mutant(_one(lambda e: e + jnp.inf), _middle),
    "one row zero": loss_mutant(_row(1, 0.0)),
    "one row doubled": loss_mutant(_row(-1, 2.0)),
    "two rows exchanged": loss_mutant(lambda g, x, y: g.at[:2].set(g[1::-1])),
    "label shifted by one": loss_mutant(lambda g, x, y: _gradient(x, (y + 1) % x.shape[1])),
    "label smoothing left in": loss_mutant(_smoothed),
    "half precision inside": loss_mutant(lambda g, x, y: _gradient(x.astype(jnp.float16), y).astype(x.dtype)),
    "targets left out": loss_mutant(lambda g, x, y: jax.nn.softmax(x) / x.shape[0]),
    "probabilities left out": loss_mutant(lambda g, x, y: -_one_hot(x, y) / x.shape[0]),
    "last class left out": loss_mutant(lambda g, x, y: g.at[:, -1].set(0)),
    "first classes left out": loss_mutant(lambda g, x, y: g.at[:, :3].set(0)),
    "clipped": loss_mutant(lambda g, x, y: jnp.clip(g, -0.1 / x.shape[0], 0.1 / x.shape[0])),
    "rounded to a grid": loss_mutant(lambda g, x, y: jnp.round(g * (x.size * 10)) / (x.size * 10)),
    "a constant added": loss_mutant(lambda g, x, y: g + jnp.max(jnp.abs(g)) * 1e-3),
    "noise of 1 %": loss_mutant(lambda g, x, y: g * _noise(x)),
    "softmax of a wrong maximum": loss_mutant(
        lambda g, x, y: jax.nn.softmax(x, axis=None) - _one_hot(x, y) / x.shape[0]
    ),
    "wrong where x > 0.5": loss_mutant(lambda g, x, y: jnp.where(x > 0.5, 1.2 * g, g)),
    "wrong in its own dtype only": _only_in_own,
    "cotangent ignored": loss_rule(lambda x, y, c: _gradient(x, y) * jnp.ones_like(c)),
    "cotangent squared": loss_rule(lambda x, y, c: c * c * _gradient(x, y)),
    "cotangent's magnitude": loss_rule(lambda x, y, c: jnp.abs(c) * _gradient(x, y)),
    "cotangent clipped at 2": loss_rule(lambda x, y, c: jnp.clip(c, -2, 2) * _gradient(x, y)),
    "leaves exchanged": _swapped,
    "targets' gradient forgotten": _forgotten_targets,
    "another value under differentiation": _other_value,
    "soft cap without its slope": plain(lambda x, y: cross_entropy(_cap_without_slope(x), y)),
    "stop_gradient left in": plain(_stopped),
    "z-loss without its factor 2": plain(_z_loss),
    "temperature left out": plain(lambda x, y: cross_entropy(with_jvp(lambda x: x / 2, lambda x, t: t)(x), y)),
    "wrong in one branch": plain(_branch),
    "a loop that forgets one step": plain(_scan_rows),
    "second derivative zero": plain(_second_only),
    "second derivative 1 % off": plain(_second_scaled),
    "elementwise zero, forward": elementwise(lambda x, t: 0 * t, forward=True),
    "elementwise zero, reverse": elementwise(lambda x, c: 0 * c, forward=False),
    "elementwise 0.1 % off": elementwise(lambda x, t: 1.001 * jnp.cos(x) * t, forward=True),
    "elementwise, one output wrong": elementwise(_seventeenth(1.01), forward=True, index=(17,)),
    "elementwise, one output flipped, reverse": elementwise(_seventeenth(-1.0), forward=False, index=(17,)),
    "elementwise, wrong sign where x < 0": elementwise(
        lambda x, t: jnp.cos(jnp.abs(x)) * jnp.sign(x) * t, forward=True
    ),
}
