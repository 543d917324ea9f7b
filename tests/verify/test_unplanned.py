"""Functions that no bank has: wrong rules that hide well, and right ones that look wrong."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinfo.verify import Verdict, check_gradients

X = jnp.asarray([0.5, -1.25, 2.0, 0.75], jnp.float32)


def with_rule(value: Callable[..., Any], rule: Callable[..., Any]) -> Callable[..., Any]:
    """Return `value` with `rule(cotangent, *args)` as its reverse rule."""
    wrapped = jax.custom_vjp(lambda *args: value(*args))
    wrapped.defvjp(lambda *args: (value(*args), args), lambda args, c: tuple(rule(c, *args)))
    return wrapped


def cubes(x: jax.Array) -> jax.Array:
    return jnp.sum(x**3)


@jax.custom_batching.custom_vmap
def cosine(x: jax.Array) -> jax.Array:
    return jnp.cos(x)


@cosine.def_vmap
def _(size: int, batched: list[bool], x: jax.Array) -> tuple[jax.Array, bool]:
    del size
    return 1.05 * jnp.cos(x), batched[0]


sine = jax.custom_jvp(lambda x: jnp.sin(x))
sine.defjvp(lambda xs, ts: (jnp.sin(xs[0]), cosine(xs[0]) * ts[0]))


@jax.custom_batching.custom_vmap
def pulled(c: jax.Array, x: jax.Array) -> jax.Array:
    return c * jnp.cos(x)


@pulled.def_vmap
def _(size: int, batched: list[bool], c: jax.Array, x: jax.Array) -> tuple[jax.Array, bool]:
    if batched[1]:
        return c * jnp.cos(x), True
    return 1.05 * c * jnp.cos(x[None].repeat(size, 0)), True


def small_and_large(t: dict[str, jax.Array]) -> jax.Array:
    return 1e6 * jnp.sum(t["a"] ** 2) + 1e-3 * jnp.sum(t["b"] ** 3)


WRONG: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "small cotangents half as large again": (
        with_rule(cubes, lambda c, x: (3 * c * x**2 * (1 + 0.5 * (jnp.abs(c) < 0.5)),)), (X,)
    ),
    "cotangents above 10 capped": (with_rule(cubes, lambda c, x: (3 * x**2 * jnp.minimum(c, 10.0),)), (X,)),
    "wrong under vmap only": (sine, (X,)),
    "wrong in a Jacobian only": (with_rule(jnp.sin, lambda c, x: (pulled(c, x),)), (X,)),
    "a transposition": (
        with_rule(lambda a, b: a @ b, lambda c, a, b: (c @ b, a.T @ c)), (jnp.outer(X, X**2), jnp.outer(X**3, X) + 1)
    ),
    "a broadcast summed along the wrong axis": (
        with_rule(lambda x, b: x + b[None], lambda c, x, b: (c, c.sum(1))), (jnp.outer(X, X), X)
    ),
    "the second output forgotten": (
        with_rule(lambda x: (jnp.sin(x), 1e-6 * x**3), lambda c, x: (c[0] * jnp.cos(x),)), (X,)
    ),
    "a leaf with a small gradient": (
        with_rule(small_and_large, lambda c, t: ({"a": 2e6 * c * t["a"], "b": 3.3e-3 * c * t["b"] ** 2},)),
        ({"a": X, "b": X[::-1]},),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong(name: str, as_user: None) -> None:
    f, args = WRONG[name]
    report = check_gradients(f, *args, order=1)
    assert report.verdict is Verdict.WRONG, str(report)


def shared_rate(x: jax.Array) -> jax.Array:
    return jnp.tanh(x)


forward_only = jax.custom_jvp(shared_rate)
forward_only.defjvp(lambda xs, ts: (jnp.tanh(xs[0]), ts[0] * (1 - xs[0])))


@pytest.mark.parametrize(
    ("f", "args"),
    [
        (with_rule(lambda x: jnp.sum(x**2), lambda c, x: (c * x,)), (jnp.zeros(3, jnp.float32),)),
        (with_rule(cubes, lambda c, x: (3 * c * x,)), (jnp.ones(3, jnp.float32),)),
        (with_rule(lambda p, t: jnp.mean((p - t) ** 2), lambda c, p, t: (0 * c * p, 0 * c * t)), (X, X)),
        (forward_only, (jnp.zeros(3, jnp.float32),)),
    ],
    ids=["a factor at zeros", "a power at ones", "nothing at the target", "forward mode at zeros"],
)
def test_right_at_the_point_alone(f: Callable[..., Any], args: tuple[Any, ...], as_user: None) -> None:
    assert check_gradients(f, *args, order=1).verdict is Verdict.CORRECT
    report = check_gradients(f, *args)
    assert report.verdict is Verdict.WRONG, str(report)
    assert "the first is wrong beside this point" in str(report)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("f", "args"),
    [
        (jnp.sort, (jnp.asarray([1.0, 1.0, 2.0]),)),
        (lambda a, b: jax.nn.relu(a - b), (2.0, 2.0)),
        (lambda x: jnp.abs(x[0] - x[1]), (jnp.asarray([3.0, 3.0]),)),
    ],
    ids=["sort", "relu", "abs"],
)
def test_a_kink_at_a_tie_is_one_whatever_the_seed(f: Callable[..., Any], args: tuple[Any, ...], seed: int) -> None:
    report = check_gradients(f, *args, seed=seed)
    assert report.verdict is Verdict.NOT_DIFFERENTIABLE, str(report)


def newton_root(x: jax.Array, accuracy: float) -> jax.Array:
    """Return y with y^3 + y = x, by steps until they are small."""

    def step(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        y, _ = state
        change = (y**3 + y - x) / (3 * y**2 + 1)
        return y - change, change

    return jax.lax.while_loop(lambda s: jnp.abs(s[1]).max() > accuracy, step, (x, x))[0]


def test_a_derivative_solved_to_a_tolerance_has_that_tolerance() -> None:
    def rule(c: jax.Array, x: jax.Array) -> tuple[jax.Array]:
        return (c / (3 * newton_root(x, 1e-2) ** 2 + 1),)

    loose = with_rule(lambda x: newton_root(x, 1e-12), rule)
    x = X.astype(jnp.float64)
    report = check_gradients(loose, x, order=1)
    assert report.verdict is Verdict.WRONG, str(report)  # 1e-2: Newton squares it, to 1e-4
    tight = with_rule(lambda x: newton_root(x, 1e-12), lambda c, x: (c / (3 * newton_root(x, 1e-5) ** 2 + 1),))
    off = with_rule(lambda x: newton_root(x, 1e-12), lambda c, x: (rule(c, x)[0] * (1 + 1e-4),))
    assert check_gradients(tight, x, order=1).verdict is Verdict.CORRECT
    assert check_gradients(off, x, order=1).verdict is Verdict.WRONG


@pytest.mark.slow
def test_a_sample_by_rejection_has_no_slope_for_a_fixed_key(as_user: None) -> None:
    def sample(a: jax.Array) -> jax.Array:
        return jax.random.gamma(jax.random.key(0), a)

    report = check_gradients(sample, jnp.float32(0.5), order=1, modes=("forward",))
    assert report.verdict is Verdict.UNDECIDABLE, str(report)
    assert "implicit" in report.reason


def test_a_kink_much_nearer_than_the_arguments_are_large_is_beside_the_point(as_user: None) -> None:
    report = check_gradients(jax.nn.relu, jnp.array([1e-30, -1.0, 2.0]), order=1)
    assert report.verdict is Verdict.CORRECT, str(report)


def test_a_jump_is_no_rounding(as_user: None) -> None:
    report = check_gradients(jnp.sign, jnp.array([0.0, 1.0]), order=1)
    assert report.verdict is Verdict.NOT_DIFFERENTIABLE, str(report)


def test_an_empty_leaf_is_a_leaf(as_user: None) -> None:
    report = check_gradients(lambda x, e: (jnp.sum(x**2) + e.sum(), e), X, jnp.zeros((0, 3)), order=1)
    assert report.verdict is Verdict.CORRECT, str(report)


def test_second_derivative_along_symmetric_matrices(as_user: None) -> None:
    root = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3)), jnp.float32)
    spd = root @ root.T + jnp.eye(3)
    report = check_gradients(lambda a: jax.scipy.linalg.cho_factor(a)[0].diagonal(), spd)
    assert report.verdict is Verdict.CORRECT, str(report)


def test_a_second_derivative_that_raises_is_said_and_no_fault(as_user: None) -> None:
    @jax.custom_jvp
    def double(x: jax.Array) -> jax.Array:
        return 2 * x

    @double.defjvp
    def fails(xs: Any, ts: Any) -> Any:
        raise TypeError(f"no derivative of {len(xs)} argument and {len(ts)} tangent")

    report = check_gradients(with_rule(lambda x: jnp.sum(x**2), lambda c, x: (c * double(x),)), X)
    assert report.verdict is Verdict.CORRECT, str(report)
    assert any(row.status == "raises" for row in report.table)


def softmax(x: jax.Array) -> jax.Array:
    e = jnp.exp(x - jnp.max(x))
    return e / jnp.sum(e)


def off_by_a_thousandth(c: jax.Array, x: jax.Array) -> tuple[jax.Array]:
    y = softmax(x)
    return (y * (c - jnp.sum(y * c)) * jnp.asarray([1, 1, 1.001, 1], x.dtype),)


@pytest.mark.parametrize("masked", [-1e30, -1e15, float(np.finfo(np.float32).min)])
def test_masked_logits_take_steps_of_their_own(masked: float) -> None:
    x = jnp.asarray([0.5, 0.25, 1.5, masked], jnp.float32)
    assert check_gradients(jax.nn.softmax, x).verdict is Verdict.CORRECT
    assert check_gradients(with_rule(softmax, off_by_a_thousandth), x, order=1).verdict is Verdict.WRONG


@pytest.mark.parametrize(
    ("f", "x"), [(jnp.tanh, [0.5, 1e14]), (jnp.log1p, [-0.999999, 1e8]), (lambda x: 1 / x, [1e-12, 1.0])]
)
def test_elements_of_very_different_size(f: Callable[..., Any], x: list[float]) -> None:
    assert check_gradients(f, jnp.asarray(x, jnp.float32)).verdict is Verdict.CORRECT


def test_a_second_derivative_does_not_tell_that_the_first_was_resolved() -> None:
    wrong = with_rule(lambda x: jnp.sum(x**2) + 1e15, lambda c, x: (-2 * x * c,))
    assert check_gradients(wrong, X).verdict is Verdict.UNDECIDABLE


def test_conventions_beside_labels_and_complex_numbers() -> None:
    def loss(logits: jax.Array, labels: jax.Array, z: jax.Array) -> jax.Array:
        picked = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1)
        return jnp.sum(jnp.real(z * z)) - jnp.sum(picked) + jnp.sum(jax.scipy.special.entr(logits))

    args = jnp.asarray([[0.0, 0.25, 0.75]], jnp.float32), jnp.asarray([1]), jnp.asarray([1 + 2j], jnp.complex64)
    assert check_gradients(loss, *args).verdict is Verdict.NOT_DIFFERENTIABLE
    assert check_gradients(loss, *args, conventions=(args[0] == 0, False, False)).verdict is Verdict.CORRECT
    for bad in (True, (jnp.ones(5, bool), False, False)):
        with pytest.raises(ValueError, match="`conventions` must be a pytree like `args`"):
            check_gradients(loss, *args, conventions=bad)


def test_code_that_runs_in_bfloat16_alone_and_arrays_without_elements() -> None:
    def twice(x: jax.Array) -> jax.Array:
        bits = jax.lax.bitcast_convert_type(x, jnp.uint16)
        return 2 * x + (bits * 0).astype(x.dtype)

    assert check_gradients(twice, jnp.full(4, 0.25, jnp.bfloat16)).verdict is Verdict.CORRECT
    assert check_gradients(jnp.sum, jnp.zeros((0, 3))).verdict is Verdict.UNDECIDABLE


def test_a_batching_rule_that_fails_in_the_second_derivative_alone_is_a_row() -> None:
    f = jax.custom_jvp(lambda x: jnp.sin(x))
    f.defjvp(lambda xs, ts: (jnp.sin(xs[0]), jax.custom_batching.sequential_vmap(jnp.cos)(xs[0]) * ts[0]))
    report = check_gradients(f, X)
    assert report.verdict is Verdict.CORRECT
    assert "raises" in {row.status for row in report.table}
