"""The functions that every transform is tried on, over one batch of rows that holds the hard cases too."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinfo

N, V = 8, 11
_RANDOM = np.random.default_rng(0)


def _hard_rows() -> np.ndarray:
    x = 2 * _RANDOM.standard_normal((N, V))
    x[1, 4] = -np.inf
    x[2, 5] = 40.0
    x[3] *= 1e4
    x[4, :] = 1.25
    return x


X = jnp.asarray(_hard_rows())
Q = jnp.asarray(np.where(np.isinf(np.asarray(X)), -np.inf, 2 * _RANDOM.standard_normal((N, V))))
T = jaxinfo.softmax(Q)
Y = jnp.asarray([0, 3, 5, 7, 10, 2, 0, 1])
WHERE = jnp.asarray(_RANDOM.random((N, V)) < 0.8).at[jnp.arange(N), Y].set(True).at[6].set(False)

Function = Callable[..., jax.Array]
FUNCTIONS: dict[str, tuple[Function, tuple[jax.Array, ...]]] = {
    "logsumexp": (jaxinfo.logsumexp, (X,)),
    "softmax": (jaxinfo.softmax, (X,)),
    "log_softmax": (jaxinfo.log_softmax, (Q.at[1, 4].set(0.0),)),
    "entropy": (jaxinfo.entropy, (X,)),
    "cross_entropy": (jaxinfo.cross_entropy, (X, Q)),
    "kl_divergence": (jaxinfo.kl_divergence, (X, Q)),
    "labels": (jaxinfo.softmax_cross_entropy, (X, Y)),
    "labels, where": (lambda x, y, w: jaxinfo.softmax_cross_entropy(x, y, where=w), (X, Y, WHERE)),
    "distribution": (jaxinfo.softmax_cross_entropy, (X, T)),
    "distribution, where": (
        lambda x, t, w: jaxinfo.softmax_cross_entropy(x, jnp.where(w, t, 0), where=w),
        (X, T, WHERE),
    ),
    "nll": (jaxinfo.nll, (Q, Y)),
    "kl, where": (lambda a, b, w: jaxinfo.kl_divergence(a, b, where=w), (X, Q, WHERE)),
}

every_function = pytest.mark.parametrize(("f", "arguments"), FUNCTIONS.values(), ids=FUNCTIONS.keys())


def differentiable(arguments: tuple[jax.Array, ...]) -> tuple[int, ...]:
    """Return the positions of the floating arguments."""
    return tuple(i for i, a in enumerate(arguments) if jnp.issubdtype(a.dtype, jnp.floating))


def assert_same(got: object, want: object, what: str, *, k: float = 32) -> None:
    """Check trees of arrays: nan and inf alike, the rest to k eps of the largest in the row or of 1."""
    for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        eps = float(jnp.finfo(w.dtype).eps)
        np.testing.assert_allclose(np.asarray(g), np.asarray(w), rtol=k * eps, atol=k * eps, err_msg=what)
