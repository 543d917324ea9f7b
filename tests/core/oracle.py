"""The obvious formulae in 60 digits (`mp.workdps` for more), for values, gradients and Hessians; never our own code.

A row of logits is a list of Python floats, `where` a list of booleans; the row may hold infinities and
nan, and the limits are written out here as the contract states them. Everything is returned as mpf, or
lists of mpf, so that a float result can be compared exactly.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import mpmath
import numpy as np

mp = mpmath.MPContext()
mp.dps = 60
NAN, INF, ZERO, ONE = mp.mpf("nan"), mp.mpf("inf"), mp.mpf(0), mp.mpf(1)

Vector = list[Any]


class Row(NamedTuple):
    """One distribution: p, 1 - p and log p (without cancellation), and the logsumexp; None for nothing included."""

    p: Vector
    complement: Vector
    log_p: Vector
    lse: Any


def row(x: Sequence[float], where: Sequence[bool] | None = None) -> Row | None:
    """Return the distribution of one row of logits."""
    return _row(tuple(map(float, x)), None if where is None else tuple(map(bool, where)), mp.dps)


@lru_cache(maxsize=512)
def _row(x: tuple[float, ...], where: tuple[bool, ...] | None, digits: int) -> Row | None:
    del digits  # the answer depends on the precision it is computed in
    inside = [True] * len(x) if where is None else list(where)
    kept = [v for v, i in zip(x, inside, strict=True) if i]
    if not kept:
        return None
    top = max(kept)
    infinities = sum(v == np.inf for v in kept)
    if any(np.isnan(kept)) or top == -np.inf or infinities > 1:
        bad = [NAN] * len(x)
        lse = INF if infinities else (NAN if any(np.isnan(kept)) else -INF)
        return Row(bad, bad, bad, lse)
    if infinities:
        p = [ONE if i and v == np.inf else ZERO for v, i in zip(x, inside, strict=True)]
        return Row(p, [1 - a for a in p], [ZERO if a else -INF for a in p], INF)
    e = [mp.exp(mp.mpf(v) - mp.mpf(top)) if i and v > -np.inf else ZERO for v, i in zip(x, inside, strict=True)]
    s = mp.fsum(e)
    best = next(k for k, v in enumerate(x) if inside[k] and v == top)
    rest = mp.fsum(e[:best] + e[best + 1 :])
    p = [a / s for a in e]
    complement = [1 - a for a in p]
    complement[best] = rest / s
    log_s = mp.log1p(rest)
    log_p = [mp.mpf(v) - mp.mpf(top) - log_s if i and v > -np.inf else -INF for v, i in zip(x, inside, strict=True)]
    return Row(p, complement, log_p, mp.mpf(top) + log_s)


def covariance(p: Vector) -> list[Vector]:
    """Return diag(p) - p p^T, the Hessian of logsumexp."""
    return [[(a if i == j else ZERO) - a * b for j, b in enumerate(p)] for i, a in enumerate(p)]


def label_loss(x: Sequence[float], y: int, where: Sequence[bool] | None = None) -> tuple[Any, Vector]:
    """Return -log p_y and its gradient p - e_y, 0 at excluded places; nan for a label outside the classes."""
    r = row(x, where)
    if r is None:
        return ZERO, [ZERO] * len(x)
    if not 0 <= y < len(x) or mp.isnan(r.log_p[y]):
        return NAN, [NAN] * len(x)
    slope = [-r.complement[j] if j == y else r.p[j] for j in range(len(x))]
    return -r.log_p[y], _inside(slope, where)


def distribution_loss(
    x: Sequence[float], t: Sequence[float], where: Sequence[bool] | None = None
) -> tuple[Any, Vector, Vector]:
    """Return -sum t log p, its gradient sum(t) p - t to the logits and -log p to the targets."""
    r = row(x, where)
    if r is None:
        return ZERO, [ZERO] * len(x), [ZERO] * len(x)
    if mp.isnan(r.p[0]):
        return NAN, [NAN] * len(x), [NAN] * len(x)
    ts = [mp.mpf(float(v)) for v in t]
    mass = mp.fsum(ts)
    value = mp.fsum(_times(a, -lp) for a, lp in zip(ts, r.log_p, strict=True))
    slope = [mass * p - a if p < 0.5 else (mass - a) - mass * c for p, a, c in zip(r.p, ts, r.complement, strict=True)]
    to_targets = [ZERO if a == 0 and lp == -INF else -lp for a, lp in zip(ts, r.log_p, strict=True)]
    return value, _inside(slope, where), to_targets


def entropy(x: Sequence[float], where: Sequence[bool] | None = None) -> tuple[Any, Vector]:
    """Return -sum p log p and its gradient -p (log p + H)."""
    value, slope, _ = cross_entropy(x, x, where)
    r = row(x, where)
    if r is None or mp.isnan(value):
        return value, slope
    return value, [_times(p, -(lp + value)) if p else ZERO for p, lp in zip(r.p, r.log_p, strict=True)]


def cross_entropy(
    a: Sequence[float], b: Sequence[float], where: Sequence[bool] | None = None
) -> tuple[Any, Vector, Vector]:
    """Return -sum p log q and its gradients: p (-log q - H) to a, q - p to b."""
    r, s = row(a, where), row(b, where)
    if r is None or s is None:
        return ZERO, [ZERO] * len(a), [ZERO] * len(a)
    if mp.isnan(r.p[0]) or mp.isnan(s.p[0]):
        return NAN, [NAN] * len(a), [NAN] * len(a)
    value = mp.fsum(_times(p, -lq) for p, lq in zip(r.p, s.log_p, strict=True))
    to_a = [ZERO if value == INF or not p else p * (-lq - value) for p, lq in zip(r.p, s.log_p, strict=True)]
    return value, to_a, _difference(s, r)


def kl(a: Sequence[float], b: Sequence[float], where: Sequence[bool] | None = None) -> tuple[Any, Vector, Vector]:
    """Return sum p log(p / q) and its gradients: p (log(p / q) - KL) to a (0 where KL is infinite), q - p to b."""
    r, s = row(a, where), row(b, where)
    if r is None or s is None:
        return ZERO, [ZERO] * len(a), [ZERO] * len(a)
    if mp.isnan(r.p[0]) or mp.isnan(s.p[0]):
        return NAN, [NAN] * len(a), [NAN] * len(a)
    ratio = [lp - lq if p else ZERO for p, lp, lq in zip(r.p, r.log_p, s.log_p, strict=True)]
    value = mp.fsum(p * d if p else ZERO for p, d in zip(r.p, ratio, strict=True))
    to_a = [ZERO if value == INF or not p else p * (d - value) for p, d in zip(r.p, ratio, strict=True)]
    return value, to_a, _difference(s, r)


def entropy_hessian(x: Sequence[float]) -> list[Vector]:
    """Return the Hessian of the entropy of softmax(x), from the derivative of -p (log p + H)."""
    r, (value, slope) = _finite_row(x), entropy(x)
    return [
        [-(p * ((i == j) - r.p[j]) * (lp + value + 1)) - p * slope[j] if p else ZERO for j in range(len(x))]
        for i, (p, lp) in enumerate(zip(r.p, r.log_p, strict=True))
    ]


def cross_entropy_hessian(a: Sequence[float], b: Sequence[float]) -> list[Vector]:
    """Return the Hessian of -sum p log q with respect to the logits of p."""
    r, s, (value, slope, _) = _finite_row(a), _finite_row(b), cross_entropy(a, b)
    return [
        [p * ((i == j) - r.p[j]) * (-s.log_p[i] - value) - p * slope[j] if p else ZERO for j in range(len(a))]
        for i, p in enumerate(r.p)
    ]


def kl_hessian(a: Sequence[float], b: Sequence[float]) -> list[Vector]:
    """Return the Hessian of sum p log(p / q) with respect to the logits of p: that of H(p, q) - H(p)."""
    crossed, own = cross_entropy_hessian(a, b), entropy_hessian(a)
    return [[u - v for u, v in zip(c, o, strict=True)] for c, o in zip(crossed, own, strict=True)]


def large_row(x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the logsumexp, log p and p of a long float32 row in float64, the sum being exact."""
    wide = x.astype(np.float64)
    top = float(wide.max())
    best = int(wide.argmax())
    terms = np.exp(wide - top)
    log_s = math.log1p(math.fsum(np.delete(terms, best)))
    log_p = (wide - top) - log_s
    return top + log_s, log_p, np.exp(log_p)


def _finite_row(x: Sequence[float]) -> Row:
    r = row(x)
    assert r is not None
    return r


def _times(weight: Any, value: Any) -> Any:
    """Return weight * value with 0 * inf = 0."""
    return ZERO if weight == 0 else weight * value


def _difference(s: Row, r: Row) -> Vector:
    """Return q - p, taken between the complements where both are near 1."""
    return [
        (cp - cq) if p > 0.5 and q > 0.5 else q - p
        for q, cq, p, cp in zip(s.p, s.complement, r.p, r.complement, strict=True)
    ]


def _inside(slope: Vector, where: Sequence[bool] | None) -> Vector:
    return slope if where is None else [g if i else ZERO for g, i in zip(slope, where, strict=True)]
