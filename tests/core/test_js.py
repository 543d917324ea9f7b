"""js_divergence against mpmath: every weight, far apart to nearly equal, missing classes, all derivative modes."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinfo._js import js_divergence

from .oracle import mp
from .pairs import EDGES, ILLEGAL, assert_modes, exact, oracle, pairs, softmax, table
from .tolerance import FLOATS, assert_close, assert_normwise

WEIGHTS = [0.5, 0.1, 0.999]


def formula(w: float) -> Any:
    """Return the definition as a function of probabilities."""
    w = mp.mpf(w)

    def js(p: Any, q: Any) -> Any:
        m = [w * x + (1 - w) * y for x, y in zip(p, q, strict=True)]
        return w * _kl(p, m) + (1 - w) * _kl(q, m)

    return js


def _kl(p: Any, m: Any) -> Any:
    return mp.fsum(x * mp.log(x / y) if x else 0 for x, y in zip(p, m, strict=True))


@jax.jit
def value_and_slopes(a: jax.Array, b: jax.Array, w: jax.Array) -> Any:
    return jax.value_and_grad(lambda a, b, w: js_divergence(a, b, weight=w), (0, 1, 2))(a, b, w)


@FLOATS
def test_precision_of_value_and_slopes(dtype: Any) -> None:
    """The slope to the weight too: at w = 1/2 the two divergences agree to second order, their difference is third."""
    names, first, second = pairs(dtype)
    weights = np.asarray([WEIGHTS[n % 3] for n in range(len(names))], dtype)
    values, (to_p, to_q, to_w) = jax.vmap(value_and_slopes)(first, second, weights)
    for n, (name, a, b) in enumerate(zip(names, first, second, strict=True)):
        w = float(weights[n])
        truth = oracle(formula(w), a, b)
        k = 64 if "by 5" in name else 16
        assert_close(values[n], [truth.value], lambda _, k=k: k, dtype=dtype, what=f"{name}, w = {w}, value")
        assert_normwise(to_p[n], truth.to_p, 32, dtype=dtype, what=f"{name}, w = {w}, to p")
        assert_normwise(to_q[n], truth.to_q, 32, dtype=dtype, what=f"{name}, w = {w}, to q")
        p, q = softmax(exact(a)), softmax(exact(b))
        m = [mp.mpf(w) * x + (1 - mp.mpf(w)) * y for x, y in zip(p, q, strict=True)]
        slope = _kl(p, m) - _kl(q, m)
        size = sum(abs(math.log(y / x)) ** 3 * float(x + y) for x, y in zip(p, q, strict=True))
        allowed = 64 * float(jnp.finfo(dtype).eps) * (abs(slope) + min(size, 1))
        assert abs(mp.mpf(float(to_w[n])) - slope) <= allowed, f"{name}, w = {w}"


@FLOATS
@pytest.mark.parametrize("w", WEIGHTS[:2])
def test_table_in_every_mode(dtype: Any, w: float) -> None:
    w = float(np.asarray(w, dtype))
    results = table(lambda a, b: js_divergence(a, b, weight=w), dtype)
    for name, (a, b) in EDGES.items():
        truth = oracle(formula(w), np.asarray(a, dtype), np.asarray(b, dtype), bend=True)
        assert_modes(results[name], truth, f"{name}, w = {w}")


@FLOATS
def test_no_distribution_is_nan_in_value_and_slope(dtype: Any) -> None:
    for name, row in ILLEGAL.items():
        a, b = (jnp.asarray(x, dtype) for x in row)
        value, (to_p, to_q, to_w) = value_and_slopes(a, b, jnp.asarray(0.5, dtype))
        assert all(np.isnan(x).all() for x in (value, to_p, to_q, to_w)), name


@FLOATS
def test_debug_nans_is_silent_on_legal_rows(dtype: Any) -> None:
    with jax.debug_nans(True):
        for w in (0.5, 0.0, 1.0):
            for row in EDGES.values():
                value_and_slopes(*(jnp.asarray(x, dtype) for x in row), jnp.asarray(w, dtype))


@FLOATS
def test_bounds_and_shift(dtype: Any) -> None:
    rng = np.random.default_rng(1)
    a, b = (jnp.asarray(rng.normal(size=(2000, 6)) * 40, dtype) for _ in range(2))
    for w in (0.5, 0.3, 1e-3):
        h = -w * math.log(w) - (1 - w) * math.log1p(-w)
        value = np.asarray(jax.jit(partial(js_divergence, weight=w))(a, b), np.float64)
        assert (value >= 0).all()
        assert (value <= h).all()
        traced = np.asarray(jax.jit(js_divergence)(a, b, weight=jnp.asarray(w, dtype)), np.float64)
        assert (traced <= h).all()
        assert value.max() > h * (1 - 8 * float(jnp.finfo(dtype).eps))
    shifted = jnp.round(a * 4) / 4
    value, slopes = jax.jit(jax.value_and_grad(lambda a, b: js_divergence(a, b).sum(), (0, 1)))(shifted, shifted + 8)
    assert value == 0
    assert all((slope == 0).all() for slope in slopes)


@FLOATS
def test_weights_at_the_ends(dtype: Any) -> None:
    a, b = (jnp.asarray(x, dtype) for x in EDGES["ordinary"])
    p, q = softmax(exact(a)), softmax(exact(b))
    for w, slope in ((0.0, _kl(p, q)), (1.0, -_kl(q, p))):
        value, (to_p, to_q, to_w) = value_and_slopes(a, b, jnp.asarray(w, dtype))
        assert value == 0
        assert not to_p.any()
        assert not to_q.any()
        assert_close(to_w, [slope], lambda _: 32, dtype=dtype, what=f"slope at {w}")
    a, b = (jnp.asarray(x, dtype) for x in EDGES["absent from q"])
    assert value_and_slopes(a, b, jnp.asarray(0.0, dtype))[1][2] == jnp.inf
    assert np.isnan(value_and_slopes(a, b, jnp.asarray(1.5, dtype))[0])


@FLOATS
@pytest.mark.parametrize("w", [0.0, 1.0])
def test_weights_at_the_ends_of_distributions_far_apart(dtype: Any, w: float) -> None:
    far = 90.0 if dtype == jnp.float32 else 750.0
    a, b = jnp.asarray([0.0, far], dtype), jnp.asarray([far, 0.0], dtype)
    value, (to_p, to_q, to_w) = value_and_slopes(a, b, jnp.asarray(w, dtype))
    assert (value, to_w) == (0, -far if w else far)
    assert not (to_p.any())
    assert not (to_q.any())


@FLOATS
def test_mixed_derivative_with_the_weight(dtype: Any) -> None:
    a, b = (jnp.asarray(x, dtype) for x in EDGES["ordinary"])
    w, h = jnp.asarray(0.3, dtype), mp.mpf(10) ** -20
    mixed = jax.jit(jax.jacfwd(jax.grad(lambda a, w: js_divergence(a, b, weight=w)), 1))(a, w)
    bend = jax.jit(jax.grad(jax.grad(lambda w: js_divergence(a, b, weight=w))))(w)
    up, at, down = (oracle(formula(mp.mpf(float(w)) + k * h), a, b) for k in (1, 0, -1))
    want = [(x - y) / (2 * h) for x, y in zip(up[1], down[1], strict=True)]
    assert_normwise(mixed, want, 64, dtype=dtype, what="mixed")
    assert_close(bend, [(up[0] - 2 * at[0] + down[0]) / h**2], lambda _: 64, dtype=dtype, what="bend")


def test_where_axes_and_batches() -> None:
    rng = np.random.default_rng(2)
    a, b = (jnp.asarray(rng.normal(size=(3, 5))) for _ in range(2))
    inside = jnp.asarray(rng.random((3, 5)) < 0.7).at[1].set(False)
    wild = jnp.where(inside, a, jnp.nan)
    value, slope = jax.jit(jax.value_and_grad(lambda a: js_divergence(a, b, where=inside).sum()))(wild)
    cut = [jnp.where(inside, x, -jnp.inf) for x in (a, b)]
    np.testing.assert_allclose(value, jax.jit(js_divergence)(*cut)[jnp.asarray([0, 2])].sum(), rtol=1e-14)
    assert not np.asarray(slope)[~np.asarray(inside)].any()
    rows = jax.jit(js_divergence)(a, b)
    with jax.debug_nans(True):
        eager = js_divergence(a, b)
    for other in (
        eager,
        jax.jit(partial(js_divergence, axis=0))(a.T, b.T),
        jax.jit(jax.vmap(js_divergence))(a, b),
        jax.jit(js_divergence)(b, a),
    ):
        np.testing.assert_allclose(other, rows, rtol=1e-14)
    single = jnp.asarray([[0.3]])
    assert jax.jit(js_divergence)(single, single + 1) == 0


def test_dtypes() -> None:
    a, b = jnp.asarray([0.5, 1.0], jnp.bfloat16), jnp.asarray([0.25, 2.0], jnp.float16)
    value, slope = jax.jit(jax.value_and_grad(js_divergence))(a, b)
    assert value.dtype == jnp.float32
    assert slope.dtype == jnp.bfloat16
    assert value == jax.jit(js_divergence)(a.astype(jnp.float32), b.astype(jnp.float32))
    assert jax.eval_shape(js_divergence, a, b.astype(jnp.float64)).dtype == jnp.float64
    assert jax.jit(js_divergence)(jnp.zeros((0, 3)), jnp.zeros((0, 3))).shape == (0,)


@pytest.mark.usefixtures("own_errors")
def test_errors() -> None:
    x = jnp.zeros(3)
    with pytest.raises(ValueError, match=r"`weight` must be a number in \[0, 1\], got 1.5"):
        js_divergence(x, x, weight=1.5)
    with pytest.raises(ValueError, match="`weight` must be a number or a scalar array"):
        js_divergence(x, x, weight=jnp.ones(3))
    with pytest.raises(TypeError, match="`weight`"):
        js_divergence(x, x, weight="half")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"`q` must have shape \(3,\), that of `p`, got \(1, 3\)"):
        js_divergence(x, x[None])
    with pytest.raises(TypeError, match="`p` must have a floating dtype"):
        js_divergence(jnp.arange(3), x)
    with pytest.raises(TypeError, match="`where` must have dtype bool"):
        js_divergence(x, x, where=x)  # type: ignore[arg-type]
