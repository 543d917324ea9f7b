"""renyi_divergence against mpmath: every order, the limits 0, 1 and infinity, missing classes, all derivative modes."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinfo import kl_divergence
from jaxinfo._renyi import renyi_divergence

from .oracle import mp
from .pairs import EDGES, ILLEGAL, assert_modes, oracle, pairs, table
from .tolerance import FLOATS, assert_close, assert_normwise

ORDERS = [0.5, 1.0, 2.0, 1 + 1e-5, 0.999, 4.0, 1e-3]
APART = ("absent from q", "absent from each", "nothing in common", "q a point", "q a point, p spread")
OVERLAPPING = [n for n in EDGES if n not in APART]


def formula(order: Any) -> Any:
    """Return the definition as a function of probabilities."""
    alpha = mp.mpf(order)

    def renyi(p: Any, q: Any) -> Any:
        both = [(x, y) for x, y in zip(p, q, strict=True) if x]
        if any(y == 0 for _, y in both) and alpha >= 1:
            return mp.inf
        if alpha == mp.inf:
            return max(mp.log(x / y) for x, y in both)
        if alpha == 1:
            return mp.fsum(x * mp.log(x / y) for x, y in both)
        total = mp.fsum(x**alpha * y ** (1 - alpha) for x, y in both if y)
        return mp.log(total) / (alpha - 1) if total else mp.inf

    return renyi


value_and_slopes = jax.jit(jax.value_and_grad(renyi_divergence, (0, 1, 2)))


@FLOATS
def test_precision_of_value_and_slopes(dtype: Any) -> None:
    names, first, second = pairs(dtype)
    orders = np.asarray([ORDERS[n % len(ORDERS)] for n in np.random.default_rng(3).permutation(len(names))], dtype)
    values, (to_p, to_q, to_order) = jax.vmap(value_and_slopes)(first, second, orders)
    for n, (name, a, b) in enumerate(zip(names, first, second, strict=True)):
        order = float(orders[n])
        truth = oracle(formula(order), a, b)
        what = f"{name}, order {order}"
        k = 64 if "by 5" in name else 16
        assert_close(values[n], [truth.value], lambda _, k=k: k, dtype=dtype, what=f"{what}, value")
        assert_normwise(to_p[n], truth.to_p, 32, dtype=dtype, what=f"{what}, to p")
        assert_normwise(to_q[n], truth.to_q, 32, dtype=dtype, what=f"{what}, to q")
        h = mp.mpf(10) ** -15
        up, down = (oracle(formula(mp.mpf(order) + s * h), a, b, slopes=False).value for s in (1, -1))
        assert_close(to_order[n], [(up - down) / (2 * h)], lambda _: 64, dtype=dtype, what=f"{what}, to the order")


@FLOATS
@pytest.mark.parametrize("order", [0.5, 2.0])
def test_table_in_every_mode(dtype: Any, order: float) -> None:
    results = table(renyi_divergence, dtype, order)
    for name in EDGES if order < 1 else OVERLAPPING:
        a, b = (np.asarray(x, dtype) for x in EDGES[name])
        if name == "nothing in common":
            assert results[name][0] == jnp.inf
            assert not any(part.any() for part in results[name][1:])
            continue
        assert_modes(results[name], oracle(formula(order), a, b, bend=True), f"{name}, order {order}")


@pytest.mark.parametrize("dtype", [jnp.float32])
def test_order_one_is_kl_in_every_mode(dtype: Any) -> None:
    ours, theirs = table(renyi_divergence, dtype, 1.0), table(kl_divergence, dtype)
    for name in EDGES:
        for mode, one, other in zip(("value", "reverse", "forward", "Hessian"), ours[name], theirs[name], strict=True):
            tolerance = 64 * float(jnp.finfo(dtype).eps)
            np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance, err_msg=f"{name}, {mode}")


@FLOATS
@pytest.mark.parametrize("order", [0.0, jnp.inf])
def test_limits(dtype: Any, order: float) -> None:
    for name, (first, second) in EDGES.items():
        a, b = (np.asarray(x, dtype) for x in (first, second))
        value, (to_p, to_q, to_order) = value_and_slopes(jnp.asarray(a), jnp.asarray(b), jnp.asarray(order, dtype))
        truth = oracle(formula(order), a, b)
        want = truth.value if truth.value > 1e-25 else 0  # the digits of the oracle end here
        assert_close(value, [want], lambda _: 32, dtype=dtype, what=f"{name}, order {order}")
        assert np.isfinite([*to_p, *to_q, to_order]).all(), name
        if mp.isfinite(truth.value) and "equal" not in name:  # there all classes share the largest ratio: a kink
            for got, want in ((to_p, truth.to_p), (to_q, truth.to_q)):
                assert_normwise(got, [w if abs(w) > 1e-25 else 0 for w in want], 64, dtype=dtype, what=name)


@FLOATS
def test_second_derivatives_with_the_order(dtype: Any) -> None:
    a, b = (jnp.asarray(x, dtype) for x in EDGES["ordinary"])
    h = mp.mpf(10) ** -15
    mixed = jax.jit(jax.jacfwd(jax.grad(renyi_divergence, (0, 1)), 2))
    bend = jax.jit(jax.grad(jax.grad(renyi_divergence, 2), 2))
    for order in (0.5, 1.0, 3.0):
        up, at, down = (oracle(formula(mp.mpf(order) + s * h), a, b) for s in (1, 0, -1))
        got_p, got_q = mixed(a, b, jnp.asarray(order, dtype))
        want_p = [(x - y) / (2 * h) for x, y in zip(up.to_p, down.to_p, strict=True)]
        want_q = [(x - y) / (2 * h) for x, y in zip(up.to_q, down.to_q, strict=True)]
        assert_normwise(got_p, want_p, 1024, dtype=dtype, what=f"order {order}, mixed with p")
        assert_normwise(got_q, want_q, 1024, dtype=dtype, what=f"order {order}, mixed with q")
        want = (up.value - 2 * at.value + down.value) / h**2
        assert_close(bend(a, b, jnp.asarray(order, dtype)), [want], lambda _: 256, dtype=dtype, what=f"order {order}")


@FLOATS
def test_infinite_rows_have_finite_slopes(dtype: Any) -> None:
    a, b = (jnp.asarray(x, dtype) for x in EDGES["absent from q"])
    p, q = jax.nn.softmax(a), jax.nn.softmax(b)
    for order, r in ((1.0, p), (2.0, jnp.asarray([0, 0, 1, 0], dtype)), (jnp.inf, jnp.asarray([0, 0, 1, 0], dtype))):
        value, (to_p, to_q, to_order) = value_and_slopes(a, b, jnp.asarray(order, dtype))
        assert value == jnp.inf
        assert to_order == 0
        assert not to_p.any()
        np.testing.assert_allclose(to_q, q - r, atol=1e-6)


@FLOATS
def test_no_distribution_is_nan_in_value_and_slope(dtype: Any) -> None:
    for name, row in ILLEGAL.items():
        a, b = (jnp.asarray(x, dtype) for x in row)
        for order in (0.5, 1.0, 2.0, jnp.inf):
            value, slopes = value_and_slopes(a, b, jnp.asarray(order, dtype))
            assert np.isnan(value), name
            assert np.isnan([*slopes[0], *slopes[1]]).all(), name
    a, b = (jnp.asarray(x, dtype) for x in EDGES["ordinary"])
    assert np.isnan(value_and_slopes(a, b, jnp.asarray(-0.5, dtype))[0])


@FLOATS
def test_debug_nans_is_silent_on_legal_rows(dtype: Any) -> None:
    with jax.debug_nans(True):
        for row in EDGES.values():
            for order in (0.0, 0.5, 1.0, 2.0, jnp.inf):
                value_and_slopes(*(jnp.asarray(x, dtype) for x in row), jnp.asarray(order, dtype))


@FLOATS
def test_never_negative_rises_with_the_order_and_shifts_leave_nothing(dtype: Any) -> None:
    rng = np.random.default_rng(1)
    a = jnp.asarray(np.round(rng.normal(size=(500, 6)) * 8) / 4, dtype)
    b = jnp.asarray(rng.normal(size=(500, 6)) * 20, dtype)
    f = jax.jit(renyi_divergence)
    below = np.zeros(500)
    for order in (0.0, 1e-4, 0.5, 1.0, 2.0, 30.0, 1e4, jnp.inf):
        values = np.asarray(f(a, b, jnp.asarray(order, dtype)), np.float64)
        assert (values >= below * (1 - 64 * float(jnp.finfo(dtype).eps))).all(), order
        assert not np.asarray(f(a, a + 8, jnp.asarray(order, dtype))).any(), order
        below = values


def test_where_axes_and_batches() -> None:
    rng = np.random.default_rng(2)
    a, b = (jnp.asarray(rng.normal(size=(3, 5))) for _ in range(2))
    inside = jnp.asarray(rng.random((3, 5)) < 0.7).at[1].set(False)
    wild = jnp.where(inside, a, jnp.nan)
    value, slope = jax.jit(jax.value_and_grad(lambda a: renyi_divergence(a, b, 2.0, where=inside).sum()))(wild)
    cut = [jnp.where(inside, x, -jnp.inf) for x in (a, b)]
    f = jax.jit(partial(renyi_divergence, order=2.0))
    np.testing.assert_allclose(value, f(*cut)[jnp.asarray([0, 2])].sum(), rtol=1e-14)
    assert not np.asarray(slope)[~np.asarray(inside)].any()
    rows = f(a, b)
    with jax.debug_nans(True):
        eager = renyi_divergence(a, b, 2.0)
    turned = jax.jit(partial(renyi_divergence, order=2.0, axis=0))(a.T, b.T)
    for other in (eager, turned, jax.jit(jax.vmap(lambda a, b: renyi_divergence(a, b, 2.0)))(a, b)):
        np.testing.assert_allclose(other, rows, rtol=1e-14)


def test_dtypes() -> None:
    a, b = jnp.asarray([0.5, 1.0], jnp.bfloat16), jnp.asarray([0.25, 2.0], jnp.float16)
    value, slope = jax.jit(jax.value_and_grad(partial(renyi_divergence, order=0.5)))(a, b)
    assert value.dtype == jnp.float32
    assert slope.dtype == jnp.bfloat16
    shape = jax.eval_shape(partial(renyi_divergence, order=0.5), a, b.astype(jnp.float64))
    assert shape.dtype == jnp.float64


@pytest.mark.usefixtures("own_errors")
def test_errors() -> None:
    x = jnp.zeros(3)
    with pytest.raises(ValueError, match=r"`order` must be a non-negative number, got -1"):
        renyi_divergence(x, x, -1.0)
    with pytest.raises(TypeError, match="`order`"):
        renyi_divergence(x, x, "two")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`order` must be a number or a scalar array"):
        renyi_divergence(x, x, jnp.ones(3))
    with pytest.raises(ValueError, match="`q` must have shape"):
        renyi_divergence(x, x[None], 2.0)
