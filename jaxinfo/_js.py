"""The Jensen-Shannon divergence of two distributions given by logits, for any mixture weight."""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Bool, Float

from jaxinfo import _checks
from jaxinfo._classes import Classes
from jaxinfo._logratio import expm1_minus, graft
from jaxinfo._measures import prepare_pair
from jaxinfo._normalise import LogSum, normalise, settle
from jaxinfo._pair import Pair, anchor, centred, nan_where, slope_pair, value_pair

_FAR = 80.0  # log ratios beyond this are taken from the other end: exp would overflow in float32


def js_divergence(
    p: Float[Array, "..."],
    q: Float[Array, "..."],
    *,
    weight: float | Float[Array, ""] = 0.5,
    axis: int = -1,
    where: Bool[Array, "..."] | None = None,
) -> Float[Array, "..."]:
    r"""Jensen-Shannon divergence between softmax(p) and softmax(q), in nats.

    .. math:: w \, \mathrm{KL}(P \| M) + (1 - w) \, \mathrm{KL}(Q \| M), \qquad M = w P + (1 - w) Q

    With phi = log m / p = log1p((1 - w) expm1(log q / p)) a class adds w p (expm1(phi) - phi) and its like
    with p and q exchanged: no term is negative and nothing cancels.

    Args:
        p: logits of P along `axis`; -inf is a class that does not exist.
        q: logits of Q, in the shape of `p`.
        weight: w in [0, 1], the share of P in the mixture; 0 and 1 give 0.
        axis: the class axis.
        where: the elements to include, broadcastable to `p`.

    Returns:
        One value per row, finite for any supports: in [0, h(w)] with h the binary entropy, at most log 2;
        exactly 0 where `q` is `p` up to a shift and where nothing is included; nan for a weight outside [0, 1].

    Raises:
        TypeError: `p` or `q` is not floating, `where` not boolean or `weight` not a number.
        ValueError: the shapes differ, or `axis`, `weight` or the shape of `where` does not fit.

    Gradient:
        To p: w p (log(p / m) - KL(P || M)), to q alike with 1 - w; to `weight` if it is an array:
        KL(P || M) - KL(Q || M), which at 0 and 1 is a KL divergence and may be infinite. All modes and orders.

    Accuracy:
        Relative error within 16 eps for logits that differ by 1e-6 to 5, 64 eps beyond, and the gradients
        within 32 eps normwise, also where hardly a class is common (tests/core/test_js.py, test_far_apart.py).

    Examples:
        >>> import jax.numpy as jnp
        >>> p, q = jnp.array([0.0, -jnp.inf]), jnp.array([-jnp.inf, 0.0])  # nothing in common: log 2
        >>> round(float(js_divergence(p, q)), 6)
        0.693147

    References:
        Lin, "Divergence measures based on the Shannon entropy", IEEE Trans. Inf. Theory 37(1), 1991.
    """
    a, b, classes, counted = prepare_pair(p, q, axis, where)
    w = jnp.asarray(_checks.as_option(weight, "weight", a.dtype, low=0, high=1, wanted="a number in [0, 1]"), a.dtype)
    value = _js(a, b, normalise(a, classes), normalise(b, classes), w, _bound(w), classes)
    return settle(value, counted, classes)


def _bound(w: jax.Array) -> jax.Array:
    """Return the binary entropy of `w`, at most log 2, rounded down; nan outside [0, 1]."""
    w = jax.lax.stop_gradient(w)
    inside = (w > 0) & (w < 1)
    safe = jnp.where(inside, w, 0.5)
    h = (-safe * jnp.log(safe) - (1 - safe) * jnp.log1p(-safe)) * (1 - 3 * jnp.finfo(w.dtype).eps)
    return jnp.where(inside, h, 0) + nan_where(~((w >= 0) & (w <= 1)), w.dtype)


@partial(jax.custom_jvp, nondiff_argnums=(6,))
def _js(
    a: jax.Array, b: jax.Array, sum_a: LogSum, sum_b: LogSum, w: jax.Array, bound: jax.Array, classes: Classes
) -> jax.Array:
    pair = value_pair(a, b, sum_a, sum_b, classes)
    terms = w * _to_mixture(pair, w, 1 - w) + (1 - w) * _to_mixture(pair.swap(), 1 - w, w)
    return jnp.minimum(classes.sum(terms), bound)


@partial(_js.defjvp, symbolic_zeros=True)
def _js_jvp(classes: Classes, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    """dJS = sum w p (log(p / m) - KL(P || M)) t_a + its like in b + (KL(P || M) - KL(Q || M)) t_w."""
    a, b, sum_a, sum_b, w, _ = primals
    t_a, t_b, _, _, t_w, _ = tangents
    out = _js(*primals, classes)
    valid = 1 + nan_where(jnp.isnan(out), out.dtype)
    pair = slope_pair(a, b, sum_a, sum_b, classes)
    slope_a = _slope(a, b, pair, w, 1 - w, classes)
    slope_b = _slope(b, a, pair.swap(), 1 - w, w, classes)
    slope = jnp.zeros_like(out)
    if not (isinstance(t_a, SymbolicZero) and isinstance(t_b, SymbolicZero)):
        slope = classes.slope((valid * slope_a, t_a), (valid * slope_b, t_b))
    if not isinstance(t_w, SymbolicZero):
        slope = slope + valid * classes.sum(_to_weight(pair, w)) * t_w
    return out, slope


def _to_mixture(pair: Pair, w: jax.Array, v: jax.Array) -> jax.Array:
    """Return p (m/p - 1 - log m/p), whose sum is KL(P || M): 0 where w is, which is about to multiply it."""
    here = _mixes(pair, w)
    d = jnp.where(here, pair.d, 0)
    phi = log_mix(d, w, v)
    near = phi <= 1
    series = pair.p * expm1_minus(jnp.where(near, phi, 0))
    m = w * pair.p + v * pair.q
    return jnp.where(here, jnp.where(near, series, m - pair.p * (1 + phi)), m)


def _mixes(pair: Pair, w: jax.Array) -> jax.Array:
    """Where p is there and log m/p finite; it is -inf where q is not there and w is 0."""
    return ~(pair.absent() | ((pair.d == -jnp.inf) & (w == 0)))


def log_mix(d: jax.Array, w: jax.Array, v: jax.Array) -> jax.Array:
    """Return log(w + v exp(d)), which is log m/p for m = w p + v q, with v = 1 - w, without cancellation."""
    far = d > _FAR
    there = jnp.where(far, 0, d)
    grown = v * jnp.expm1(there)
    near = grown > -0.25
    beyond = w * jnp.exp(-jnp.where(far, d, _FAR)) + v
    below = jnp.where(near | (w == 0), 1, w + v * jnp.exp(there))  # exp(there) may be 0, its log is still there
    return jnp.where(
        far,
        jnp.where(v == 0, 0, d + jnp.log(jnp.where(v == 0, 1, beyond))),
        jnp.where(near, jnp.log1p(jnp.where(near, grown, 0)), jnp.where(w == 0, there, jnp.log(below))),
    )


def _slope(a: jax.Array, b: jax.Array, pair: Pair, w: jax.Array, v: jax.Array, classes: Classes) -> jax.Array:
    """Return the slope w p (log(p / m) - KL(P || M)) to the logits a of p."""
    here = _mixes(pair, w)
    d = jnp.where(here, pair.d, 0)
    phi = log_mix(d, w, v)
    flow = -w * pair.p * jnp.where(here, graft(_phi_above(a, b, pair, d, w, v, classes), phi), 0)
    return centred(pair.p, flow, classes)


def _phi_above(
    a: jax.Array, b: jax.Array, pair: Pair, d: jax.Array, w: jax.Array, v: jax.Array, classes: Classes
) -> jax.Array:
    """Return log m/p above its level at the anchor: log1p(v q/m expm1(rise)) with q and m those of the anchor."""
    level, rise = jax.lax.stop_gradient(anchor(a, b, pair, classes))
    p, q, d, w, v = jax.lax.stop_gradient((pair.p, pair.q, d, w, v))
    level = jnp.minimum(level, _FAR)
    phi, at = log_mix(d, w, v), log_mix(level, w, v)
    at = jnp.where(at == -jnp.inf, 0, at)  # of a share w of 0, which is about to multiply it
    growth = v * jnp.exp(level - at)
    fits = (rise <= 1) & (rise > -jnp.inf)
    near = growth * jnp.expm1(jnp.where(fits, rise, 0))
    normal = jnp.minimum(p, q) > jnp.finfo(d.dtype).tiny
    odds = jnp.where(normal, q, jnp.exp(jnp.minimum(d, _FAR))) / jnp.where(normal, p, 1)  # q / p, not rounded in d
    wide = v * jnp.exp(jnp.minimum(-at, _FAR)) * (odds - jnp.exp(level))
    grown = jnp.where(fits, near, wide)
    exact = (grown > -0.5) & (d <= _FAR) & (grown < jnp.inf)
    small = jnp.where(exact, grown, 0)
    return jnp.where(exact, jnp.where(small > -0.25, jnp.log1p(small), jnp.log(1 + small)), phi - at)


def _to_weight(pair: Pair, w: jax.Array) -> jax.Array:
    """Return the terms of KL(P || M) - KL(Q || M), which is of third order where P and Q hardly differ and w is 1/2.

    They are p (expm1(d) (1 + phi) - d exp(d)); with h = d / 2 and log m/p = h + log c the two orders that
    cancel at w = 1/2 are taken out by hand: 2 p exp(h) (sinh(h) - h cosh(h) + sinh(h) log c).
    """
    v = 1 - w
    p, q, d = pair.p, pair.q, pair.d
    near = jnp.abs(d) <= 1
    h = jnp.where(near, d, 0) / 2
    log_c = jnp.log1p(2 * jnp.sinh(h / 2) ** 2 + (v - w) * jnp.sinh(h))
    small = 2 * p * jnp.exp(h) * (_sinh_minus_h_cosh(h) + jnp.sinh(h) * log_c)
    own = jnp.where(pair.log_p == -jnp.inf, 0, p * log_mix(jnp.where(near | (pair.log_p == -jnp.inf), 1, d), w, v))
    other = jnp.where(pair.log_q == -jnp.inf, 0, q * log_mix(-jnp.where(near | (pair.log_q == -jnp.inf), 1, d), v, w))
    return jnp.where(near, small, (q - p) + (other - own))


def _sinh_minus_h_cosh(h: jax.Array) -> jax.Array:
    """Return sinh(h) - h cosh(h) for abs(h) <= 1/2, by its series -sum 2k h**(2k + 1) / (2k + 1)!."""
    series = jnp.zeros_like(h)
    for k in range(8, 0, -1):
        series = 2 * k / math.factorial(2 * k + 1) + series * h * h
    return -h * h * h * series
