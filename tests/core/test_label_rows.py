"""The CPU's form for the losses of labels: one pass for every row, in blocks, the label's block without the label."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinfo
from jaxinfo import _label_rows
from jaxinfo._classes import Classes
from jaxinfo._rows import by_selection

from .oracle import mp
from .tolerance import FLOATS, assert_close, eps_of, loss_bound

inf, nan = np.inf, np.nan
CLASSES = [768, 1000, 1210]  # blocks of 96 or 128, of 125, of 121

# what the row holds at its label and at two other classes, one in the label's block and one far from it
KINDS = {
    "untouched": (None, None, None),
    "confident": (30.0, None, None),
    "faint": (95.0, None, None),
    "beyond exp": (3e4, None, None),
    "wrong": (None, None, 30.0),
    "wrong beside it": (None, 30.0, None),
    "tie": (30.0, None, 30.0),
    "tie beside it": (30.0, 30.0, None),
    "absent": (-inf, None, None),
    "absent and wrong": (-inf, 30.0, None),
    "certain": (inf, None, None),
    "impossible": (None, None, inf),
    "impossible beside it": (None, inf, None),
    "two certain": (inf, inf, None),
    "two certain elsewhere": (None, inf, inf),
    "nan": (nan, None, None),
    "nan under a lead": (95.0, None, nan),
    "nan beside it": (95.0, nan, None),
}


def rows(classes: int, label: int, dtype: type) -> np.ndarray:
    x = np.random.default_rng(label).standard_normal((len(KINDS) + 2, classes))
    places = label, label - 1 if label else 1, (label + classes // 2) % classes
    for n, values in enumerate(KINDS.values()):
        for place, value in zip(places, values, strict=True):
            x[n, place] = x[n, place] if value is None else value
    x[-2], x[-1] = -inf, 0.0
    return x.astype(dtype)


def near(got: jax.Array, want: jax.Array, units: float) -> None:
    np.testing.assert_allclose(got, want, rtol=units * eps_of(want.dtype), atol=0)


@FLOATS
@pytest.mark.parametrize("classes", CLASSES)
def test_every_row_is_that_of_the_selection(classes: int, dtype: type) -> None:
    size = _label_rows._block_size(jnp.zeros((1, classes)), Classes(-1))
    assert size is not None
    assert classes % size == 0
    for label in (0, size - 1, size, classes // 2, classes - 1):
        x = jnp.asarray(rows(classes, label, np.dtype(dtype)))
        labels = jnp.full((x.shape[0], 1), label)
        m, got = _label_rows.shift_and_log_sum_beside(x, labels, Classes(-1))
        m_want, want = by_selection(x, Classes(-1))
        np.testing.assert_array_equal(m, m_want)
        leads = (x[:, label] == m[:, 0])[:, None]
        near(jnp.where(leads, got, 0), jnp.where(leads, want, 0), 16)
        near(1 + got, 1 + want, 8)  # where another class leads, the digits of a loss of at least the lead


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(dtype: str) -> None:
    x = jnp.asarray(rows(1000, 124, np.float32)[:7]).astype(dtype)
    labels = jnp.full(7, 124)
    near(jaxinfo.softmax_cross_entropy(x, labels), jaxinfo.softmax_cross_entropy(x.astype(jnp.float32), labels), 16)


def test_labels_and_logits_under_vmap() -> None:
    x = jnp.asarray(rows(1000, 125, np.float32)[:5])
    labels = jnp.asarray([125, 0, 999, 124, -1])
    each = jnp.stack([jnp.stack([jaxinfo.softmax_cross_entropy(row, y) for y in labels]) for row in x])
    across = jax.vmap(jax.vmap(jaxinfo.softmax_cross_entropy, (None, 0)), (0, None))(x, labels)
    near(across, each, 4)
    one_row = jax.vmap(lambda y: jaxinfo.softmax_cross_entropy(x[0], y))(labels)
    near(one_row, each[0], 4)


@FLOATS
def test_weights_that_leave_another_class_alone(dtype: type) -> None:
    """The likeliest class is the only one with a weight: its share of the smoothing is a loss of 1e-10."""
    x = jnp.zeros(1000, dtype).at[3].set(30)
    weights = jnp.zeros(1000, dtype).at[3].set(1)
    got = jaxinfo.softmax_cross_entropy(x, jnp.asarray(700), class_weights=weights, label_smoothing=0.5)
    want = mp.mpf("0.5") / 1000 * mp.log1p(999 * mp.exp(-30))
    assert_close(got, [want], lambda w: 4 + loss_bound(1000)(w), dtype=dtype, what="smoothed loss")


@pytest.mark.parametrize("classes", [1009, 767, 16])
def test_no_blocks(classes: int) -> None:
    assert _label_rows._block_size(jnp.zeros((1, classes)), Classes(-1)) is None


@pytest.mark.parametrize("classes", [768, 1000, 30522, 32000, 32768, 50257, 128256, 151936, 262144])
def test_blocks_of_vocabularies(classes: int) -> None:
    size = _label_rows._block_size(jnp.zeros((1, classes)), Classes(-1))
    assert size is not None
    assert classes % size == 0
    assert 64 <= size <= classes // 6
