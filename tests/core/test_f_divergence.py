"""f_divergence against mpmath: each name and the same as a function, missing classes, all derivative modes."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinfo import kl_divergence
from jaxinfo._f_divergence import f_divergence

from .oracle import mp
from .pairs import EDGES, ILLEGAL, assert_modes, oracle, pairs, table
from .tolerance import FLOATS, assert_close, assert_normwise

# f(t), f(0) and lim f(t) / t
GENERATORS: dict[str, tuple[Callable[[Any], Any], Any, Any]] = {
    "hellinger": (lambda t: (1 - mp.sqrt(t)) ** 2 / 2, mp.mpf(0.5), mp.mpf(0.5)),
    "total_variation": (lambda t: abs(t - 1) / 2, mp.mpf(0.5), mp.mpf(0.5)),
    "triangular": (lambda t: (t - 1) ** 2 / (t + 1), mp.mpf(1), mp.mpf(1)),
    "chi2": (lambda t: (t - 1) ** 2, mp.mpf(1), mp.inf),
    "jeffreys": (lambda t: (t - 1) * mp.log(t), mp.inf, mp.inf),
    "kl": (lambda t: t * mp.log(t) - (t - 1), mp.mpf(1), mp.inf),
    "reverse_kl": (lambda t: t - 1 - mp.log(t), mp.inf, mp.mpf(1)),
}
FUNCTIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "hellinger": lambda r: jnp.expm1(r / 2) ** 2 / 2,
    "total_variation": lambda r: jnp.abs(jnp.expm1(r)) / 2,
    "triangular": lambda r: jnp.expm1(r) * jnp.tanh(r / 2),
    "chi2": lambda r: jnp.expm1(r) ** 2,
    "jeffreys": lambda r: jnp.expm1(r) * r,
}
BOUNDED = ["hellinger", "triangular", "total_variation"]


def formula(name: str) -> Any:
    """Return the definition as a function of probabilities."""
    f, at_zero, at_infinity = GENERATORS[name]

    def divergence(p: Any, q: Any) -> Any:
        terms = (
            (y * f(x / y) if x else y * at_zero) if y else (x * at_infinity if x else 0)
            for x, y in zip(p, q, strict=True)
        )
        return mp.fsum(terms)

    return divergence


@pytest.mark.slow
@FLOATS
def test_precision_of_value_and_slopes(dtype: Any) -> None:
    names, first, second = pairs(dtype)

    @jax.jit
    @jax.vmap
    def all_names(a: jax.Array, b: jax.Array) -> Any:
        return {name: jax.value_and_grad(f_divergence, (0, 1))(a, b, name) for name in GENERATORS}

    for name, (values, (to_p, to_q)) in all_names(first, second).items():
        for n, (case, a, b) in enumerate(zip(names, first, second, strict=True)):
            truth, what = oracle(formula(name), a, b), f"{name}, {case}"
            far = "by 5" in case
            k = 64 if far else 16
            assert_close(values[n], [truth.value], lambda _, k=k: k, dtype=dtype, what=f"{what}, value")
            if name == "total_variation" and 0 in (a - b):  # a kink where a class has not moved
                continue
            assert_normwise(to_p[n], truth.to_p, 64 if far else 32, dtype=dtype, what=f"{what}, to p")
            assert_normwise(to_q[n], truth.to_q, 64 if far else 32, dtype=dtype, what=f"{what}, to q")


@pytest.mark.parametrize("name", ["hellinger", "triangular", "total_variation", "chi2"])
@FLOATS
def test_table_in_every_mode(dtype: Any, name: str) -> None:
    results = table(partial(f_divergence, generator=name), dtype)
    for case, row in EDGES.items():
        truth = oracle(formula(name), *(np.asarray(x, dtype) for x in row), bend=True)
        if mp.isinf(truth.value):
            assert results[case][0] == jnp.inf
            assert not any(part.any() for part in results[case][1:]), case
        elif name == "total_variation" and case in ("close", "uniform, close", "equal up to a shift"):
            assert_modes(results[case][:1] + (results[case][1],) * 3, truth._replace(to_p=[], to_q=[], bend=[]), case)
        elif name != "chi2" or "not alike" not in case:
            assert_modes(results[case], truth, case)


@pytest.mark.slow
def test_jeffreys_is_kl_both_ways_in_every_mode() -> None:
    dtype = jnp.float64
    ours = table(partial(f_divergence, generator="jeffreys"), dtype)
    both_ways = lambda p, q: jnp.sum(kl_divergence(jnp.stack([p, q]), jnp.stack([q, p])))  # noqa: E731
    theirs = table(both_ways, dtype)
    for case in EDGES:
        for one, other in zip(ours[case], theirs[case], strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-13, atol=1e-13, err_msg=case)
    finite = oracle(formula("jeffreys"), *EDGES["ordinary"], bend=True)
    assert_modes(ours["ordinary"], finite, "ordinary")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_agrees_with_the_definition(name: str) -> None:
    dtype = jnp.float64
    f = jax.jit(jax.vmap(jax.value_and_grad(partial(f_divergence, generator=FUNCTIONS[name]), (0, 1))))
    rows = [jnp.asarray([row[side] for row in EDGES.values()], dtype) for side in (0, 1)]
    values, slopes = f(*rows)
    for n, (case, row) in enumerate(EDGES.items()):
        truth = oracle(formula(name), *(np.asarray(x, dtype) for x in row))
        assert_close(values[n], [truth.value], lambda _: 32, dtype=dtype, what=f"{case}, value")
        if mp.isinf(truth.value):
            assert not any(np.asarray(slope[n]).any() for slope in slopes), case
        elif name != "total_variation" and "alike" not in case:
            tolerance = 64 * float(jnp.finfo(dtype).eps)
            want = np.asarray([float(w) for w in (*truth.to_p, *truth.to_q)])
            got = np.concatenate([slope[n] for slope in slopes])
            np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * max(1, *abs(want)), err_msg=case)


def test_function_may_hold_a_learned_number() -> None:
    dtype = jnp.float64
    a, b = (jnp.asarray(x, dtype) for x in EDGES["ordinary"])
    power = jax.jit(jax.grad(lambda k: f_divergence(a, b, lambda r: jnp.expm1(k * r) ** 2)))
    h = 1e-5
    f = jax.jit(lambda k: f_divergence(a, b, lambda r: jnp.expm1(k * r) ** 2))
    one = jnp.asarray(1, dtype)
    np.testing.assert_allclose(power(one), (f(one + h) - f(one - h)) / (2 * h), rtol=1e-7)


@pytest.mark.slow
def test_no_distribution_is_nan_in_value_and_slope_and_legal_rows_pass_debug_nans() -> None:
    names = [*BOUNDED, "chi2", "jeffreys", FUNCTIONS["chi2"]]

    @jax.jit
    @jax.vmap
    def all_names(a: jax.Array, b: jax.Array) -> Any:
        return [jax.value_and_grad(f_divergence, (0, 1))(a, b, name) for name in names]

    for values, slopes in all_names(*(jnp.asarray([row[side] for row in ILLEGAL.values()]) for side in (0, 1))):
        assert np.isnan(values).all()
        assert all(np.isnan(slope).all() for slope in slopes)
    with jax.debug_nans(True):
        all_names(*(jnp.asarray([row[side] for row in EDGES.values()]) for side in (0, 1)))


@pytest.mark.slow
@pytest.mark.parametrize("name", GENERATORS)
def test_bounds_and_shift(name: str) -> None:
    dtype = jnp.float32
    rng = np.random.default_rng(1)
    a = jnp.asarray(np.round(rng.normal(size=(500, 6)) * 40) / 4, dtype)
    b = jnp.asarray(rng.normal(size=(500, 6)) * 40, dtype)
    value_and_slopes = jax.jit(jax.vmap(jax.value_and_grad(partial(f_divergence, generator=name), (0, 1))))
    value = np.asarray(value_and_slopes(a, b)[0])
    assert (value >= 0).all()
    bound = {"hellinger": 1, "total_variation": 1, "triangular": 2}.get(name, np.inf)
    assert (value <= bound).all()
    shifted, slopes = value_and_slopes(a, a + 8)
    assert not np.asarray(shifted).any()
    assert not any(np.asarray(slope).any() for slope in slopes)


def test_chi2_of_a_probability_that_underflows() -> None:
    a, b = jnp.asarray([0.0, -60.0], jnp.float32), jnp.asarray([0.0, -110.0], jnp.float32)
    value = jax.jit(partial(f_divergence, generator="chi2"))(a, b)
    assert_close(value, [oracle(formula("chi2"), a, b).value], lambda _: 160, dtype=jnp.float32, what="chi2")


def test_where_axes_and_batches() -> None:
    rng = np.random.default_rng(2)
    a, b = (jnp.asarray(rng.normal(size=(3, 5))) for _ in range(2))
    inside = jnp.asarray(rng.random((3, 5)) < 0.7).at[1].set(False)
    wild = jnp.where(inside, a, jnp.nan)
    for name in ("hellinger", FUNCTIONS["hellinger"]):
        value, slope = jax.jit(jax.value_and_grad(lambda a, n=name: f_divergence(a, b, n, where=inside).sum()))(wild)
        cut = [jnp.where(inside, x, -jnp.inf) for x in (a, b)]
        f = jax.jit(partial(f_divergence, generator=name))
        np.testing.assert_allclose(value, f(*cut)[jnp.asarray([0, 2])].sum(), rtol=1e-14)
        assert not np.asarray(slope)[~np.asarray(inside)].any()
        turned = jax.jit(partial(f_divergence, generator=name, axis=0))(a.T, b.T)
        for other in (turned, jax.jit(jax.vmap(partial(f_divergence, generator=name)))(a, b)):
            np.testing.assert_allclose(other, f(a, b), rtol=1e-14)
    with jax.debug_nans(True):
        np.testing.assert_allclose(f_divergence(a, b, "hellinger"), f(a, b), rtol=1e-12)


def test_dtypes() -> None:
    a, b = jnp.asarray([0.5, 1.0], jnp.bfloat16), jnp.asarray([0.25, 2.0], jnp.float16)
    value, slope = jax.jit(jax.value_and_grad(partial(f_divergence, generator="chi2")))(a, b)
    assert value.dtype == jnp.float32
    assert slope.dtype == jnp.bfloat16
    wide = jax.eval_shape(partial(f_divergence, generator=FUNCTIONS["chi2"]), a, b.astype(jnp.float64))
    assert wide.dtype == jnp.float64


@pytest.mark.usefixtures("own_errors")
def test_errors() -> None:
    x = jnp.zeros(3)
    known = "chi2, hellinger, jeffreys, kl, reverse_kl, total_variation, triangular"
    with pytest.raises(ValueError, match=f"`generator` must be a function of .* or one of {known}, got 'alpha'"):
        f_divergence(x, x, "alpha")
    with pytest.raises(TypeError, match=f"`generator` must be a function of .* or one of {known}, got 2"):
        f_divergence(x, x, 2)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`q` must have shape"):
        f_divergence(x, x[None], "chi2")
