"""The truth table as data: rows of four logits (and one of one), with the oracle that knows the answer.

A `Case` is one scalar function of one row, `function(x, *rest)`, and what it and its first two
derivatives are. Rows that only differ in their numbers share the function, hence its compilation.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxinfo

from . import oracle
from .oracle import INF, NAN, ONE, ZERO, Vector, covariance, mp

inf, nan = float("inf"), float("nan")


class Case(NamedTuple):
    """`function(x, *rest)` has this value, gradient and Hessian (None: not stated by the contract)."""

    name: str
    function: Callable[..., jax.Array]
    x: list[float]
    rest: tuple[Any, ...]
    value: Any
    gradient: Vector
    hessian: list[Vector] | None


def label(x, y):
    return jaxinfo.softmax_cross_entropy(x, y)


def label_where(x, y, where):
    return jaxinfo.softmax_cross_entropy(x, y, where=where)


def target(x, t):
    return jaxinfo.softmax_cross_entropy(x, t)


def target_where(x, t, where):
    return jaxinfo.softmax_cross_entropy(x, t, where=where)


def of_target(t, x):
    return jaxinfo.softmax_cross_entropy(x, t)


def of_target_where(t, x, where):
    return jaxinfo.softmax_cross_entropy(x, t, where=where)


def lse(x):
    return jaxinfo.logsumexp(x)


def lse_where(x, where):
    return jaxinfo.logsumexp(x, where=where)


def nll_of_log_softmax(x, y):
    return jaxinfo.nll(jaxinfo.log_softmax(x), y)


def softmax_at(x, y):
    return jax.lax.dynamic_index_in_dim(jaxinfo.softmax(x), y, keepdims=False)


def entropy(x):
    return jaxinfo.entropy(x)


def entropy_where(x, where):
    return jaxinfo.entropy(x, where=where)


def cross_entropy_of_p(a, b):
    return jaxinfo.cross_entropy(a, b)


def cross_entropy_of_q(b, a):
    return jaxinfo.cross_entropy(a, b)


def kl_of_p(a, b):
    return jaxinfo.kl_divergence(a, b)


def kl_of_q(b, a):
    return jaxinfo.kl_divergence(a, b)


def kl_of_p_where(a, b, where):
    return jaxinfo.kl_divergence(a, b, where=where)


def kl_of_q_where(b, a, where):
    return jaxinfo.kl_divergence(a, b, where=where)


ROWS: dict[str, list[float]] = {
    "ordinary": [0.3, -1.2, 2.0, 0.1],
    "ties": [1.5, 1.5, 1.5, -0.5],
    "uniform": [0.7, 0.7, 0.7, 0.7],
    "confident": [30.0, -1.0, 0.5, 2.0],
    "gap 88": [0.0, -88.0, -95.0, -200.0],
    "one -inf": [0.3, -inf, 2.0, 0.1],
    "three -inf": [-inf, -inf, 2.0, -inf],
    "one +inf": [0.3, inf, 2.0, 0.1],
    "+inf and -inf": [-inf, inf, -inf, -inf],
    "+inf, -inf and finite": [-inf, inf, 3e38, 1.0],
    "1e4": [1e4, -1e4, 0.0, 9999.5],
    "-1e4": [-1e4, -1e4, -1e4, -10001.5],
    "3e38": [3e38, -3e38, 0.0, 1.0],
    "ties at 3e38": [3e38, 3e38, -3e38, 3e38],
    "all -inf": [-inf, -inf, -inf, -inf],
    "two +inf": [inf, 0.1, inf, -inf],
    "nan": [0.3, nan, 2.0, 0.1],
    "nan and -inf": [nan, -inf, 2.0, 0.1],
    "one class": [0.3],
    "one class at 3e38": [3e38],
}
MASKED: dict[str, tuple[list[float], list[bool]]] = {
    "all counted": ([0.3, -1.2, 2.0, 0.1], [True, True, True, True]),
    "largest excluded": ([0.3, -1.2, 2.0, 0.1], [True, True, False, True]),
    "nan excluded": ([0.3, nan, 2.0, 0.1], [True, False, True, True]),
    "+inf excluded": ([inf, -1.2, inf, 0.1], [False, True, False, True]),
    "-inf excluded": ([0.3, -inf, 2.0, 0.1], [True, False, True, True]),
    "-inf counted": ([0.3, -inf, 2.0, nan], [True, True, True, False]),
    "+inf counted, nan excluded": ([0.3, inf, 2.0, nan], [True, True, True, False]),
    "one counted": ([0.3, -1.2, 2.0, 0.1], [False, False, False, True]),
    "one counted, at 3e38": ([nan, inf, 3e38, -inf], [False, False, True, False]),
    "none counted": ([0.3, -1.2, 2.0, 0.1], [False, False, False, False]),
    "none counted, nan": ([nan, inf, inf, -inf], [False, False, False, False]),
    "counted are all -inf": ([-inf, -inf, 2.0, -inf], [True, True, False, True]),
    "nan counted": ([0.3, nan, 2.0, 0.1], [True, True, False, True]),
    "two +inf counted": ([inf, inf, 2.0, inf], [True, True, False, False]),
}
TARGETS: dict[str, list[float]] = {
    "soft": [0.1, 0.2, 0.3, 0.4],
    "one-hot": [0.0, 0.0, 1.0, 0.0],
    "zero at 1": [0.25, 0.0, 0.5, 0.25],
    "sums to 2": [0.5, 0.5, 1.0, 0.0],
    "nothing": [0.0, 0.0, 0.0, 0.0],
}
PAIRS: dict[str, tuple[list[float], list[float]]] = {
    "ordinary": ([0.3, -1.2, 2.0, 0.1], [1.0, 0.2, -0.4, 0.6]),
    "near": ([0.3, -1.2, 2.0, 0.1], [0.3, -1.25, 2.0, 0.125]),
    "equal": ([0.3, -1.2, 2.0, 0.1], [0.3, -1.2, 2.0, 0.1]),
    "shifted": ([0.5, -1.25, 2.0, 0.125], [8.5, 6.75, 10.0, 8.125]),
    "p = 0": ([0.3, -inf, 2.0, 0.1], [1.0, 0.2, -0.4, 0.6]),
    "q = 0 where p > 0": ([0.3, -1.2, 2.0, 0.1], [1.0, -inf, -0.4, 0.6]),
    "shared mask": ([0.3, -inf, 2.0, 0.1], [1.0, -inf, -0.4, 0.6]),
    "shared mask, equal": ([0.3, -inf, 2.0, 0.1], [0.3, -inf, 2.0, 0.1]),
    "p a point": ([-inf, -inf, 2.0, -inf], [1.0, 0.2, -0.4, 0.6]),
    "p a point by +inf": ([0.3, -1.2, inf, 0.1], [1.0, 0.2, -0.4, 0.6]),
    "q a point by +inf": ([0.3, -1.2, 2.0, 0.1], [1.0, 0.2, inf, 0.6]),
    "the same point by +inf": ([0.3, -1.2, inf, 0.1], [1.0, 0.2, inf, 0.6]),
    "disjoint": ([0.3, -inf, 2.0, -inf], [-inf, 0.2, -inf, 0.1]),
    "p underflows": ([0.0, -200.0, -1.0, -120.0], [0.0, 1.0, -1.0, 2.0]),
    "q underflows": ([0.0, 0.5, -1.0, 0.2], [0.0, -200.0, -1.0, -1000.0]),
    "1e4 apart": ([1e4, -1e4, 0.0, 9999.5], [-1e4, 1e4, 0.0, 9999.5]),
    "equal at 3e38": ([3e38, -3e38, 0.0, 1.0], [3e38, -3e38, 0.0, 1.0]),
    "3e38 in p": ([3e38, -3e38, 0.0, 1.0], [0.1, 0.2, 0.3, 0.4]),
    "p all -inf": ([-inf, -inf, -inf, -inf], [1.0, 0.2, -0.4, 0.6]),
    "q all -inf": ([0.3, -1.2, 2.0, 0.1], [-inf, -inf, -inf, -inf]),
    "nan in p": ([nan, -1.2, 2.0, 0.1], [1.0, 0.2, -0.4, 0.6]),
    "nan in q": ([0.3, -1.2, 2.0, 0.1], [1.0, 0.2, nan, 0.6]),
    "two +inf in q": ([0.3, -1.2, 2.0, 0.1], [inf, 0.2, inf, 0.6]),
    "one class": ([0.3], [-5.0]),
}


def rounded(x: list[float], dtype: Any) -> list[float]:
    """Return the numbers as the dtype holds them: the oracle gets the same inputs."""
    return np.asarray(x, dtype).astype(np.float64).tolist()


def cases(dtype: Any) -> list[Case]:
    """Return the whole table on inputs rounded to `dtype`."""
    return [*_label_cases(dtype), *_target_cases(dtype), *_row_cases(dtype), *_pair_cases(dtype)]


def _label_cases(dtype: Any) -> list[Case]:
    out = []
    for name, numbers in ROWS.items():
        x = rounded(numbers, dtype)
        for y in [*range(len(x)), *([-1, len(x), -100] if name in ("ordinary", "one -inf", "one class") else [])]:
            value, slope = oracle.label_loss(x, y)
            bend = _hessian(x, None) if 0 <= y < len(x) else _full(NAN, len(x))
            out.append(Case(f"label {y}, {name}", label, x, (jnp.int32(y),), value, slope, bend))
            out.append(Case(f"nll, label {y}, {name}", nll_of_log_softmax, x, (jnp.int32(y),), value, slope, None))
    for name, (numbers, inside) in MASKED.items():
        x = rounded(numbers, dtype)
        for y in [0, 1, 2, 3, -1, 4]:
            value, slope = oracle.label_loss(x, y, inside)
            if mp.isnan(value):
                slope = _nan_inside(inside)
            bend = _hessian(x, inside) if 0 <= y < 4 else None
            rest = (jnp.int32(y), jnp.asarray(inside))
            out.append(Case(f"label {y}, {name}", label_where, x, rest, value, slope, bend))
    return out


def _target_cases(dtype: Any) -> list[Case]:
    out = []
    for name, numbers in ROWS.items():
        for kind, distribution in TARGETS.items():
            x, t = rounded(numbers, dtype), rounded(distribution[-len(numbers) :], dtype)
            value, slope, to_t = oracle.distribution_loss(x, t)
            bend = _scale(_hessian(x, None), sum(map(mp.mpf, t)))
            out.append(Case(f"{kind} target, {name}", target, x, (jnp.asarray(t, dtype),), value, slope, bend))
            if not mp.isnan(value) and INF not in to_t and "3e38" not in name:
                flat = _full(ZERO, len(x))
                out.append(Case(f"of {kind} target, {name}", of_target, t, (jnp.asarray(x, dtype),), value, to_t, flat))
    for name, (numbers, inside) in MASKED.items():
        for kind, distribution in TARGETS.items():
            x, t = rounded(numbers, dtype), rounded(distribution, dtype)
            value, slope, to_t = oracle.distribution_loss(x, t, inside)
            slope = _nan_inside(inside) if mp.isnan(value) else slope
            bend = _scale(_hessian(x, inside), sum(map(mp.mpf, t)))
            w = jnp.asarray(inside)
            out.append(Case(f"{kind} target, {name}", target_where, x, (jnp.asarray(t, dtype), w), value, slope, bend))
            if not mp.isnan(value) and INF not in to_t:
                rest = (jnp.asarray(x, dtype), w)
                out.append(Case(f"of {kind} target, {name}", of_target_where, t, rest, value, to_t, None))
    return out


def _row_cases(dtype: Any) -> list[Case]:
    out = []
    for name, numbers in ROWS.items():
        x = rounded(numbers, dtype)
        r = oracle.row(x)
        assert r is not None
        empty = r.lse == -INF
        slope = [ZERO] * len(x) if empty else r.p
        bend = _full(ZERO, len(x)) if empty else _hessian(x, None)
        out.append(Case(f"logsumexp, {name}", lse, x, (), NAN if mp.isnan(r.lse) else r.lse, slope, bend))
        value, slope = oracle.entropy(x)
        bend = oracle.entropy_hessian(x) if not mp.isnan(value) else _full(NAN, len(x))
        out.append(Case(f"entropy, {name}", entropy, x, (), value, slope, bend))
        for y in range(len(x)):
            p = r.p[y]
            slope = [p * ((r.complement[y] if i == y else ZERO) - (r.p[i] if i != y else ZERO)) for i in range(len(x))]
            out.append(Case(f"softmax at {y}, {name}", softmax_at, x, (jnp.int32(y),), p, slope, None))
    for name, (numbers, inside) in MASKED.items():
        x = rounded(numbers, dtype)
        r, (value, slope) = oracle.row(x, inside), oracle.entropy(x, inside)
        w = jnp.asarray(inside)
        slope = _nan_inside(inside) if mp.isnan(value) else slope
        out.append(Case(f"entropy, {name}", entropy_where, x, (w,), value, slope, None))
        if r is None or r.lse == -INF:
            out.append(Case(f"logsumexp, {name}", lse_where, x, (w,), -INF, [ZERO] * 4, _full(ZERO, 4)))
        else:
            slope = _nan_inside(inside) if mp.isnan(r.p[0]) else r.p
            out.append(Case(f"logsumexp, {name}", lse_where, x, (w,), r.lse, slope, _hessian(x, inside)))
    return out


def _pair_cases(dtype: Any) -> list[Case]:
    out = []
    for name, (first, second) in PAIRS.items():
        a, b = rounded(first, dtype), rounded(second, dtype)
        for kind, of_p, of_q, formula in [
            ("kl", kl_of_p, kl_of_q, oracle.kl),
            ("cross_entropy", cross_entropy_of_p, cross_entropy_of_q, oracle.cross_entropy),
        ]:
            value, to_a, to_b = formula(a, b)
            bend = None
            if not mp.isnan(value) and value != INF:
                bend = oracle.kl_hessian(a, b) if kind == "kl" else oracle.cross_entropy_hessian(a, b)
            elif kind == "kl":
                bend = _full(NAN if mp.isnan(value) else ZERO, len(a))
            if kind == "kl" or value != INF:
                out.append(Case(f"{kind} to p, {name}", of_p, a, (jnp.asarray(b, dtype),), value, to_a, bend))
            bend = _full(NAN, len(a)) if mp.isnan(value) else _hessian(b, None)
            out.append(Case(f"{kind} to q, {name}", of_q, b, (jnp.asarray(a, dtype),), value, to_b, bend))
    for name, (numbers, inside) in MASKED.items():
        a, b, w = rounded(numbers, dtype), rounded([1.0, 0.2, -0.4, 0.6], dtype), jnp.asarray(inside)
        value, to_a, to_b = oracle.kl(a, b, inside)
        if mp.isnan(value):
            to_a = to_b = _nan_inside(inside)
        out.append(Case(f"kl to p, {name}", kl_of_p_where, a, (jnp.asarray(b, dtype), w), value, to_a, None))
        out.append(Case(f"kl to q, {name}", kl_of_q_where, b, (jnp.asarray(a, dtype), w), value, to_b, None))
    return out


def _hessian(x: list[float], inside: list[bool] | None) -> list[Vector]:
    """Return diag(p) - p p^T: nan between counted classes of a row that is nan, 0 at excluded ones."""
    r = oracle.row(x, inside)
    if r is None:
        return _full(ZERO, len(x))
    if mp.isnan(r.p[0]):
        kept = [True] * len(x) if inside is None else inside
        return [[NAN if i and j else ZERO for j in kept] for i in kept]
    return covariance(r.p)


def _scale(matrix: list[Vector], factor: Any) -> list[Vector]:
    return [[factor * v for v in row] for row in matrix]


def _full(value: Any, n: int) -> list[Vector]:
    return [[value] * n for _ in range(n)]


def _nan_inside(inside: list[bool]) -> Vector:
    return [NAN if i else ZERO for i in inside]


__all__ = ["ONE", "Case", "cases"]
