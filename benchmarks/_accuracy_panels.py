"""What is measured: rows along an axis, their right answers, and how the distance from them is counted.

A value is counted in units in the last place of the right one, a gradient to one logit likewise, a whole gradient in
units of its largest element: what is added to a parameter is small where the gradient is.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import mpmath
import numpy as np
from _conformance_ask import ask
from _conformance_exact import log_softmax

CLASSES = 1000
ROWS = 4  # random rows at each point


@dataclasses.dataclass(frozen=True)
class Row:
    """One row: where it lies on the axis, the arguments, and the right answer as exact as float64 holds it."""

    x: float
    arguments: tuple[Any, ...]
    want: np.ndarray


@dataclasses.dataclass(frozen=True)
class Panel:
    """One picture, or one line of the table.

    Attributes:
        name: of the file.
        title: what is measured.
        axis: what changes from left to right.
        function: which of the peers' functions is asked.
        rows: all rows.
        promise: the bound the contract states.
        argument: which argument the gradient is to; None for the value.
        element: which element of a value or gradient is looked at; None for all of them, in units of the largest.
        picture: whether there is one.
    """

    name: str
    title: str
    axis: str
    function: str
    rows: list[Row]
    promise: str
    argument: int | None = None
    element: int | None = None
    picture: bool = False

    @property
    def unit(self) -> str:
        """Return what the error is counted in."""
        whole = self.argument is not None and self.element is None
        return "ulp of the gradient's largest element" if whole else "ulp"

    def error(self, library: str, function: Callable[..., Any], row: Row) -> float:
        """Return the error of one answer; inf where it is not finite."""
        quantity = "value" if self.argument is None else "gradient"
        got = np.asarray(ask(library, function, quantity, self.argument or 0, row.arguments), np.float64)
        want = row.want
        if self.element is not None:
            got = got[self.element]
        off = np.abs(got - want)
        size = np.max(np.abs(want))
        unit = float(np.spacing(np.float32(size)))
        worst = float(np.max(off)) / unit
        return worst if math.isfinite(worst) else math.inf


def panels() -> Iterator[Panel]:
    """Return all panels."""
    margins = list(_margins())
    yield Panel(
        "accuracy_cross_entropy_value", "Cross-entropy of a label: value", "margin of the label, in nats",
        "ce_labels", [Row(m, row, loss) for m, row, loss, _ in margins], "8 eps, and abs(log loss) eps below 1",
        picture=True,
    )  # fmt: skip
    yield Panel(
        "accuracy_cross_entropy_gradient", "Cross-entropy of a label: gradient to the label's logit",
        "margin of the label, in nats", "ce_labels", [Row(m, row, slope) for m, row, _, slope in margins],
        "(8 + 2 abs(log g)) eps", argument=0, element=0, picture=True,
    )  # fmt: skip
    pairs = list(_pairs())
    yield Panel(
        "accuracy_kl_value", "KL divergence: value", "typical difference of two logits",
        "kl", [Row(d, row, kl) for d, row, kl, _, _ in pairs], "16 eps", picture=True,
    )  # fmt: skip
    yield Panel(
        "accuracy_kl_gradient", "KL divergence: gradient to Q", "typical difference of two logits",
        "kl", [Row(d, row, to_q) for d, row, _, _, to_q in pairs], "32 eps", argument=1, picture=True,
    )  # fmt: skip
    yield Panel(
        "accuracy_kl_gradient_p", "KL divergence: gradient to P", "typical difference of two logits",
        "kl", [Row(d, row, to_p) for d, row, _, to_p, _ in pairs], "32 eps", argument=0,
    )  # fmt: skip
    yield Panel(
        "accuracy_kl_rare", "KL divergence: one class in 1,000 differs by 1.5, the others hardly",
        "typical difference of the other logits", "kl", list(_rare()), "16 eps",
    )  # fmt: skip
    yield Panel(
        "accuracy_log_softmax", "log_softmax: the likeliest class", "margin of the likeliest class, in nats",
        "log_softmax", [Row(m, row[:1], -loss) for m, row, loss, _ in margins],
        "8 eps, and abs(log loss) eps below 1", element=0,
    )  # fmt: skip
    yield Panel(
        "accuracy_js", "JS divergence", "typical difference of two logits",
        "js", [Row(d, row, _js(*row)) for d, row, _, _, _ in pairs], "16 eps up to 5, 64 eps beyond",
    )  # fmt: skip
    yield Panel(
        "accuracy_entropy", "Entropy", "margin of the likeliest class, in nats",
        "entropy", [Row(m, row[:1], _entropy(row[0])) for m, row, _, _ in margins if m <= 60], "(8 + abs(log H)) eps",
    )  # fmt: skip
    yield Panel(
        "accuracy_sigmoid", "Sigmoid cross-entropy", "log-odds of the outcome",
        "sigmoid_ce", list(_sigmoids()), "8 eps",
    )  # fmt: skip
    yield Panel(
        "accuracy_poisson", "Poisson NLL", "count, near its rate",
        "poisson", list(_counts()), "16 eps (1 + x abs(delta) / loss)",
    )  # fmt: skip


def _margins() -> Iterator[tuple[float, tuple[Any, ...], np.ndarray, np.ndarray]]:
    """Return rows whose label 0 leads the largest other logit by so much, with loss and p - 1."""
    rng = np.random.default_rng(0)
    for margin in range(86):
        for _ in range(ROWS):
            x = rng.standard_normal(CLASSES).astype(np.float32)
            x[0] = x[1:].max() + np.float32(margin)
            ahead = mpmath.mpf(float(x[0]))
            rest = mpmath.fsum(mpmath.exp(mpmath.mpf(float(v)) - ahead) for v in x[1:])
            loss = mpmath.log1p(rest)
            yield float(margin), (x, np.int32(0)), np.float64(loss), np.float64(mpmath.expm1(-loss))


def _pairs() -> Iterator[tuple[float, tuple[Any, ...], np.ndarray, np.ndarray, np.ndarray]]:
    """Return pairs of distributions so far apart, with KL and its gradients to both."""
    rng = np.random.default_rng(1)
    for closeness in np.logspace(-6, 0.75, 28):
        for _ in range(ROWS):
            a = rng.standard_normal(CLASSES).astype(np.float32)
            b = (a + closeness * rng.standard_normal(CLASSES)).astype(np.float32)
            yield float(closeness), (a, b), *_kl(a, b)


def _rare() -> Iterator[Row]:
    rng = np.random.default_rng(2)
    for closeness in np.logspace(-6, -1, 6):
        for _ in range(ROWS):
            a = rng.standard_normal(CLASSES).astype(np.float32)
            b = (a + closeness * rng.standard_normal(CLASSES)).astype(np.float32)
            b[0] = a[0] + np.float32(1.5)
            yield Row(float(closeness), (a, b), _kl(a, b)[0])


def _kl(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    log_p, log_q = log_softmax(a), log_softmax(b)
    p, q = ([mpmath.exp(v) for v in logs] for logs in (log_p, log_q))
    d = [v - u for u, v in zip(log_p, log_q, strict=True)]
    value = -mpmath.fsum(p_i * d_i for p_i, d_i in zip(p, d, strict=True))
    to_p = [-p_i * (value + d_i) for p_i, d_i in zip(p, d, strict=True)]
    to_q = [q_i - p_i for p_i, q_i in zip(p, q, strict=True)]
    return np.float64(value), np.array(to_p, np.float64), np.array(to_q, np.float64)


def _js(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    log_p, log_q = log_softmax(a), log_softmax(b)
    terms = []
    for u, v in zip(log_p, log_q, strict=True):
        p, q = mpmath.exp(u), mpmath.exp(v)
        middle = mpmath.log((p + q) / 2)
        terms.append((p * (u - middle) + q * (v - middle)) / 2)
    return np.float64(mpmath.fsum(terms))


def _entropy(x: np.ndarray) -> np.ndarray:
    log_p = log_softmax(x)
    return np.float64(-mpmath.fsum(mpmath.exp(v) * v for v in log_p))


def _sigmoids() -> Iterator[Row]:
    for x in np.linspace(-85, 85, 341, dtype=np.float32):
        yield Row(float(x), (x, np.float32(1)), np.float64(mpmath.log1p(mpmath.exp(-mpmath.mpf(float(x))))))


def _counts() -> Iterator[Row]:
    rng = np.random.default_rng(3)
    for exponent in range(7):
        for _ in range(ROWS):
            count = np.float32(np.round(10.0**exponent * rng.uniform(1, 2)))
            rate = np.float32(np.log(count) + rng.normal() / np.sqrt(count))
            x, r = mpmath.mpf(float(count)), mpmath.mpf(float(rate))
            yield Row(10.0**exponent, (count, rate), np.float64(mpmath.exp(r) - x * r + mpmath.loggamma(x + 1)))
