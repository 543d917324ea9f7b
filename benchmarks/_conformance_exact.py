"""The right answers: values, gradients and Hessians in sixty digits, from the definitions and from no library.

Every function takes the very numbers a library is given (float32 or bfloat16, already rounded).
"""

from collections.abc import Sequence
from typing import Any

import mpmath
import numpy as np

mpmath.mp.dps = 60
Answers = dict[str, np.ndarray]


def ce_labels(logits: Any, label: int) -> Answers:
    """Return cross-entropy with a label: -log p_y; p - t; diag(p) - p p^T."""
    t = [mpmath.mpf(int(j == label)) for j in range(len(logits))]
    return _cross_entropy(log_softmax(logits), t)


def ce_soft(logits: Any, targets: Any) -> Answers:
    """Return cross-entropy with a distribution, to the logits: -sum t log p; sum(t) p - t; sum(t) (diag(p) - p p^T)."""
    return _cross_entropy(log_softmax(logits), _numbers(targets))


def cross_entropy(a: Any, b: Any, argument: int) -> Answers:
    """Return H(softmax a, softmax b) and its gradient to one of them."""
    log_p, log_q = log_softmax(a), log_softmax(b)
    p = [mpmath.exp(v) for v in log_p]
    if argument == 1:
        return _cross_entropy(log_q, p)
    value = _expect(p, [-v for v in log_q])
    return _first_order(value, [-_times(p_i, v + value) for p_i, v in zip(p, log_q, strict=True)])


def kl(a: Any, b: Any, argument: int) -> Answers:
    """Return KL(softmax a || softmax b) and its gradient: q - p to b, -p (KL + log q - log p) to a."""
    log_p, log_q = log_softmax(a), log_softmax(b)
    p, q = ([mpmath.exp(v) for v in logs] for logs in (log_p, log_q))
    d = [v - u if p_i else mpmath.mpf(0) for u, v, p_i in zip(log_p, log_q, p, strict=True)]
    value = -_expect(p, d)
    if argument == 1:
        return {**_first_order(value, [v - u for u, v in zip(p, q, strict=True)]), "hessian": _covariance(q)}
    return _first_order(value, [-_times(p_i, value + d_i) for p_i, d_i in zip(p, d, strict=True)])


def entropy(logits: Any) -> Answers:
    """Return H(softmax x) and its gradient -p (log p + H)."""
    log_p = log_softmax(logits)
    p = [mpmath.exp(v) for v in log_p]
    value = -_expect(p, log_p)
    return _first_order(value, [-_times(p_i, v + value) for p_i, v in zip(p, log_p, strict=True)])


def sigmoid_ce(x: Any, t: Any) -> Answers:
    """Return -t log sigmoid(x) - (1 - t) log sigmoid(-x) and sigmoid(x) - t, of which no digit cancels."""
    x, t = mpmath.mpf(float(x)), mpmath.mpf(float(t))
    p, p_not = 1 / (1 + mpmath.exp(-x)), 1 / (1 + mpmath.exp(x))
    return _first_order(-t * mpmath.log(p) - (1 - t) * mpmath.log(p_not), (1 - t) * p - t * p_not)


def poisson(x: Any, log_rate: Any) -> Answers:
    """Return rate - x log rate + log x! and its gradient rate - x to the log-rate."""
    x, r = mpmath.mpf(float(x)), mpmath.mpf(float(log_rate))
    return _first_order(mpmath.exp(r) - x * r + mpmath.loggamma(x + 1), mpmath.exp(r) - x)


def gaussian(x: Any, mean: Any, variance: Any) -> Answers:
    """Return log(2 pi v) / 2 + (x - mean)^2 / (2 v) and its gradient to the mean."""
    x, m, v = (mpmath.mpf(float(a)) for a in (x, mean, variance))
    return _first_order(mpmath.log(2 * mpmath.pi * v) / 2 + (x - m) ** 2 / (2 * v), (m - x) / v)


def log_softmax(logits: Any) -> list[Any]:
    """Return log p with -inf where a class does not exist."""
    x = _numbers(logits)
    top = max(x)
    total = top + mpmath.log(sum(mpmath.exp(v - top) for v in x))
    return [v - total for v in x]


def _cross_entropy(log_p: list[Any], t: list[Any]) -> Answers:
    p, mass = [mpmath.exp(v) for v in log_p], sum(t)
    gradient = [mass * p_i - t_i for p_i, t_i in zip(p, t, strict=True)]
    return {**_first_order(-_expect(t, log_p), gradient), "hessian": float(mass) * _covariance(p)}


def _covariance(p: list[Any]) -> np.ndarray:
    return np.array([[float(p_i * ((i == j) - p_j)) for j, p_j in enumerate(p)] for i, p_i in enumerate(p)])


def _first_order(value: Any, gradient: Any) -> Answers:
    slope = np.asarray(gradient, object).astype(float)
    return {"value": np.asarray(float(value)), "gradient": slope, "forward": slope}


def _numbers(values: Any) -> list[Any]:
    return [mpmath.mpf(float(v)) for v in np.asarray(values)]


def _times(weight: Any, value: Any) -> Any:
    """Return the product, 0 for weight 0 whatever the value."""
    return weight * value if weight else mpmath.mpf(0)


def _expect(weights: Sequence[Any], values: Sequence[Any]) -> Any:
    return sum(_times(w, v) for w, v in zip(weights, values, strict=True))
