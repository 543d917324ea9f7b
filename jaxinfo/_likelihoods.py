"""Negative log-likelihoods of numbers: Gaussian measurements and Poisson counts, as full densities."""

import math
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jax.scipy.special import digamma, gammaln
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Integer

from jaxinfo import _checks
from jaxinfo._exact import log, over
from jaxinfo._explicit import like_first
from jaxinfo._logratio import expm1_minus, graft
from jaxinfo._pair import nan_where

_HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)
# log 2 as a part of 12 bits, whose product with a binary exponent is exact in float32, and the rest.
_LOG_TWO_HIGH = 2839 / 4096
_LOG_TWO_LOW = 3.1946184945309417e-05
# lgamma(x + 1) - (x + 1/2) log x + x - log(2 pi) / 2 = sum of these over x, x**3, x**5, ...
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)


def gaussian_nll(
    x: Float[Array, "..."],
    mean: Float[Array, "..."],
    variance: float | Float[Array, "..."],
    *,
    where: Bool[Array, "..."] | None = None,
) -> Float[Array, "..."]:
    r"""Negative log-density of a Gaussian, elementwise, in nats, normalising constant included.

    .. math:: \tfrac12 \log(2 \pi \sigma^2) + \frac{(x - \mu)^2}{2 \sigma^2}

    Args:
        x: observations.
        mean: their expectation, in the shape of `x`.
        variance: sigma squared, a scalar or in the shape of `x`. It is never clipped: a negative one gives
            nan, 0 gives the limit, which is +inf, or -inf where x equals its mean.
        where: the elements to include, broadcastable to `x`.

    Returns:
        An array of the shape of `x` in the compute dtype (float32 for half precisions); 0 where excluded.
        A density may exceed 1, so the value may be negative.

    Raises:
        TypeError: an argument is not floating, or `where` not boolean.
        ValueError: a shape does not fit, or a number given as variance is negative.

    Gradient:
        (x - mean) / variance to x, the opposite to the mean, (1 - (x - mean)**2 / variance) / (2 variance)
        to the variance; 0 at variance 0, where no finite limit exists. All modes and orders.

    Accuracy:
        Within 4 eps of the sum of the magnitudes of its terms (tests/core/test_likelihoods.py).

    Examples:
        >>> import jax.numpy as jnp
        >>> gaussian_nll(jnp.array([0.0, 2.0]), jnp.zeros(2), 1.0)
        Array([0.9189385, 2.9189386], dtype=float32)
    """
    x, mean = _checks.as_float_array(x, "x"), _checks.as_float_array(mean, "mean")
    _checks.check_same_shape(mean, x.shape, name="mean", of="x")
    where = _checks.as_where(where, x.shape, of="x")
    x, mean, variance = _checks.promote(x, mean, _as_variance(variance, x))
    if where is not None:
        x, mean, variance = (jnp.where(where, v, fill) for v, fill in ((x, 0), (mean, 0), (variance, 1)))
    loss = _gaussian(x - mean, variance)
    return loss if where is None else jnp.where(where, loss, 0)


def poisson_nll(
    x: Integer[Array, "..."] | Float[Array, "..."],
    log_rate: Float[Array, "..."],
    *,
    where: Bool[Array, "..."] | None = None,
) -> Float[Array, "..."]:
    r"""Negative log-probability of Poisson counts, elementwise, in nats, normalising constant included.

    .. math:: e^\eta - x \eta + \log \Gamma(x + 1)
              = x \, (e^\delta - 1 - \delta) + [\log \Gamma(x + 1) - x \log x + x],
              \qquad \delta = \eta - \log x

    The second form is the one computed: the deviance and the loss of a perfect rate, neither of them
    negative, so that large counts near their rate keep their digits.

    Args:
        x: counts, integers or floating values; a negative one gives nan.
        log_rate: eta, the log of the expected count, in the shape of `x`; -inf is a rate of 0.
        where: the elements to include, broadcastable to `log_rate`.

    Returns:
        An array of the shape of `log_rate` in the compute dtype (float32 for half precisions): 0 where
        excluded and for a count of 0 at rate 0, +inf for another count there.

    Raises:
        TypeError: `log_rate` is not floating, `x` not a number, or `where` not boolean.
        ValueError: a shape does not fit.

    Gradient:
        exp(log_rate) - x, as x expm1(delta) near the optimum; digamma(x + 1) - log_rate to floating counts,
        0 at rate 0, where no finite limit exists. All modes and orders.

    Accuracy:
        Relative error within 16 eps (1 + x abs(delta) / loss), the second part being that of delta, whose
        absolute error is below eps however large the count; the plain form loses x log(x) / loss eps
        (tests/core/test_likelihoods.py).

    Examples:
        >>> import jax.numpy as jnp
        >>> poisson_nll(jnp.array([1, 0]), jnp.array([0.0, -jnp.inf]))
        Array([1., 0.], dtype=float32)

    References:
        Loader, "Fast and accurate computation of binomial probabilities", 2000.
    """
    log_rate = _checks.as_float_array(log_rate, "log_rate")
    x = _as_counts(x, log_rate.dtype)
    _checks.check_same_shape(x, log_rate.shape, name="x", of="log_rate")
    where = _checks.as_where(where, log_rate.shape, of="log_rate")
    x, log_rate = _checks.promote(x, log_rate)
    if where is not None:
        x, log_rate = jnp.where(where, x, 0), jnp.where(where, log_rate, 0)
    loss = _poisson(x, log_rate)
    return loss if where is None else jnp.where(where, loss, 0)


def _gaussian(r: jax.Array, variance: jax.Array) -> jax.Array:
    """Return the loss of a residual r; r (r / variance) overflows only where the loss does, and alike its slopes."""
    variance = variance + nan_where(variance < 0, variance.dtype)
    spread = variance != 0
    safe, shift = jnp.where(spread, variance, 1), jnp.where(spread, r, 0)
    loss = 0.5 * (log(safe) + shift * over(shift, safe)) + _HALF_LOG_TWO_PI
    unknown = jnp.isnan(r)
    none = r / jnp.where(unknown, r, 1)  # its derivative is nan too
    return jnp.where(spread, loss, jnp.where(r == 0, -jnp.inf, jnp.where(unknown, none, jnp.inf)))


@jax.custom_jvp
def _poisson(x: jax.Array, log_rate: jax.Array) -> jax.Array:
    delta = _log_rate_over_count(x, log_rate)
    rate = jnp.exp(log_rate)
    near = delta <= 1
    plain = rate - x * (1 + jnp.where(rate == jnp.inf, 0, delta))
    deviance = jnp.where(near, x * expm1_minus(jnp.where(near, delta, 0)), plain)
    return jnp.where(x == 0, rate, deviance + _best(x)) + nan_where(x < 0, x.dtype)


@partial(_poisson.defjvp, symbolic_zeros=True)
def _poisson_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    """d loss = (e^eta - x) d eta + (digamma(x + 1) - eta) dx, with e^eta - x = x expm1(delta) where they are near."""
    (x, log_rate), (t_x, t_rate) = primals, tangents
    out = _poisson(x, log_rate)
    invalid = nan_where(jnp.isnan(out), out.dtype)
    slope = jnp.zeros_like(out)
    if not isinstance(t_rate, SymbolicZero):
        delta = _log_rate_over_count(x, log_rate)
        near = (delta <= 1) & (x != 0)
        rate = jnp.exp(log_rate) - x
        slope = (graft(jnp.where(near, x * jnp.expm1(jnp.where(near, delta, 0)), rate), rate) + invalid) * t_rate
    if not isinstance(t_x, SymbolicZero):
        none = log_rate == -jnp.inf
        to_count = like_first(digamma, jnp.where(x < 0, 0, x) + 1) - jnp.where(none, 0, log_rate)
        slope = slope + (jnp.where(none, 0, to_count) + invalid) * t_x
    return out, slope


def _log_rate_over_count(x: jax.Array, log_rate: jax.Array) -> jax.Array:
    """Return log_rate - log x with the binary exponent of x subtracted exactly, so that large counts lose nothing.

    Given without a derivative; 0 where x is not positive.
    """
    x, log_rate = jax.lax.stop_gradient((x, log_rate))
    some = (x > 0) & (x < jnp.inf)
    mantissa, exponent = jnp.frexp(jnp.where(some, x, 1))
    low = mantissa < math.sqrt(0.5)
    mantissa, exponent = jnp.where(low, 2 * mantissa, mantissa), exponent - low.astype(exponent.dtype)
    power = exponent.astype(x.dtype)
    delta = (log_rate - power * _LOG_TWO_HIGH) - power * _LOG_TWO_LOW - jnp.log(mantissa)
    return jnp.where(some, delta, 0)


def _best(x: jax.Array) -> jax.Array:
    """Return lgamma(x + 1) - x log x + x, the loss at rate x: by Stirling's series where the parts would cancel."""
    large = x > 8
    inverse = 1 / jnp.where(large, x, 9)
    series = jnp.zeros_like(x)
    for coefficient in reversed(_STIRLING):
        series = coefficient + series * inverse * inverse
    some = jnp.where((x > 0) & ~large, x, 1)
    small = some < 0.5
    log_gamma = jnp.where(small, _small_log_gamma(jnp.where(small, some, 0)), like_first(gammaln, some + 1))
    return jnp.where(
        large,
        0.5 * jnp.log(jnp.where(large, x, 1)) + (_HALF_LOG_TWO_PI + series * inverse),
        log_gamma + (some - some * jnp.log(some)),
    )


def _small_log_gamma(x: jax.Array) -> jax.Array:
    """Return lgamma(x + 1) for 0 <= x <= 1/2, where x + 1 is rounded: Abramowitz & Stegun 6.1.33."""
    series = jnp.zeros_like(x)
    for k in range(27, 1, -1):
        series = (-1) ** k * _zeta_minus_one(k) / k + series * x
    return x * (1 - np.euler_gamma) - jnp.log1p(x) + series * x * x


@cache
def _zeta_minus_one(k: int) -> float:
    """Return sum n**-k over n >= 2, of which the Euler-Maclaurin formula gives the terms from 100 on."""
    rest = 100.0 ** (1 - k) * (1 / (k - 1) + 1 / 200 + k / 120_000)
    return math.fsum((*(n**-k for n in range(2, 100)), rest, -k * (k + 1) * (k + 2) / 720 * 100.0 ** (-k - 3)))


def _as_variance(variance: ArrayLike, x: jax.Array) -> jax.Array:
    """Return `variance` as a floating array with as many axes as `x`.

    Raises:
        ValueError: it is neither a scalar nor in the shape of `x`, or a negative number.
    """
    if isinstance(variance, int | float):
        _checks.check_number(variance, "variance", low=0, wanted="a non-negative number or an array")
        return jnp.full((1,) * x.ndim, variance, x.dtype)
    array = _checks.as_float_array(variance, "variance")
    if array.shape not in ((), x.shape):
        raise ValueError(f"`variance` must be a scalar or have shape {x.shape}, that of `x`, got {array.shape}.")
    return array if array.shape else array.reshape((1,) * x.ndim)


def _as_counts(x: ArrayLike, dtype: jnp.dtype) -> jax.Array:
    """Return counts as floating values; NumPy's own integers at once, since JAX's may not hold them.

    Raises:
        TypeError: they are not numbers.
    """
    if isinstance(x, int | np.ndarray | np.generic) and np.issubdtype(np.asarray(x).dtype, np.integer):
        return jnp.asarray(np.asarray(x), dtype)
    counts = _checks.as_counts(x, "x")
    return counts.astype(dtype) if jnp.issubdtype(counts.dtype, jnp.integer) else _checks.as_float_array(counts, "x")
