"""Errors in units of eps, element by element, with the bounds of the contract."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from .oracle import mp

FLOAT_DTYPES = [jnp.float32, jnp.float64]

# float64 is the same formulas at another eps: left to the run of all tests.
FLOATS = pytest.mark.parametrize(
    "dtype",
    [pytest.param(jnp.float32, id="float32"), pytest.param(jnp.float64, id="float64", marks=pytest.mark.slow)],
)


def eps_of(dtype: Any) -> float:
    """Return eps of the compute dtype: half precisions are computed in float32."""
    return float(jnp.finfo(dtype).eps) if jnp.finfo(dtype).bits >= 32 else float(jnp.finfo(jnp.float32).eps)


def floats(x: jax.Array | np.ndarray) -> list[float]:
    """Return a flat list of the exact values of `x`."""
    return np.asarray(x).astype(np.float64).ravel().tolist()


def assert_close(got: Any, want: Iterable[Any], bound: Callable[[Any], Any], *, dtype: Any, what: str) -> None:
    """Check each element: abs(got - want) <= bound(want) eps abs(want), or below the smallest normal number.

    Infinities and nan must agree exactly, and a true value beyond the largest float must come as inf.
    """
    info = jnp.finfo(dtype)
    eps, tiny, largest = mp.mpf(eps_of(dtype)), mp.mpf(float(info.tiny)), mp.mpf(float(info.max))
    got_list, want_list = floats(got), list(want)
    assert len(got_list) == len(want_list), f"{what}: {len(got_list)} elements, wanted {len(want_list)}"
    for index, (g, w) in enumerate(zip(got_list, want_list, strict=True)):
        w = mp.mpf(w)
        if mp.isnan(w) or mp.isinf(w):
            assert str(mp.mpf(g)) == str(w), f"{what}[{index}]: got {g!r}, wanted {w}"
            continue
        if abs(w) > largest * (1 - eps):
            assert float(mp.sign(w)) * g >= float(info.max) * (1 - 16 * float(eps)), f"{what}[{index}]: got {g!r}"
            continue
        assert np.isfinite(g), f"{what}[{index}]: got {g!r}, wanted {mp.nstr(w, 12)}"
        error, allowed = abs(mp.mpf(g) - w), bound(w) * eps * abs(w) + tiny
        assert error <= allowed, (
            f"{what}[{index}]: got {g!r}, wanted {mp.nstr(w, 17)}, "
            f"{mp.nstr(error / (eps * abs(w)) if w else mp.inf, 4)} eps, allowed {mp.nstr(bound(w), 4)}"
        )


def assert_absolute(got: Any, want: Iterable[Any], allowed: Iterable[Any], *, dtype: Any, what: str) -> None:
    """Check each element: abs(got - want) <= allowed eps, or below twice the smallest normal number."""
    eps, tiny = mp.mpf(eps_of(dtype)), 2 * mp.mpf(float(jnp.finfo(dtype).tiny))
    for index, (g, w, a) in enumerate(zip(floats(got), want, allowed, strict=True)):
        error = abs(mp.mpf(g) - w)
        assert error <= a * eps + tiny, (
            f"{what}[{index}]: got {g!r}, wanted {mp.nstr(w, 17)}, off by {mp.nstr(error / eps, 5)} eps, "
            f"allowed {mp.nstr(mp.mpf(a), 5)} eps"
        )


def loss_bound(classes: int) -> Callable[[Any], Any]:
    """Return the bound of a log-probability or a loss: 8 eps (16 for many classes), abs(log loss) eps more below 1."""
    base = 8 if classes <= 1024 else 16
    return lambda loss: base + (abs(log_size(loss)) if 0 < abs(loss) < 1 else 0)


def log_size(x: Any) -> float:
    """Return log abs(x), 0 for 0; in floats where they reach, for bounds."""
    size = abs(x)
    near = float(size)
    if 0 < near < math.inf:
        return math.log(near)
    return float(mp.log(size)) if size else 0.0


def gradient_bounds(log_p: Iterable[Any]) -> Callable[[int, Any], Any]:
    """Return the bound of a gradient element: (8 + 2 max(abs(log p), abs(log abs(g)))) eps."""
    listed = [abs(float(lp)) for lp in log_p]

    def bound(index: int, g: Any) -> float:
        return 8 + 2 * max(listed[index], abs(log_size(g)))

    return bound


def assert_gradient(got: Any, want: list[Any], log_p: list[Any], *, dtype: Any, what: str) -> None:
    """Check every element of a label gradient by the contract's bound, plus the rounding to a half precision."""
    rounding = 0.0 if jnp.finfo(dtype).bits >= 32 else float(jnp.finfo(dtype).eps) / eps_of(dtype)
    info = jnp.finfo(dtype)
    smallest = mp.mpf(float(info.smallest_subnormal if info.dtype == jnp.float16 else info.tiny))
    bound = gradient_bounds(log_p)
    for index, (g, w) in enumerate(zip(floats(got), want, strict=True)):
        assert np.isfinite(g), f"{what}[{index}]: got {g!r}, wanted {mp.nstr(w, 12)}"
        allowed = (bound(index, w) + rounding) * eps_of(dtype) * abs(w) if w else mp.mpf(0)
        assert abs(mp.mpf(g) - w) <= allowed + smallest, (
            f"{what}[{index}]: got {g!r}, wanted {mp.nstr(w, 17)}, "
            f"{mp.nstr(abs(mp.mpf(g) - w) / (mp.mpf(eps_of(dtype)) * abs(w)) if w else mp.inf, 5)} eps"
        )


def assert_normwise(got: Any, want: list[Any], k: float, *, dtype: Any, what: str) -> None:
    """Check the Euclidean norm of the error against k eps times the norm of the true gradient."""
    got_list = floats(got)
    assert np.isfinite(got_list).all(), f"{what}: {got_list}"
    error = mp.sqrt(mp.fsum((mp.mpf(g) - w) ** 2 for g, w in zip(got_list, want, strict=True)))
    norm = mp.sqrt(mp.fsum(w**2 for w in want))
    tiny = mp.mpf(float(jnp.finfo(dtype).tiny)) * len(want)
    assert error <= k * mp.mpf(eps_of(dtype)) * norm + tiny, (
        f"{what}: {mp.nstr(error / (norm * eps_of(dtype)) if norm else mp.inf, 5)} eps normwise, allowed {k}"
    )
