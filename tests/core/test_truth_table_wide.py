"""The rows of the truth table scattered over many classes: what is summed in blocks keeps the same limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinfo

from . import oracle
from .oracle import mp
from .table import PAIRS, ROWS, rounded
from .test_truth_table import fault

WIDE = [255, 1024, 32768]
NARROW = {name: numbers for name, numbers in ROWS.items() if len(numbers) == 4}


def scattered(numbers: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of -inf that hold the four numbers at four places, other ones in each row, and the places."""
    random = np.random.default_rng(classes)
    places = np.stack([np.sort(random.choice(classes, 4, replace=False)) for _ in numbers])
    x = np.full((len(numbers), classes), -np.inf)
    np.put_along_axis(x, places, numbers, 1)
    return x, places


@jax.jit
def losses(x: jax.Array, labels: jax.Array) -> tuple[jax.Array, ...]:
    loss, pull = jax.vjp(lambda x: jaxinfo.softmax_cross_entropy(x, labels), x)
    lse, pull_lse = jax.vjp(jaxinfo.logsumexp, x)
    return loss, pull(jnp.ones_like(loss))[0], lse, pull_lse(jnp.ones_like(lse))[0], jaxinfo.entropy(x)


@pytest.mark.parametrize("classes", WIDE)
def test_rows(classes: int) -> None:
    numbers = np.asarray([rounded(r, np.float32) for r in NARROW.values()])
    x, places = scattered(numbers, classes)
    faults = []
    for y in range(4):
        loss, slope, lse, p, h = losses(jnp.asarray(x, jnp.float32), jnp.asarray(places[:, y]))
        for n, name in enumerate(NARROW):
            row = numbers[n].tolist()
            r, (value, gradient) = oracle.row(row), oracle.label_loss(row, y)
            assert r is not None
            slopes = [oracle.ZERO] * 4 if r.lse == -oracle.INF else r.p
            checks = [
                ("loss", loss[n], [value]),
                ("gradient", slope[n, places[n]], gradient),
                ("logsumexp", lse[n], [r.lse]),
                ("softmax", p[n, places[n]], slopes),
                ("entropy", h[n], [oracle.entropy(row)[0]]),
            ]
            wrong = [(what, fault(got, want, "float32", 24)) for what, got, want in checks]
            faults += [f"{name}, label {y}, {what}: {text}" for what, text in wrong if text]
            if not mp.isnan(value):
                np.testing.assert_array_equal(np.delete(np.asarray(slope[n]), places[n]), 0, err_msg=name)
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("classes", WIDE)
def test_pairs(classes: int) -> None:
    chosen = {name: pair for name, pair in PAIRS.items() if len(pair[0]) == 4}
    numbers = np.asarray([[rounded(r, np.float32) for r in pair] for pair in chosen.values()])
    a, places = scattered(numbers[:, 0], classes)
    b, _ = scattered(numbers[:, 1], classes)

    @jax.jit
    def divergence(a: jax.Array, b: jax.Array) -> tuple[jax.Array, ...]:
        value, pull = jax.vjp(jaxinfo.kl_divergence, a, b)
        return value, *pull(jnp.ones_like(value))

    value, to_a, to_b = divergence(jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32))
    faults = []
    for n, name in enumerate(chosen):
        want, want_a, want_b = oracle.kl(*numbers[n].tolist())
        checks = [
            ("value", value[n], [want]),
            ("to p", to_a[n, places[n]], want_a),
            ("to q", to_b[n, places[n]], want_b),
        ]
        wrong = [(what, fault(got, expected, "float32", 24)) for what, got, expected in checks]
        faults += [f"{name}, {what}: {text}" for what, text in wrong if text]
    assert not faults, "\n".join(faults)
