"""Maximum-likelihood problems with published answers, from data that ship inside packages; raw scale, from zeros."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxinfo


class Reference(NamedTuple):
    """A problem, its maximum of the log-likelihood, and standard errors by statsmodels where it has them."""

    loss: Callable[[Any, Any], jax.Array]
    params: Any
    data: Any
    log_likelihood: float
    peer: Callable[[], Any]


def statsmodels() -> Any:
    """Return statsmodels.api, or skip."""
    reason = "statsmodels is not installed: pip install 'jaxinfo[test]'"
    return pytest.importorskip("statsmodels.api", reason=reason)


def _design(name: str, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return regressors with a constant, and the outcome. Stata computed with float32 regressors: so do we."""
    sm = statsmodels()
    data = getattr(sm.datasets, name).load_pandas()
    exog, endog = np.asarray(data.exog, np.float32).astype(np.float64), np.asarray(data.endog)
    return sm.add_constant(exog, prepend=False).astype(dtype), endog


def anes96(dtype: Any = np.float64) -> Reference:
    """Multinomial logit with 36 parameters; the first class is the reference."""
    x, y = _design("anes96", dtype)

    def loss(params: jax.Array, data: tuple) -> jax.Array:
        logits = jnp.matmul(data[0], params)
        return jaxinfo.softmax_cross_entropy(jnp.concatenate([jnp.zeros_like(logits[:, :1]), logits], 1), data[1])

    peer = lambda: statsmodels().MNLogit(y, x).fit(method="newton", disp=0, tol=1e-12).bse  # noqa: E731
    data = (jnp.asarray(x), jnp.asarray(y, jnp.int32))
    return Reference(loss, jnp.zeros((6, 6), dtype), data, -1461.922747312, peer)


def randhie(dtype: Any = np.float64) -> Reference:
    """Poisson regression of 20,190 examples."""
    x, y = _design("randhie", dtype)

    def loss(params: jax.Array, data: tuple) -> jax.Array:
        return jaxinfo.poisson_nll(data[1], jnp.matmul(data[0], params))

    peer = lambda: statsmodels().Poisson(y, x).fit(method="newton", disp=0, tol=1e-12, maxiter=100).bse  # noqa: E731
    data = (jnp.asarray(x), jnp.asarray(y, dtype))
    return Reference(loss, jnp.zeros(x.shape[1], dtype), data, -62419.588535018, peer)


def spector_logit(dtype: Any = np.float64) -> Reference:
    """Logit of 32 examples."""
    x, y = _design("spector", dtype)

    def loss(params: jax.Array, data: tuple) -> jax.Array:
        return jaxinfo.sigmoid_cross_entropy(jnp.matmul(data[0], params), data[1])

    peer = lambda: statsmodels().Logit(y, x).fit(method="newton", disp=0, tol=1e-12).bse  # noqa: E731
    data = (jnp.asarray(x), jnp.asarray(y, dtype))
    return Reference(loss, jnp.zeros(4, dtype), data, -12.8896334653335, peer)


def spector_probit(dtype: Any = np.float64) -> Reference:
    """Probit of the same."""
    x, y = _design("spector", dtype)

    def loss(params: jax.Array, data: tuple) -> jax.Array:
        return -jax.scipy.stats.norm.logcdf((2 * data[1] - 1) * jnp.matmul(data[0], params))

    peer = lambda: statsmodels().Probit(y, x).fit(method="newton", disp=0, tol=1e-12).bse  # noqa: E731
    data = (jnp.asarray(x), jnp.asarray(y, dtype))
    return Reference(loss, jnp.zeros(4, dtype), data, -12.8188033249334, peer)


ALL = (anes96, randhie, spector_logit, spector_probit)


def norris() -> tuple[np.ndarray, np.ndarray]:
    """Return x and y of NIST's Norris, a straight line whose certified answer is in the scipy wheel."""
    import scipy.stats

    file = Path(scipy.stats.__file__).parent / "tests" / "data" / "nist_linregress" / "Norris.dat"
    if not file.exists():
        pytest.skip("this build of scipy has no tests/data/nist_linregress/Norris.dat")
    lines = file.read_text().splitlines()
    begin = next(i for i, line in enumerate(lines) if line.startswith("Data:") and "x" in line)
    table = np.array([line.split() for line in lines[begin + 1 :] if line.strip()], float)
    return table[:, 1], table[:, 0]
