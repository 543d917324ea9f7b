"""`worst` names an element that is wrong, or a direction; the table and `worst` name the dtype in which it is wrong."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinfo.verify import Verdict, check_gradients
from tests.verify.rules import X, with_rule

pytestmark = pytest.mark.usefixtures("as_user")


@pytest.mark.parametrize("size", [1e-3, 1e-1])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_wrong_element_among_fast_oscillations_is_named(seed: int, size: float) -> None:
    def rule(c: jax.Array, x: jax.Array) -> jax.Array:
        slope = 1e5 * jnp.cos(1e5 * x) * c
        return slope.at[3].add(size * jnp.max(jnp.abs(slope)))

    x = jnp.asarray(np.random.default_rng(seed).normal(size=7), jnp.float32)
    report = check_gradients(with_rule(lambda x: jnp.sum(jnp.sin(1e5 * x)), rule), x, order=1, seed=seed)
    assert report.verdict is Verdict.WRONG
    assert report.worst is not None
    assert report.worst.index == (3,)
    assert abs(report.worst.value - report.worst.reference) > 8 * report.worst.error_bar


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_wrong_element_among_elements_of_different_size_is_named(seed: int) -> None:
    def rule(c: jax.Array, x: jax.Array) -> jax.Array:
        return (c / x).at[3].add(0.1 * jnp.max(jnp.abs(c / x)))

    rng = np.random.default_rng(seed)
    x = jnp.asarray(rng.normal(size=7) * 10.0 ** rng.integers(-3, 2, 7), jnp.float32)
    report = check_gradients(with_rule(lambda x: jnp.sum(jnp.log(jnp.abs(x))), rule), x, order=1, seed=seed)
    assert report.worst is not None
    assert report.worst.index == (3,)


def only_in(dtype: type, factor: float) -> Callable[[jax.Array], jax.Array]:
    """Return a sum of sines whose rule is wrong in one dtype."""
    return with_rule(lambda x: jnp.sum(jnp.sin(x)), lambda c, x: c * jnp.cos(x) * (factor if x.dtype == dtype else 1))


@pytest.mark.parametrize(
    ("dtype", "factor", "dtypes"),
    [
        (jnp.float32, 1.01, None),
        (jnp.float64, 1.01, None),
        (jnp.bfloat16, 1.5, [jnp.float32, jnp.bfloat16]),
        (jnp.float32, 1.01, [jnp.bfloat16, jnp.float32]),
    ],
)
def test_table_and_worst_name_the_dtype_of_the_fault(dtype: type, factor: float, dtypes: list[type] | None) -> None:
    report = check_gradients(only_in(dtype, factor), X, order=1, dtypes=dtypes)
    assert report.verdict is Verdict.WRONG
    assert report.worst is not None
    name = str(jnp.dtype(dtype))
    assert report.worst.dtype == name
    assert {row.dtype for row in report.table if row.status == "WRONG"} == {name}
