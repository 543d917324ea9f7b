"""Every row of the truth table in value, reverse, forward and both Hessians, eager, under jit and under vmap."""

from collections import defaultdict
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from .oracle import mp
from .table import Case, cases
from .tolerance import FLOAT_DTYPES

MODES = ("value", "reverse", "forward", "forward over reverse", "reverse over forward")
TABLES = {jnp.dtype(d).name: cases(d) for d in FLOAT_DTYPES}
ALL = [pytest.param(d, c, id=f"{d}-{c.name}") for d, table in TABLES.items() for c in table]
BY_FUNCTION = [
    pytest.param(d, f, id=f"{d}-{f.__name__}") for d, table in TABLES.items() for f in {c.function: None for c in table}
]


def modes(f: Callable[..., jax.Array], x: jax.Array, *rest: Any) -> tuple[jax.Array, ...]:
    """Return the value, the gradient by reverse and by forward mode, and the Hessian both ways."""

    def g(x: jax.Array) -> jax.Array:
        return f(x, *rest)

    return g(x), jax.grad(g)(x), jax.jacfwd(g)(x), jax.jacfwd(jax.grad(g))(x), jax.jacrev(jax.jacfwd(g))(x)


jitted = jax.jit(modes, static_argnums=0)


@lru_cache(maxsize=None)
def stacked(dtype: str, f: Callable[..., jax.Array], classes: int) -> tuple[list[Case], tuple[np.ndarray, ...]]:
    """Return the cases of one function and what `modes` under jit and vmap gives for all of them at once."""
    chosen = [c for c in TABLES[dtype] if c.function is f and len(c.x) == classes]
    x = jnp.asarray([c.x for c in chosen], dtype)
    rest = [jnp.stack(parts) for parts in zip(*(c.rest for c in chosen), strict=True)]
    return chosen, tuple(np.asarray(out) for out in jax.jit(jax.vmap(partial(modes, f)))(x, *rest))


def agree(got: Any, want: list[Any], dtype: str, k: float) -> str:
    """Return what is wrong: nan and inf must match, the rest be within k eps of the larger of 1 and the number."""
    eps, largest = float(jnp.finfo(dtype).eps), float(jnp.finfo(dtype).max)
    for index, (g, w) in enumerate(zip(np.asarray(got, np.float64).ravel().tolist(), want, strict=True)):
        w = mp.mpf(w)
        expected = float(w) if abs(w) <= largest else float(mp.sign(w)) * np.inf
        same = np.isnan(g) if np.isnan(expected) else g == expected if np.isinf(expected) else np.isfinite(g)
        if not same or (np.isfinite(expected) and abs(g - expected) > k * eps * max(1.0, abs(expected))):
            return f"element {index} is {g!r}, wanted {expected!r}"
    return ""


def wanted(case: Case) -> list[tuple[list[Any] | None, float]]:
    """Return what each mode must give, flat, with its k.

    A directional derivative of a row that is nan is nan in every direction, also along an excluded class:
    such rows are held in reverse mode only.
    """
    hessian = None if case.hessian is None else [v for line in case.hessian for v in line]
    if any(map(mp.isnan, case.gradient)) and not all(map(mp.isnan, case.gradient)):
        return [([case.value], 24), (case.gradient, 24), (None, 0), (None, 0), (None, 0)]
    return [([case.value], 24), (case.gradient, 24), (case.gradient, 24), (hessian, 64), (hessian, 64)]


@pytest.mark.parametrize(("dtype", "case"), ALL)
def test_row_in_every_mode(dtype: str, case: Case) -> None:
    table, results = stacked(dtype, case.function, len(case.x))
    at = next(i for i, c in enumerate(table) if c is case)
    for mode, out, (want, k) in zip(MODES, results, wanted(case), strict=True):
        fault = "" if want is None else agree(out[at], want, dtype, k)
        assert not fault, f"{case.name}, {mode}: {fault} (x = {case.x}, rest = {case.rest})"


@pytest.mark.parametrize(("dtype", "f"), BY_FUNCTION)
def test_vmap_is_the_loop_and_jit_is_eager(dtype: str, f: Callable[..., jax.Array]) -> None:
    table, results = stacked(dtype, f, 4)
    for at, case in list(enumerate(table))[:: max(1, len(table) // 12)]:
        single = jitted(f, jnp.asarray(case.x, dtype), *case.rest)
        for mode, batch, one in zip(MODES, results, single, strict=True):
            fault = agree(one, batch[at].ravel().tolist(), dtype, 4)
            assert not fault, f"{case.name}, {mode}, one by one: {fault}"
    for case in table[:: max(1, len(table) // 3)]:
        x = jnp.asarray(case.x, dtype)
        eager = (f(x, *case.rest), jax.grad(f)(x, *case.rest))
        for mode, one, want in zip(MODES, eager, jitted(f, x, *case.rest), strict=False):
            fault = agree(one, np.asarray(want).ravel().tolist(), dtype, 4)
            assert not fault, f"{case.name}, {mode}, eager: {fault}"


@pytest.mark.parametrize(("dtype", "f"), BY_FUNCTION)
def test_debug_nans_is_silent_on_legal_rows(dtype: str, f: Callable[..., jax.Array]) -> None:
    legal = [c for c in TABLES[dtype] if c.function is f and len(c.x) == 4 and not mp.isnan(c.value)]
    # A nan that comes in, legal in an excluded place, is copied about: those rows are tested above.
    legal = [c for c in legal if not any(map(mp.isnan, c.gradient)) and not np.isnan(c.x).any()]
    legal = [c for c in legal if not any(bool(jnp.isnan(r).any()) for r in c.rest)]
    value_and_slopes = jax.jit(lambda x, *rest: (jax.value_and_grad(f)(x, *rest), jax.jacfwd(f)(x, *rest)))
    with jax.debug_nans(True):
        for case in legal:
            value_and_slopes(jnp.asarray(case.x, dtype), *case.rest)
        for case in legal[:: max(1, len(legal) // 3)]:
            jax.value_and_grad(f)(jnp.asarray(case.x, dtype), *case.rest)


def test_every_legal_function_has_rows() -> None:
    counts: dict[str, int] = defaultdict(int)
    for case in TABLES["float32"]:
        counts[case.function.__name__] += 1
    assert len(counts) >= 14
    assert min(counts.values()) >= 10
