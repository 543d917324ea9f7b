"""Every row of the truth table in value, reverse, forward and both Hessians, eager, under jit and under vmap."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from .oracle import mp
from .table import Case, cases

MODES = ("value", "reverse", "forward over reverse", "forward", "reverse over forward")
TABLES = {dtype: cases(dtype) for dtype in ("float32", "float64")}
FUNCTIONS = list({c.function: None for c in TABLES["float32"]})
of_function = pytest.mark.parametrize("f", FUNCTIONS, ids=lambda f: f.__name__)
NOTHING_SAID = (None, 0.0)


def modes(f: Callable[..., jax.Array], count: int, x: jax.Array, *rest: Any) -> tuple[jax.Array, ...]:
    """Return the first `count` of MODES at x."""

    def g(x: jax.Array) -> jax.Array:
        return f(x, *rest)

    slope = jax.grad(g)
    every = (g, slope, jax.jacfwd(slope), jax.jacfwd(g), jax.jacrev(jax.jacfwd(g)))
    return tuple(mode(x) for mode in every[:count])


def rows(f: Callable[..., jax.Array], dtype: str, classes: int = 4) -> list[Case]:
    return [c for c in TABLES[dtype] if c.function is f and len(c.x) == classes]


def stack(chosen: list[Case], dtype: str) -> list[jax.Array]:
    rest = [jnp.stack(parts) for parts in zip(*(c.rest for c in chosen), strict=True)]
    return [jnp.asarray([c.x for c in chosen], dtype), *rest]


def fault(got: Any, want: Iterable[Any], dtype: str, k: float) -> str:
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
    """Return what each mode must give, flat, with its k; None where the contract says nothing.

    A directional derivative of a row that is nan is nan in every direction, also along an excluded class:
    such rows are held in reverse mode only.
    """
    hessian = None if case.hessian is None else [v for line in case.hessian for v in line]
    if any(map(mp.isnan, case.gradient)) and not all(map(mp.isnan, case.gradient)):
        return [([case.value], 24), (case.gradient, 24), *[NOTHING_SAID] * 3]
    return [([case.value], 24), (case.gradient, 24), (hessian, 64), (case.gradient, 24), (hessian, 64)]


@of_function
@pytest.mark.parametrize(
    ("dtype", "classes", "count"),
    [
        ("float32", 4, 5),
        pytest.param("float32", 1, 3, marks=pytest.mark.slow),
        pytest.param("float64", 4, 3, marks=pytest.mark.slow),
    ],
)
def test_every_row_in_every_mode(f: Callable[..., jax.Array], dtype: str, classes: int, count: int) -> None:
    chosen = rows(f, dtype, classes)
    if not chosen:
        pytest.skip("no such rows")
    results = jax.jit(jax.vmap(partial(modes, f, count)))(*stack(chosen, dtype))
    faults = []
    for at, case in enumerate(chosen):
        for mode, out, (want, k) in zip(MODES, results, wanted(case), strict=False):
            wrong = "" if want is None else fault(out[at], want, dtype, k)
            if wrong:
                faults.append(f"{case.name}, {mode}: {wrong} (x = {case.x}, rest = {case.rest})")
    assert not faults, "\n".join(faults)


@of_function
def test_vmap_is_the_loop_and_jit_is_eager(f: Callable[..., jax.Array]) -> None:
    chosen = rows(f, "float32")
    batch = jax.jit(jax.vmap(partial(modes, f, 2)))(*stack(chosen, "float32"))
    single = jax.jit(partial(modes, f, 2))
    for at, case in enumerate(chosen):
        one = single(jnp.asarray(case.x, "float32"), *case.rest)
        for mode, whole, alone in zip(MODES, batch, one, strict=False):
            wrong = fault(alone, np.asarray(whole[at]).ravel().tolist(), "float32", 4)
            assert not wrong, f"{case.name}, {mode}, alone: {wrong}"
    for case in chosen[:1]:
        x = jnp.asarray(case.x, "float32")
        for mode, eager, jitted in zip(MODES, modes(f, 2, x, *case.rest), single(x, *case.rest), strict=False):
            wrong = fault(eager, np.asarray(jitted).ravel().tolist(), "float32", 4)
            assert not wrong, f"{case.name}, {mode}, eager: {wrong}"


@pytest.mark.slow
@of_function
def test_debug_nans_is_silent_on_legal_rows(f: Callable[..., jax.Array]) -> None:
    # A nan that comes in, legal in an excluded place, is copied about: those rows are held above.
    legal = [c for c in rows(f, "float32") if not mp.isnan(c.value) and not any(map(mp.isnan, c.gradient))]
    legal = [c for c in legal if not np.isnan(c.x).any() and not any(bool(jnp.isnan(r).any()) for r in c.rest)]
    every = jax.jit(lambda *args: (modes(f, 2, *args), jax.jacfwd(f)(*args)))
    with jax.debug_nans(True):
        for case in legal:
            every(jnp.asarray(case.x, "float32"), *case.rest)
        for case in legal[len(legal) // 2 :][:1]:
            jax.grad(f)(jnp.asarray(case.x, "float32"), *case.rest)


def test_every_function_has_rows() -> None:
    assert len(FUNCTIONS) == 18
    assert min(len(rows(f, "float32")) for f in FUNCTIONS) >= 10
