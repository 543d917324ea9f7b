"""Rows at the edges of the contract, as the biases of a head: every mode gives what the unfused form gives."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinfo
from jaxinfo.linear import linear_kl_divergence, linear_softmax_cross_entropy, linear_token_statistics

inf = float("inf")
HIDDEN, KERNEL = jnp.zeros((1, 1)), jnp.zeros((1, 4))
ROWS = [
    [0.3, -1.2, 2.0, 0.1],
    [0.3, -inf, 2.0, 0.1],
    [-inf, 0.2, -inf, -inf],
    [0.3, inf, 2.0, 0.1],
    [0.3, 0.2, 300.0, inf],
    [-inf, -inf, -inf, -inf],
    [1e4, 0.1, -1e4, 300.0],
    [-300.0, 0.1, 0.2, -0.3],
]
TARGETS = [[0.1, 0.4, 0.5, 0.0], [0.0, 0.0, 1.0, 0.0]]


class Form(NamedTuple):
    """One quantity of a row, fused and not, of logits and what else there is."""

    fused: Callable[..., jax.Array]
    dense: Callable[..., jax.Array]
    rest: list[Any]


def loss(x: jax.Array, targets: jax.Array, **how: Any) -> jax.Array:
    return linear_softmax_cross_entropy(HIDDEN, KERNEL, targets[None], bias=x, block_size=3, **how)[0]


def statistics(x: jax.Array, how: dict[str, Any]) -> Any:
    return linear_token_statistics(HIDDEN, KERNEL, jnp.zeros(1, int), bias=x, block_size=3, **how)


def kl(p: jax.Array, q: jax.Array, **how: Any) -> jax.Array:
    return linear_kl_divergence(HIDDEN, KERNEL, HIDDEN, KERNEL, p_bias=p, q_bias=q, block_size=3, **how)[0]


FORMS = {
    "labels": Form(loss, jaxinfo.softmax_cross_entropy, [0, 2, -1]),
    "labels, smoothed": Form(
        lambda x, y, **how: loss(x, y, label_smoothing=0.1, **how),
        lambda x, y: jaxinfo.softmax_cross_entropy(x, y, label_smoothing=0.1),
        [0, 2],
    ),
    "distribution": Form(loss, jaxinfo.softmax_cross_entropy, TARGETS),
    "distribution, smoothed": Form(
        lambda x, t, **how: loss(x, t, label_smoothing=0.1, **how),
        lambda x, t: jaxinfo.softmax_cross_entropy(x, t, label_smoothing=0.1),
        TARGETS,
    ),
    "entropy": Form(lambda x, _, **how: statistics(x, how).entropy[0], lambda x, _: jaxinfo.entropy(x), [0]),
    "logsumexp": Form(lambda x, _, **how: statistics(x, how).logsumexp[0], lambda x, _: jaxinfo.logsumexp(x), [0]),
    "kl": Form(kl, jaxinfo.kl_divergence, ROWS),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_mode(name: str) -> None:
    fused, dense, rest = FORMS[name]
    every = [(x, r) for x in ROWS for r in rest]
    rows = tuple(map(jnp.asarray, zip(*every, strict=True)))
    free = (0, 1) if jnp.issubdtype(rows[1].dtype, jnp.floating) else (0,)

    def of_all(f: Callable[..., Any]) -> Any:
        return jax.tree.map(np.asarray, jax.jit(jax.vmap(f))(*rows))

    value, slope = of_all(lambda *a: (dense(*a), jax.grad(dense, free)(*a)))
    bend = of_all(jax.jacfwd(jax.grad(dense)))
    how: dict[str, Any] = {"differentiation": "any"}
    some = lambda *a: fused(*a, **how)  # noqa: E731
    got = {
        "reverse alone": of_all(lambda *a: (fused(*a), jax.grad(fused, free)(*a))),
        "reverse": of_all(lambda *a: (some(*a), jax.grad(some, free)(*a))),
        "forward": of_all(lambda *a: (some(*a), jax.jacfwd(some, free)(*a))),
    }
    for mode, (v, slopes) in got.items():
        np.testing.assert_allclose(v, value, rtol=1e-13, err_msg=mode)
        for s, want in zip(slopes, slope, strict=True):
            for n, what in enumerate(every):
                if np.isnan(value[n]):  # at a class that does not exist either may be 0
                    assert np.isnan(s[n]).any(), f"{mode}, {what}"
                else:
                    np.testing.assert_allclose(s[n], want[n], rtol=1e-12, atol=1e-13, err_msg=f"{mode}, {what}")
    legal = ~np.isnan(value)
    for mode in (jax.jacfwd(jax.grad(some)), jax.jacrev(jax.jacfwd(some)), jax.jacrev(jax.grad(some))):
        np.testing.assert_allclose(of_all(mode)[legal], bend[legal], rtol=1e-10, atol=1e-11)
