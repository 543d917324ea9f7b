"""The forms that run on accelerators, run here: the truth table, wide rows and half precision as on a CPU."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinfo

from . import test_truth_table as table
from .test_half_precision import hard_rows
from .transforms import FUNCTIONS as MEASURES
from .transforms import assert_same, differentiable

pytestmark = pytest.mark.slow


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Choose what is for no platform in particular, and return the names of what was chosen."""
    chosen: list[str] = []

    def default_of(*args: Any, default: Callable[..., Any], **platforms: Callable[..., Any]) -> Any:
        chosen.extend(platforms)
        return default(*args)

    jax.clear_caches()  # of formulas traced with the CPU's forms
    monkeypatch.setattr(jax.lax, "platform_dependent", default_of)
    yield chosen
    monkeypatch.undo()
    jax.clear_caches()


@pytest.mark.parametrize("f", table.FUNCTIONS, ids=lambda f: f.__name__)
def test_every_row_of_the_truth_table_in_every_mode(f: Callable[..., jax.Array], elsewhere: list[str]) -> None:
    table.test_every_row_in_every_mode(f, "float32", 4, 5)


@pytest.mark.parametrize("name", MEASURES)
def test_they_agree_with_the_forms_of_the_cpu(name: str, request: pytest.FixtureRequest) -> None:
    f, arguments = MEASURES[name]
    here = value_and_slopes(f, arguments)
    elsewhere = request.getfixturevalue("elsewhere")
    assert_same(value_and_slopes(f, arguments), here, name, k=64)
    assert elsewhere or name == "nll"


@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        *((dtype, {}) for dtype in ("float32", "bfloat16", "float16")),
        *(("bfloat16", options) for options in ({"label_smoothing": 0.1}, {"z_loss": 0.01})),
    ],
    ids=str,
)
def test_hard_rows_of_labels(dtype: str, options: dict[str, float], request: pytest.FixtureRequest) -> None:
    x, labels = hard_rows((9, 300), dtype), jnp.arange(9) % 6 - 1

    def f(x: jax.Array) -> jax.Array:
        return jaxinfo.softmax_cross_entropy(x, labels, **options)

    here = value_and_slopes(f, (x,))
    request.getfixturevalue("elsewhere")
    for there, wanted in zip(value_and_slopes(f, (x,)), here, strict=True):
        tolerance = 64 * float(jnp.finfo(wanted.dtype).eps)
        there, wanted = (np.asarray(a, np.float32) for a in (there, wanted))
        np.testing.assert_allclose(there, wanted, rtol=tolerance, atol=tolerance)


def value_and_slopes(f: Callable[..., jax.Array], arguments: tuple[jax.Array, ...]) -> list[jax.Array]:
    """Return the losses, their gradients, and a product with the Hessian of their sum."""
    moving = differentiable(arguments)

    def made(*arguments: jax.Array) -> list[jax.Array]:
        slope = jax.grad(lambda *a: jnp.sum(f(*a)), moving)
        tangents = tuple(jnp.cos(jnp.arange(a.size).reshape(a.shape)).astype(a.dtype) for a in arguments)
        curvature = jax.jvp(
            lambda *x: slope(*[x[moving.index(i)] if i in moving else a for i, a in enumerate(arguments)]),
            tuple(arguments[i] for i in moving),
            tuple(tangents[i] for i in moving),
        )[1]
        return jax.tree.leaves((f(*arguments), slope(*arguments), curvature))

    return jax.jit(made)(*arguments)
