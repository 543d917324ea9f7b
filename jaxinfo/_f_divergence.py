"""The f-divergences by name or by function, and estimates of KL from samples."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxinfo import _checks
from jaxinfo._classes import Classes
from jaxinfo._generators import GENERATORS, Generator
from jaxinfo._kl import kl
from jaxinfo._logratio import expm1_minus, graft
from jaxinfo._measures import prepare_pair
from jaxinfo._normalise import LogSum, normalise, settle
from jaxinfo._pair import anchor, centred, nan_where, slope_pair, value_pair

_STEEP = (40.0, 80.0)  # log ratios at which the slope of a generator is read, to tell a limit from growth


def f_divergence(
    p: Float[Array, "..."],
    q: Float[Array, "..."],
    generator: str | Callable[[jax.Array], jax.Array],
    *,
    axis: int = -1,
    where: Bool[Array, "..."] | None = None,
) -> Float[Array, "..."]:
    r"""The f-divergence of softmax(q) from softmax(p) for a convex f with f(1) = 0.

    .. math:: D_f(P \| Q) = \sum_j q_j \, f(p_j / q_j)

    Args:
        p: logits of P along `axis`; -inf is a class that does not exist.
        q: logits of Q, in the shape of `p`.
        generator: with t = p / q, "hellinger" (1 - sqrt t)**2 / 2 (the squared distance), "total_variation"
            abs(t - 1) / 2, "chi2" (t - 1)**2, "triangular" (t - 1)**2 / (t + 1), "jeffreys" (t - 1) log t, "kl"
            t log t, "reverse_kl" -log t; or f as an elementwise function of log t (any finite values), say
            `lambda r: jnp.expm1(r) ** 2`.
        axis: the class axis.
        where: the elements to include, broadcastable to `p`.

    Returns:
        One value per row: for names never negative, at most 1 for "hellinger" and "total_variation" and 2
        for "triangular", exactly 0 where `q` is `p` up to a shift. A class that P lacks adds q f(0), one
        that Q lacks p lim f(t) / t, which may be +inf. 0 where nothing is included.

    Raises:
        TypeError: `p` or `q` is not floating, `where` not boolean or `generator` neither a name nor a function.
        ValueError: the shapes differ, `generator` is no known name, or `axis` or the shape of `where` does
            not fit.

    Gradient:
        To p: p (f'(t) - mean under p), to q: q (f(t) - t f'(t) - mean under q); the sign of t - 1 is 0 at 1
        for "total_variation". In a row whose value is +inf: as `kl_divergence` for those made of it, 0 for
        others. A function is differentiated by JAX. All modes and orders.

    Accuracy:
        For names relative error within 16 eps for logits that differ by 1e-6 to 5, 64 eps beyond, and the
        gradients within 32 eps (64 beyond) normwise, of a "chi2" of D > 1 within 64 + 2 log D
        (tests/core/test_f_divergence.py, test_far_apart.py). For a function the accuracy is its own: one with
        f'(1) = 0 and no negative value cancels nothing in the sum, and the gradient is within a few eps of
        p max abs(f'(t)). Its limits are read at log t = -80 and 80; one that still grows from 40 to 80 counts as
        infinite.

    Examples:
        >>> import jax.numpy as jnp
        >>> p, q = jnp.log(jnp.array([0.5, 0.5])), jnp.log(jnp.array([0.25, 0.75]))
        >>> round(float(f_divergence(p, q, "total_variation")), 6)
        0.25
        >>> round(float(f_divergence(p, q, lambda log_t: jnp.expm1(log_t) ** 2)), 6)  # chi2
        0.333333

    References:
        Liese & Vajda, "On divergences and informations in statistics and information theory", IEEE Trans.
        Inf. Theory 52(10), 2006.
    """
    _check_generator(generator)
    a, b, classes, counted = prepare_pair(p, q, axis, where)
    rows = (a, b, normalise(a, classes), normalise(b, classes))
    if callable(generator):
        value = _by_function(*rows, generator, classes)
    elif generator in _OF_KL:
        value = _OF_KL[generator](*rows, classes)
    else:
        value = _by_name(*rows, generator, classes)
    return settle(value, counted, classes)


def kl_estimate(log_ratio: Float[Array, "..."], *, estimator: str = "k1") -> Float[Array, "..."]:
    r"""Estimate KL(P || Q) per sample x of P, from r = log q(x) - log p(x), in nats.

    .. math:: k_1 = -r, \qquad k_2 = r^2 / 2, \qquad k_3 = e^r - 1 - r

    Args:
        log_ratio: r of each sample; -inf where Q cannot have it.
        estimator: "k1" is unbiased and of either sign; "k2" is biased, with little variance where P and Q
            are close; "k3" is unbiased and never negative.

    Returns:
        An array of the shape of `log_ratio` in its compute dtype: +inf for -inf. The mean over samples is
        the estimate.

    Raises:
        TypeError: `log_ratio` is not floating.
        ValueError: `estimator` is no known name.

    Gradient:
        -1, r and expm1(r), with respect to r alone: the samples count as given. Its mean over them is the gradient
        of KL(P || Q) to the parameters of Q for k1 and k3, and to those of P, which the samples depend on too,
        for k2; k1's to those of P is 0 in the mean, k3's is that of KL(Q || P). All modes and orders.

    Accuracy:
        Relative error within 8 eps at every r (tests/core/test_kl_estimate.py).

    Examples:
        >>> import jax.numpy as jnp
        >>> kl_estimate(jnp.array([0.1, -0.1]), estimator="k3").round(5)
        Array([0.00517, 0.00484], dtype=float32)

    References:
        Schulman, "Approximating KL divergence", 2020.
    """
    r = _checks.as_float_array(log_ratio, "log_ratio")
    if not isinstance(estimator, str) or estimator not in _ESTIMATORS:
        raise ValueError(f"`estimator` must be one of {', '.join(_ESTIMATORS)}, got {estimator!r}.")
    return _ESTIMATORS[estimator](r)


@jax.custom_jvp
def _k3(r: jax.Array) -> jax.Array:
    return expm1_minus(r)


@_k3.defjvp
def _k3_jvp(primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    (r,), (t,) = primals, tangents
    return _k3(r), graft(jnp.expm1(r), jnp.exp(r)) * t


_ESTIMATORS: dict[str, Callable[[jax.Array], jax.Array]] = {"k1": lambda r: -r, "k2": lambda r: r * r / 2, "k3": _k3}

_OF_KL: dict[str, Callable[..., jax.Array]] = {
    "kl": lambda a, b, sum_a, sum_b, classes: kl(a, b, classes),
    "reverse_kl": lambda a, b, sum_a, sum_b, classes: kl(b, a, classes),
    "jeffreys": lambda a, b, sum_a, sum_b, classes: kl(a, b, classes) + kl(b, a, classes),
}


def _check_generator(generator: object) -> None:
    """Check that `generator` is a function or a known name.

    Raises:
        TypeError: it is neither a string nor callable.
        ValueError: the name is not known.
    """
    known = ", ".join(sorted((*GENERATORS, *_OF_KL)))
    if isinstance(generator, str):
        if generator not in GENERATORS and generator not in _OF_KL:
            raise ValueError(f"`generator` must be a function of log(p/q) or one of {known}, got {generator!r}.")
    elif not callable(generator):
        raise TypeError(f"`generator` must be a function of log(p/q) or one of {known}, got {generator!r}.")


@partial(jax.custom_jvp, nondiff_argnums=(4, 5))
def _by_name(a: jax.Array, b: jax.Array, sum_a: LogSum, sum_b: LogSum, name: str, classes: Classes) -> jax.Array:
    pair = value_pair(a, b, sum_a, sum_b, classes)
    generator = GENERATORS[name]
    value = jnp.minimum(classes.sum(generator.terms(pair)), generator.bound)
    return value + nan_where(classes.any(jnp.isnan(pair.d)), value.dtype)


@partial(_by_name.defjvp, symbolic_zeros=True)
def _by_name_jvp(name: str, classes: Classes, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    """D = sum p (f'(t) - mean) t_a + its like in b, for the function t f(1 / t)."""
    a, b, sum_a, sum_b = primals
    out = _by_name(*primals, name, classes)
    generator: Generator = GENERATORS[name]
    valid, infinite = 1 + nan_where(jnp.isnan(out), out.dtype), out == jnp.inf
    a, b = (jnp.where(infinite, jax.lax.stop_gradient(x), x) for x in (a, b))  # the slope of 0 has slope 0
    pair = slope_pair(a, b, sum_a, sum_b, classes)
    to_p = generator.flow(anchor(a, b, pair, classes), pair, classes)
    to_q = generator.adjoint_flow(anchor(b, a, pair.swap(), classes), pair.swap(), classes)
    slope_a, slope_b = centred(pair.p, to_p, classes), centred(pair.q, to_q, classes)
    slope_a, slope_b = (valid * jnp.where(infinite, 0, slope) for slope in (slope_a, slope_b))
    return out, classes.slope((slope_a, tangents[0]), (slope_b, tangents[1]))


def _by_function(
    a: jax.Array,
    b: jax.Array,
    sum_a: LogSum,
    sum_b: LogSum,
    f: Callable[[jax.Array], jax.Array],
    classes: Classes,
) -> jax.Array:
    """Return sum q f(log t), as p f(log t) / t where p is the larger; differentiated as it stands."""
    pair = slope_pair(a, b, sum_a, sum_b, classes)
    infinite = jnp.isinf(pair.d)
    r = -jnp.where(infinite, 0, pair.d)
    value = f(r)
    above = r > 0
    terms = jnp.where(above, pair.p * (value * jnp.exp(-jnp.where(above, r, 0))), pair.q * value)
    edges = jnp.where(pair.lacking(), _share(pair.p, _limit(f, r.dtype, 1)), _share(pair.q, _limit(f, r.dtype, -1)))
    total = classes.sum(jnp.where(infinite, edges, terms))
    return jnp.where(jnp.isinf(total), jax.lax.stop_gradient(total), total)


def _share(p: jax.Array, limit: jax.Array) -> jax.Array:
    """Return p times a limit, which if infinite stays so for a p that underflows."""
    infinite = jnp.isinf(limit)
    return jnp.where(infinite, limit, p * jnp.where(infinite, 0, limit))


def _limit(f: Callable[[jax.Array], jax.Array], dtype: jnp.dtype, sign: int) -> jax.Array:
    """Return lim f(t) / t for t to infinity (sign 1) or f(0) (sign -1), infinite if it still grows."""
    first, second = (f(jnp.asarray(sign * r, dtype)) * jnp.exp(jnp.asarray(-max(sign, 0) * r, dtype)) for r in _STEEP)
    grows = jnp.abs(second) > 1.01 * jnp.abs(first)
    return jax.lax.stop_gradient(jnp.where(grows, jnp.sign(second) * jnp.inf, second))
