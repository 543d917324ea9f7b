"""The CPU's sums by blocks of classes: those of the selection, whatever the rows, and blocks wherever they divide."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxinfo
from jaxinfo import _rows
from jaxinfo._classes import Classes

from .tolerance import FLOATS, eps_of

inf, nan = np.inf, np.nan

# what a row holds at a class, at one beside it and at one far from it
KINDS = {
    "untouched": (None, None, None),
    "confident": (30.0, None, None),
    "faint": (90.0, None, None),  # most terms are below the smallest float32, and their sum is not
    "fainter": (95.0, None, None),
    "beyond exp": (3e4, None, None),
    "two thirds": (8.0, None, None),
    "tie": (30.0, None, 30.0),
    "tie beside it": (30.0, 30.0, None),
    "close beside it": (30.0, 29.0, None),
    "close far from it": (30.0, None, 29.0),
    "certain": (inf, None, None),
    "two certain": (inf, None, inf),
    "two certain beside": (inf, inf, None),
    "nan": (nan, None, None),
    "nan under a lead": (95.0, None, nan),
    "nan beside a lead": (95.0, nan, None),
    "absent": (-inf, -inf, -inf),
}


def rows(classes: int, place: int, dtype: type) -> np.ndarray:
    x = np.random.default_rng(place).standard_normal((len(KINDS) + 3, classes))
    places = place, place - 1 if place else 1, (place + classes // 2) % classes
    for n, values in enumerate(KINDS.values()):
        for at, value in zip(places, values, strict=True):
            x[n, at] = x[n, at] if value is None else value
    x[-3], x[-2], x[-1] = -inf, 0.0, -inf
    x[-1, place] = 2.0
    return x.astype(dtype)


@FLOATS
@pytest.mark.parametrize("classes", [600, 1000, 1210])
def test_blocks_are_the_selection(classes: int, dtype: type) -> None:
    size = _rows._block_size(jnp.zeros((1, classes)), Classes(-1))
    assert size is not None
    for place in (0, size - 1, size, classes - 1):
        x = jnp.asarray(rows(classes, place, np.dtype(dtype)))
        m_want, want = _rows._by_selection(x, Classes(-1))
        for each in (slice(None), *range(len(x))):  # all together, and each with no other row to need its branch
            m, got = _rows.shift_and_log_sum(x[each], Classes(-1))
            np.testing.assert_allclose(got, want[each], rtol=8 * eps_of(dtype), atol=0)
            # XLA's maximum may or may not step over a nan: the log sum has it
            np.testing.assert_array_equal(jnp.where(jnp.isnan(got), 0, m), jnp.where(jnp.isnan(got), 0, m_want[each]))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("classes", [100, 1000])
def test_half_precision_is_its_float32(dtype: str, classes: int) -> None:
    x = jnp.asarray(rows(classes, 24, np.float32)).astype(dtype)
    wide = x.astype(jnp.float32)
    np.testing.assert_allclose(
        jaxinfo.softmax_cross_entropy(x, jnp.full(len(x), 24)),
        jaxinfo.softmax_cross_entropy(wide, jnp.full(len(x), 24)),
        rtol=8 * eps_of(dtype),
        atol=0,
    )
    np.testing.assert_allclose(jaxinfo.logsumexp(x), jaxinfo.logsumexp(wide), rtol=2 * eps_of(dtype), atol=0)


@pytest.mark.parametrize("classes", [768, 1000, 30522, 32000, 32768, 50257, 128256, 151936, 262144])
def test_vocabularies_have_blocks(classes: int) -> None:
    size = _rows._block_size(jnp.zeros((1, classes)), Classes(-1))
    assert size is not None
    assert classes % size == 0
    assert 64 <= size <= classes // 6


@pytest.mark.parametrize("classes", [16, 512, 1009, 21841])
def test_few_classes_and_primes_have_none(classes: int) -> None:
    assert _rows._block_size(jnp.zeros((1, classes)), Classes(-1)) is None
