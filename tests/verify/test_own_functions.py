"""Every public function of jaxinfo goes through its own checker, in the dtype of a user, at ordinary points."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinfo
from jaxinfo import verify

pytestmark = pytest.mark.usefixtures("as_user")

_RNG = np.random.default_rng(0)


def _floats(*shape: int, scale: float = 1.0) -> jax.Array:
    return jnp.asarray(scale * _RNG.normal(size=shape), jnp.float32)


X, Y, COUNTS = _floats(2, 4), _floats(2, 4), jnp.asarray([3, 0], jnp.int32)
LABELS = jnp.asarray([1, 3], jnp.int32)
T = jnp.asarray(_RNG.dirichlet(np.ones(4), 2), jnp.float32)
MASK = jnp.asarray([[True, True, False, True], [True, True, True, True]])
KERNEL = _floats(4, 5)
POSITIVE = jnp.asarray(_RNG.uniform(0.5, 2, (2, 4)), jnp.float32)

CASES: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "logsumexp": (jaxinfo.logsumexp, (X,)),
    "log_softmax": (jaxinfo.log_softmax, (X,)),
    "softmax": (lambda x: jaxinfo.softmax(x, where=MASK), (X,)),
    "logits_from_probs": (jaxinfo.logits_from_probs, (T,)),
    "entropy": (jaxinfo.entropy, (X,)),
    "cross_entropy": (jaxinfo.cross_entropy, (X, Y)),
    "kl_divergence": (jaxinfo.kl_divergence, (X, Y)),
    "js_divergence": (jaxinfo.js_divergence, (X, Y)),
    "renyi_divergence": (lambda p, q: jaxinfo.renyi_divergence(p, q, 0.5), (X, Y)),
    "f_divergence": (lambda p, q: jaxinfo.f_divergence(p, q, "hellinger"), (X, Y)),
    "kl_estimate": (lambda r: jaxinfo.kl_estimate(r, estimator="k3"), (X,)),
    "to_bits": (jaxinfo.to_bits, (X,)),
    "perplexity": (jaxinfo.perplexity, (X,)),
    "softmax_cross_entropy": (jaxinfo.softmax_cross_entropy, (X, LABELS)),
    "softmax_cross_entropy, dense": (jaxinfo.softmax_cross_entropy, (X, T)),
    "softmax_cross_entropy, options": (
        lambda x, cap: jaxinfo.softmax_cross_entropy(
            x, LABELS, label_smoothing=0.1, z_loss=1e-2, soft_cap=cap, temperature=2.0
        ),
        (X, jnp.float32(5.0)),
    ),
    "nll": (lambda x: jaxinfo.nll(x, LABELS), (X,)),
    "sigmoid_cross_entropy": (jaxinfo.sigmoid_cross_entropy, (X, T)),
    "gaussian_nll": (jaxinfo.gaussian_nll, (X, Y, POSITIVE)),
    "poisson_nll": (lambda r: jaxinfo.poisson_nll(COUNTS, r), (X[:, 0],)),
    "mean": (lambda x, w: jaxinfo.mean(x, weights=w), (X, POSITIVE)),
    "linear_softmax_cross_entropy": (jaxinfo.linear_softmax_cross_entropy, (X, KERNEL, jnp.asarray([1, 4], jnp.int32))),
    "linear_token_statistics": (
        lambda h, k: jaxinfo.linear_token_statistics(h, k, jnp.asarray([1, 4], jnp.int32))[:3], (X, KERNEL)
    ),
    "linear_kl_divergence": (jaxinfo.linear_kl_divergence, (X, KERNEL, Y, KERNEL)),
    "linear_js_divergence": (jaxinfo.linear_js_divergence, (X, KERNEL, Y, KERNEL)),
    "total": (lambda x: jaxinfo.total(x)[0], (X,)),
}  # fmt: skip

NO_FUNCTION_OF_ARRAYS = {"fit", "FitResult"}


# A second derivative is twice the compiling: those of the divergences and of every option are held to mpmath elsewhere.
SECOND_ORDER = {"log_softmax", "softmax_cross_entropy", "sigmoid_cross_entropy", "gaussian_nll", "poisson_nll"}


def test_every_public_function_is_here() -> None:
    public = {name for name, value in vars(jaxinfo).items() if callable(value) and not name.startswith("_")}
    assert public - {case.split(",")[0] for case in CASES} == NO_FUNCTION_OF_ARRAYS


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(CASES))
def test_public_functions_are_right(name: str) -> None:
    f, args = CASES[name]
    report = verify.check_gradients(f, *args, order=2 if name in SECOND_ORDER else 1)
    assert report.verdict is verify.Verdict.CORRECT, str(report)
    assert report.smallest_detectable < 1e-5, str(report)
