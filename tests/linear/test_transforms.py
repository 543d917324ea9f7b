"""vmap, checkpoint, every derivative mode with differentiation="any", and the absence of [N, V] from all of them."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import core

from jaxinfo.linear import linear_kl_divergence, linear_softmax_cross_entropy, linear_token_statistics
from jaxinfo.linear._reference import reference

from .cases import COTANGENT, HIDDEN, KERNEL, LABELS, TARGETS, D, N, V, assert_close

RANDOM = np.random.default_rng(5)
T_HIDDEN, T_KERNEL = jnp.asarray(RANDOM.standard_normal((N, D))), jnp.asarray(RANDOM.standard_normal((D, V)))
Loss = Callable[[jax.Array, jax.Array], jax.Array]


def fused(hidden: jax.Array, kernel: jax.Array, mode: str = "any") -> jax.Array:
    losses = linear_softmax_cross_entropy(
        hidden, kernel, LABELS, label_smoothing=0.1, z_loss=0.01, block_size=8, differentiation=mode
    )
    return jnp.sum(losses * COTANGENT)


def fused_distribution(hidden: jax.Array, kernel: jax.Array) -> jax.Array:
    how: dict[str, Any] = {"block_size": 8, "differentiation": "any"}
    return jnp.sum(linear_softmax_cross_entropy(hidden, kernel, TARGETS, **how) * COTANGENT)


def whole(hidden: jax.Array, kernel: jax.Array) -> jax.Array:
    return jnp.sum(reference(hidden, kernel, LABELS, label_smoothing=0.1, z_loss=0.01) * COTANGENT)


def whole_distribution(hidden: jax.Array, kernel: jax.Array) -> jax.Array:
    return jnp.sum(reference(hidden, kernel, TARGETS) * COTANGENT)


def every_mode(f: Loss) -> tuple[Any, ...]:
    """Return forward mode, two kinds of Hessian-vector products and vmap of grad."""
    primals, tangents = (HIDDEN, KERNEL), (T_HIDDEN, T_KERNEL)
    slope = jax.grad(f, (0, 1))

    def along(h: jax.Array, k: jax.Array) -> jax.Array:
        return sum(jnp.vdot(g, t) for g, t in zip(slope(h, k), tangents, strict=True))  # type: ignore[return-value]

    many = jnp.stack([HIDDEN, T_HIDDEN])
    return (
        jax.jvp(f, primals, tangents),
        jax.jvp(slope, primals, tangents),
        jax.grad(along, (0, 1))(*primals),
        jax.vmap(jax.checkpoint(slope), (0, None))(many, KERNEL),
    )


@pytest.mark.parametrize(
    ("ours", "theirs"), [(fused, whole), (fused_distribution, whole_distribution)], ids=["labels", "distribution"]
)
def test_every_mode(ours: Loss, theirs: Loss) -> None:
    assert_close(jax.jit(lambda: every_mode(ours))(), jax.jit(lambda: every_mode(theirs))())


@pytest.mark.parametrize("how", [{}, {"reduction": "sum", "strategy": "token"}], ids=["each", "tokens"])
def test_second_derivatives_of_reverse_are_right_for_labels(how: dict[str, Any]) -> None:
    bias = jnp.where(jnp.arange(V) % 5 == 2, -jnp.inf, 0.5)
    labels = jnp.where(LABELS % 5 == 2, LABELS + 1, LABELS)

    def loss(hidden: jax.Array, how: dict[str, Any]) -> jax.Array:
        losses = linear_softmax_cross_entropy(hidden, KERNEL, labels, bias=bias, soft_cap=5.0, block_size=8, **how)
        return jnp.sum(losses)

    f, g = (jax.grad(lambda h, how=how: loss(h, how)) for how in (how, {"differentiation": "any"}))
    for push in (lambda f: jax.jvp(f, (HIDDEN,), (T_HIDDEN,))[1], lambda f: jax.vjp(f, HIDDEN)[1](T_HIDDEN)[0]):
        assert_close(push(f), push(g))


def test_second_derivatives_of_reverse_are_refused_for_others() -> None:
    losses: list[Callable[[jax.Array], jax.Array]] = [
        lambda h: jnp.sum(linear_softmax_cross_entropy(h, KERNEL, TARGETS)),
        lambda h: linear_softmax_cross_entropy(h, KERNEL, TARGETS, reduction="sum", strategy="token"),
        lambda h: jnp.sum(linear_token_statistics(h, KERNEL, LABELS).entropy),
        lambda h: jnp.sum(linear_kl_divergence(h, KERNEL, 2 * h, KERNEL)),
    ]
    for f in losses:
        push = [
            lambda: jax.jvp(jax.grad(f), (HIDDEN,), (T_HIDDEN,)),  # noqa: B023
            lambda: jax.grad(lambda h: jnp.sum(jax.grad(f)(h)))(HIDDEN),  # noqa: B023
        ]
        for second in push:
            with pytest.raises(TypeError, match=r'`differentiation` must be "any" for .* second derivatives'):
                second()
        fixed = jax.grad(lambda h: f(h - jax.lax.stop_gradient(jax.grad(f)(h))))(HIDDEN)  # noqa: B023
        assert bool(jnp.all(jnp.isfinite(fixed)))


def test_forward_mode_of_reverse_names_the_alternative() -> None:
    with pytest.raises(TypeError, match='`differentiation` must be "any"'):
        jax.jvp(lambda h: fused(h, KERNEL, "reverse"), (HIDDEN,), (T_HIDDEN,))


def shapes(jaxpr: Any) -> Iterator[tuple[int, ...]]:
    """Yield the shape of every value in a jaxpr and in those inside it."""
    for equation in jaxpr.eqns:
        yield from (v.aval.shape for v in equation.outvars)
        for inner in core.jaxprs_in_params(equation.params) if hasattr(core, "jaxprs_in_params") else _inner(equation):
            yield from shapes(inner)


def _inner(equation: Any) -> Iterator[Any]:
    for value in equation.params.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            part = getattr(part, "jaxpr", part)
            if hasattr(part, "eqns"):
                yield part


def assert_never_whole(f: Callable[..., Any], *args: Any, tokens: int, classes: int) -> None:
    """Check that no value is as large as [N, V], in the program as traced."""
    found = {s for s in shapes(jax.make_jaxpr(f)(*args).jaxpr) if tokens in s and np.prod(s) >= tokens * classes}
    assert not found, f"holds {sorted(found)}"


def test_nothing_is_n_by_v() -> None:
    n, d, v = 64, 4, 1000
    hidden, kernel, labels = jnp.ones((n, d)), jnp.ones((d, v)), jnp.zeros(n, jnp.int32)

    def loss(h: jax.Array, k: jax.Array, mode: str, reduction: str = "none") -> jax.Array:
        how: dict[str, Any] = {"block_size": 100, "differentiation": mode, "reduction": reduction}
        return jnp.sum(linear_softmax_cross_entropy(h, k, labels, **how))

    def product(h: jax.Array, k: jax.Array) -> Any:
        return jax.jvp(jax.grad(lambda h, k: loss(h, k, "any"), (0, 1)), (h, k), (h, k))

    def divergence(h: jax.Array, k: jax.Array) -> jax.Array:
        return jnp.sum(linear_kl_divergence(h, k, 2 * h, k, block_size=100))

    programs: list[Callable[..., Any]] = [
        jax.grad(lambda h, k: loss(h, k, "reverse"), (0, 1)),
        jax.grad(lambda h, k: loss(h, k, "reverse", "mean"), (0, 1)),
        jax.grad(lambda h, k: loss(h, k, "any"), (0, 1)),
        product,
        jax.grad(divergence, (0, 1)),
    ]
    for program in programs:
        assert_never_whole(program, hidden, kernel, tokens=n, classes=v)
    with pytest.raises(AssertionError, match="holds"):
        assert_never_whole(jax.grad(lambda h: jnp.sum(reference(h, kernel, labels))), hidden, tokens=n, classes=v)


@pytest.mark.parametrize(("mode", "reduction"), [("reverse", "none"), ("reverse", "mean"), ("any", "none")])
def test_compiled_temporaries_do_not_grow_with_n_by_v(mode: str, reduction: str) -> None:
    d = 8

    def bytes_of(n: int, v: int) -> int:
        def loss(h: jax.Array, k: jax.Array, y: jax.Array) -> jax.Array:
            how: dict[str, Any] = {"block_size": 128, "differentiation": mode, "reduction": reduction}
            return jnp.sum(linear_softmax_cross_entropy(h, k, y, **how))

        arrays = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((n, d), (d, v))]
        labels = jax.ShapeDtypeStruct((n,), jnp.int32)
        memory: Any = jax.jit(jax.grad(loss, (0, 1))).lower(*arrays, labels).compile().memory_analysis()
        return int(memory.temp_size_in_bytes)

    n, v = 2048, 16384
    assert bytes_of(n, v) < 0.1 * 2 * n * v * 4, "of dense, which holds logits and their gradient"
    kernel = 4 * d * v
    assert bytes_of(n, 2 * v) - bytes_of(n, v) <= 4 * kernel + (512 * v * 4 if reduction == "mean" else 0)
