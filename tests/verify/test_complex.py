"""Complex arguments: two real ones, whose rounding is measured, and no warning of a cast."""

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinfo.verify import Verdict, check_gradients

pytestmark = pytest.mark.usefixtures("as_user")


def numbers(seed: int) -> jax.Array:
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(size=4) + 1j * rng.normal(size=4), jnp.complex64)


RIGHT: dict[str, tuple[Callable[..., Any], jax.Array]] = {
    "a sum that cancels": (lambda z: jnp.vdot(z, z[::-1]), numbers(1)),
    "fft": (lambda z: jnp.abs(jnp.fft.fft(z)), jnp.asarray([0.3 + 0.5j, -1 + 2j, 2 - 1j, 0.5 + 0.3j], jnp.complex64)),
    "product of matrices": (lambda z: jnp.abs(z.reshape(2, 2) @ z.reshape(2, 2)), numbers(2)),
    "solve": (lambda z: jnp.linalg.solve(z.reshape(2, 2), jnp.ones(2, z.dtype)), numbers(7)),
    "pinned to complex64": (lambda z: jnp.exp(z.astype(jnp.complex64)), numbers(0)),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right(name: str) -> None:
    f, z = RIGHT[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = check_gradients(f, z)
    assert report.verdict is Verdict.CORRECT, str(report)


@pytest.mark.parametrize("only", [None, jnp.complex64])
def test_wrong(only: type | None) -> None:
    f = jax.custom_jvp(lambda z: jnp.sin(z))
    f.defjvp(lambda z, t: (jnp.sin(z[0]), jnp.cos(z[0]) * t[0] * (1.001 if only in (None, z[0].dtype) else 1)))
    assert check_gradients(f, numbers(0)).verdict is Verdict.WRONG
