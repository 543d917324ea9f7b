"""Metamorphic laws on drawn logits: Gibbs, CE = H + KL, shift and permutation invariance, the chain rule."""

from typing import Any

import jax
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import jaxinfo

EPS = 2.0**-52
V = 6
quick = settings(derandomize=True, max_examples=60, deadline=None, database=None)
FINITE = st.floats(-50, 50, allow_nan=False, width=32)
LOGIT = st.one_of(FINITE, st.just(-np.inf), st.sampled_from([0.0, 1e-6, 1e4, -1e4]))


def has_mass(x: np.ndarray) -> bool:
    return bool((x > -np.inf).any())


logits = hnp.arrays(np.float64, V, elements=LOGIT).filter(has_mass)
finite = hnp.arrays(np.float64, V, elements=FINITE)

# numpy arguments become arrays at the door of jit
entropy = jax.jit(jaxinfo.entropy)
cross_entropy = jax.jit(jaxinfo.cross_entropy)
kl = jax.jit(jaxinfo.kl_divergence)
loss = jax.jit(jaxinfo.softmax_cross_entropy)
log_softmax = jax.jit(jaxinfo.log_softmax)
logsumexp = jax.jit(jaxinfo.logsumexp)
slope = jax.jit(jax.grad(jaxinfo.softmax_cross_entropy))
kl_slopes = jax.jit(jax.grad(jaxinfo.kl_divergence, (0, 1)))


def close(a: Any, b: Any, size: float = 1.0, k: float = 64) -> None:
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=k * EPS, atol=k * EPS * size)


@jax.jit
def both_sides(joint: jax.Array, joint_q: jax.Array) -> tuple[tuple[jax.Array, jax.Array], ...]:
    """Return KL and H of the joint, and of marginal and conditionals added up."""
    rows, rows_q = jaxinfo.logsumexp(joint), jaxinfo.logsumexp(joint_q)
    p = jaxinfo.softmax(rows)
    kl_parts = jaxinfo.kl_divergence(rows, rows_q) + (p * jaxinfo.kl_divergence(joint, joint_q)).sum()
    h_parts = jaxinfo.entropy(rows) + (p * jaxinfo.entropy(joint)).sum()
    whole = jaxinfo.kl_divergence(joint.ravel(), joint_q.ravel()), jaxinfo.entropy(joint.ravel())
    return (whole[0], kl_parts), (whole[1], h_parts)


@jax.jit
def there_and_back(x: jax.Array, scale: jax.Array) -> jax.Array:
    return jaxinfo.log_softmax(jaxinfo.logits_from_probs(jaxinfo.softmax(x) * scale))


@quick
@given(logits, logits)
def test_gibbs(a: np.ndarray, b: np.ndarray) -> None:
    """KL is never negative, infinite exactly where P has a class that Q lacks, and H(P, Q) >= H(P)."""
    value = float(kl(a, b))
    assert value >= 0
    assert np.isinf(value) == bool(((a > -np.inf) & (b == -np.inf)).any())
    assert float(cross_entropy(a, b)) >= float(entropy(a)) * (1 - 16 * EPS)
    assert 0 <= float(entropy(a)) <= np.log(V) * (1 + 4 * EPS)
    assert float(kl(a, a)) == 0


@quick
@given(logits, logits)
def test_cross_entropy_is_entropy_plus_kl(a: np.ndarray, b: np.ndarray) -> None:
    crossed = float(cross_entropy(a, b))
    close(float(entropy(a)) + float(kl(a, b)), crossed, 1.0)


@quick
@given(finite, finite, st.integers(-(2**20), 2**20))
def test_a_shift_changes_nothing(a: np.ndarray, b: np.ndarray, c: int) -> None:
    x, y = np.round(a * 64) / 64, np.round(b * 64) / 64
    shifted = x + c  # exact
    np.testing.assert_array_equal(log_softmax(x), log_softmax(shifted))
    np.testing.assert_array_equal(loss(x, 2), loss(shifted, 2))
    close(entropy(x), entropy(shifted), 0.0, k=8)
    close(kl(x, y), kl(shifted, y), 0.0, k=32)
    assert float(kl(x, shifted)) == 0
    close(logsumexp(shifted), float(logsumexp(x)) + c, abs(c), k=4)


@quick
@given(logits, logits, st.permutations(range(V)))
def test_the_order_of_classes_means_nothing(a: np.ndarray, b: np.ndarray, order: list[int]) -> None:
    close(np.asarray(log_softmax(a))[order], log_softmax(a[order]), 0.0, k=8)
    close(entropy(a), entropy(a[order]), 0.0, k=16)
    if not np.isinf(float(kl(a, b))):
        close(kl(a, b), kl(a[order], b[order]), 0.0, k=64)
    for y in (0, V - 1):
        close(loss(a, order[y]), loss(a[order], y), 0.0, k=64)


@quick
@given(hnp.arrays(np.float64, (3, 4), elements=FINITE), hnp.arrays(np.float64, (3, 4), elements=FINITE))
def test_the_chain_rule(a: np.ndarray, b: np.ndarray) -> None:
    """KL of a joint is that of its marginal plus the mean of that of its conditionals, and so is the entropy."""
    divergences, entropies = both_sides(a, b)
    close(*divergences, 100.0)
    close(*entropies, 100.0)


@quick
@given(logits, st.integers(0, V - 1))
def test_labels_are_one_hot_targets_are_log_softmax(x: np.ndarray, y: int) -> None:
    value = float(loss(x, y))
    np.testing.assert_array_equal(value, -np.asarray(log_softmax(x))[y])
    close(loss(x, np.eye(V)[y]), value, 0.0, k=4)
    g = np.asarray(slope(x, y))
    if np.isfinite(value):
        assert value >= 0
        close(g.sum(), 0.0, 1.0, k=16)
        assert g[y] <= 0
        assert (np.delete(g, y) >= 0).all()
        close(slope(x, np.eye(V)[y]), g, 0.0, k=64 + 4 * min(value, 1e4))


@quick
@given(finite, finite)
def test_gradients_sum_to_zero_and_descend(a: np.ndarray, b: np.ndarray) -> None:
    """No divergence changes along a common shift of the logits, and each falls against its gradient."""
    to_p, to_q = (np.asarray(g) for g in kl_slopes(a, b))
    close(to_p.sum(), 0.0, np.abs(to_p).sum(), k=32)  # each of them is within 32 eps
    close(to_q.sum(), 0.0, max(1.0, np.abs(to_q).sum()), k=32)
    assert float(kl(a, b - 0.1 * to_q)) <= float(kl(a, b)) * (1 + 16 * EPS)


@quick
@given(finite, st.floats(0.1, 5))
def test_logits_from_probs_inverts_softmax(x: np.ndarray, scale: float) -> None:
    x = np.clip(x, -30, 30)
    close(there_and_back(x, scale), log_softmax(x), 60.0, k=4)
