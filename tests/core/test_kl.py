"""kl_divergence against mpmath: far apart to nearly equal, rare classes, shifts, masks, underflow; both gradients."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinfo
from jaxinfo import _kl
from jaxinfo._classes import Classes
from jaxinfo._kl_rows import kl_rows

from . import oracle
from .tolerance import FLOATS, assert_close, assert_normwise, floats

CLOSENESS = [30.0, 5.0, 1.0, 0.3, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6]


@jax.jit
def value_and_slopes(
    a: jax.Array, b: jax.Array, where: jax.Array | None = None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    value, pull = jax.vjp(lambda a, b: jaxinfo.kl_divergence(a, b, where=where), a, b)
    return value, *pull(jnp.ones_like(value))


@jax.jit
def with_care(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The form of accelerators, which CPUs take for the rows that arithmetic alone does not serve."""
    value, slopes = _kl._with_care(a, b, Classes(-1), (0, 1))
    return value[:, 0], slopes[0], slopes[1]


def check(a: np.ndarray, b: np.ndarray, dtype: Any, what: str, k: float = 16) -> None:
    """Check each row's value and its two gradients, on the numbers as the dtype holds them."""
    p, q = jnp.asarray(a).astype(dtype), jnp.asarray(b).astype(dtype)
    forms = {"": value_and_slopes(p, q), ", with care": with_care(p, q)}
    for n in range(len(a)):
        value, want_p, want_q = oracle.kl(floats(p[n]), floats(q[n]))
        for form, (values, to_p, to_q) in forms.items():
            name = f"{what}, row {n}{form}"
            assert_close(values[n], [value], lambda _: k, dtype=values.dtype, what=f"{name}, value")
            assert_normwise(to_p[n], want_p, 32, dtype=dtype, what=f"{name}, gradient to p")
            assert_normwise(to_q[n], want_q, 32, dtype=dtype, what=f"{name}, gradient to q")


@FLOATS
@pytest.mark.parametrize("classes", [2, 5, 100, pytest.param(1000, marks=pytest.mark.slow)])
def test_from_far_apart_to_nearly_equal(dtype: Any, classes: int) -> None:
    random = np.random.default_rng(classes)
    a = 2 * random.standard_normal((len(CLOSENESS), classes))
    noise = random.standard_normal(a.shape)
    b = a + np.asarray(CLOSENESS)[:, None] * noise
    check(a, b, dtype, f"V {classes}")
    if classes <= 100:
        check(a + 64, b + 64, dtype, f"V {classes}, common offset")
        check(a, b - 1000, dtype, f"V {classes}, q shifted")


@FLOATS
@pytest.mark.parametrize("shift", [1.5, -1.5, 12.0, -12.0, -40.0])
def test_one_rare_class_differs_and_the_rest_hardly(dtype: Any, shift: float) -> None:
    random = np.random.default_rng(3)
    for rarity in (5.0, 10.0, 15.0, 25.0):
        a = random.standard_normal((3, 20))
        a[:, 4] -= rarity
        b = a + np.asarray([1e-3, 1e-5, 1e-6])[:, None] * random.standard_normal(a.shape)
        b[:, 4] += shift
        check(a, b, dtype, f"rarity {rarity}, shift {shift}")


@FLOATS
def test_a_rare_class_is_lost_and_the_rest_hardly_moves(dtype: Any) -> None:
    # most of the mass changes by the little that the rare class had, beside a mean that its fall makes large
    random = np.random.default_rng(4)
    for rarity in (2.0, 5.0, 10.0):
        a = random.standard_normal((4, 8))
        a[:, 0] = -rarity
        b = a + 1e-4 * random.standard_normal(a.shape)
        b[:, 0] -= [10, 30, 60, 80]
        check(a, b, dtype, f"rarity {rarity}")


@FLOATS
def test_confident_rows(dtype: Any) -> None:
    rows = [
        ([0, -10, -12], [0, -10.5, -12]), ([0, -20, -50], [0, -40, -50]), ([0, -40, -45], [0, -20, -45]),
        ([0, -60, -62], [0, -61, -60]), ([0, -30, -30], [-30, 0, -30]), ([0, -5, -70], [0, -5, -80]),
        ([0, -30, -31], [0, -30.001, -31]),
    ]  # fmt: skip
    a, b = np.asarray(rows, float).transpose(1, 0, 2)
    check(a, b, dtype, "confident")


@FLOATS
def test_classes_fall_and_rise_by_tens(dtype: Any) -> None:
    # alike elsewhere, or all apart; shifted; from rows that arithmetic alone serves to such that need more
    random = np.random.default_rng(11)
    a = random.standard_normal((60, 6)) * random.choice([0.1, 1, 5], (60, 1))
    b = a + random.standard_normal(a.shape) * 10.0 ** random.integers(-6, 2, (60, 1)) + random.choice([0, 30], (60, 1))
    fallen = random.random(a.shape) < random.random((60, 1))
    a -= fallen * random.uniform(20, 75, a.shape)
    b = np.where(fallen, a + random.choice([0, 1, -1], a.shape) * random.uniform(0, 75, a.shape), b)
    with oracle.mp.workdps(200):
        check(a, b, dtype, "fallen")


@FLOATS
def test_leaders_alike_and_apart(dtype: Any) -> None:
    # what training makes: one class leads by 40 to 65 in both, by less in q, or another one leads there
    random = np.random.default_rng(12)
    a, b = random.standard_normal((2, 8, 50))
    a[:, 3] += random.uniform(40, 65, 8)
    b[np.arange(8), [3, 3, 3, 3, 7, 7, 7, 7]] += random.uniform(40, 65, 8)
    with oracle.mp.workdps(200):
        check(a, b, dtype, "leaders")
    assert jnp.all(kl_rows(jnp.asarray(a).astype(dtype), jnp.asarray(b).astype(dtype), Classes(-1)).valid)


@FLOATS
def test_probabilities_that_underflow(dtype: Any) -> None:
    rows = [
        ([0, 1, -200, -1], [0, 1, 0, -1]), ([0, 1, -200, -1], [0.5, 1, 3, -1]), ([0, 1, -2000, -1], [0, 1, 500, -1]),
        ([0, 1, 2, -1], [0, 1, -200, -1]), ([0, 1, -90, -1], [0, 1.001, -90, -1]), ([0, -95, -1, 0], [0, -5, -1, 0]),
        ([0, 1, -90, -1], [0, 1, -65, -1]), ([0, 3, -750, -1], [0, 3, -700, -1]),
        ([0, -800, -1, 0], [0, -760, -1, 0]), ([1e4, 0, -1e4, 5], [0, 1e4, 3, -1e4]),
    ]  # fmt: skip
    a, b = np.asarray(rows, float).transpose(1, 0, 2)
    with oracle.mp.workdps(1000):  # differences of probabilities as small as exp(-2000) count
        check(a, b, dtype, "underflow")


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16], ids=["bfloat16", "float16"])
def test_half_precision_logits_are_computed_in_float32(dtype: Any) -> None:
    random = np.random.default_rng(5)
    a = 2 * random.standard_normal((4, 50))
    b = a + np.asarray([3.0, 0.3, 0.05, 0.0])[:, None] * random.standard_normal(a.shape)
    p, q = jnp.asarray(a).astype(dtype), jnp.asarray(b).astype(dtype)
    values, to_p, to_q = value_and_slopes(p, q)
    assert values.dtype == jnp.float32
    assert to_p.dtype == to_q.dtype == dtype
    for n in range(4):
        assert_close(
            values[n], [oracle.kl(floats(p[n]), floats(q[n]))[0]], lambda _: 16, dtype=jnp.float32, what=f"row {n}"
        )


@FLOATS
@pytest.mark.parametrize("shift", [1.0, -7.5, 100.0, 4096.0])
def test_a_pure_shift_is_exactly_zero(dtype: Any, shift: float) -> None:
    a = np.random.default_rng(6).integers(-300, 300, (5, 40)) / 64
    a[1, 3] = a[2, :20] = -np.inf
    a[3] *= 16
    for q in (a, a + shift):
        for out in value_and_slopes(jnp.asarray(a, dtype), jnp.asarray(q, dtype)):
            np.testing.assert_array_equal(np.asarray(out), 0)
    where = jnp.asarray(np.random.default_rng(7).random(a.shape) < 0.7)
    for out in value_and_slopes(jnp.asarray(a, dtype), jnp.asarray(a + shift, dtype), where):
        np.testing.assert_array_equal(np.asarray(out), 0)


@FLOATS
def test_never_negative(dtype: Any) -> None:
    random = np.random.default_rng(8)
    eps = float(jnp.finfo(dtype).eps)
    divergence = jax.jit(jaxinfo.kl_divergence)
    for size in (1.0, 1e-3, 1e-6, 4 * eps, eps):
        for scale in (0.1, 1.0, 10.0, 100.0):
            a = scale * random.standard_normal((300, 7))
            b = a * (1 + size * random.standard_normal(a.shape)) + random.standard_normal((300, 1))
            out = np.asarray(divergence(jnp.asarray(a, dtype), jnp.asarray(b, dtype)))
            assert (out >= 0).all(), f"size {size}, scale {scale}: {out.min()}"


@FLOATS
def test_gradients_below_the_closeness_of_the_value(dtype: Any) -> None:
    random = np.random.default_rng(9)
    a = np.asarray(random.standard_normal((6, 30)), np.dtype(dtype))
    b = a.copy()
    b[0, 3] = np.nextafter(b[0, 3], np.asarray(9, a.dtype))
    b[1, :5] = np.nextafter(b[1, :5], np.asarray(-9, a.dtype))
    b[2] = b[2] * (1 + np.asarray(4, a.dtype) * np.finfo(a.dtype).eps)
    b[3, 7] += np.asarray(1e-6, a.dtype)
    b[4, :] += np.asarray(1e-6 * random.standard_normal(30), a.dtype)
    check(a, b, dtype, "a few last places apart")


@FLOATS
def test_masks_are_the_smaller_problem(dtype: Any) -> None:
    random = np.random.default_rng(10)
    a, b = random.standard_normal((2, 3, 12))
    keep = np.zeros(12, bool)
    keep[[0, 2, 3, 7, 11]] = True
    p, q = jnp.asarray(a, dtype), jnp.asarray(b, dtype)
    where = jnp.asarray(keep)
    value, to_p, to_q = value_and_slopes(p.at[:, 1].set(jnp.nan), q, where)
    for n in range(3):
        want, want_p, want_q = oracle.kl(floats(p[n, keep]), floats(q[n, keep]))
        assert_close(value[n], [want], lambda _: 16, dtype=dtype, what=f"row {n}")
        assert_normwise(to_p[n, keep], want_p, 32, dtype=dtype, what=f"row {n}, to p")
        assert_normwise(to_q[n, keep], want_q, 32, dtype=dtype, what=f"row {n}, to q")
    np.testing.assert_array_equal(np.asarray(to_p[:, ~keep]), 0)
    np.testing.assert_array_equal(np.asarray(to_q[:, ~keep]), 0)
