"""The truth table: what each loss and measure is where a logit, a label or a mask is at its limit."""

from typing import Any

import _conformance_exact as exact
import numpy as np
from _conformance_cases import Case, f32, label, row

inf, nan = np.inf, np.nan
X = row(1, -0.5, 0.25)
LOST = row(1, -inf, 0.25)  # X without its second class


def limits() -> list[Case]:
    """Return the cases of the truth table."""
    return [*_absent(), *_targets(), *_infinite(), *_labels(), *_masks(), *_pairs(), *_sums(), *_binary()]


def answers(value: Any, gradient: Any = None, hessian: Any = None) -> dict[str, np.ndarray]:
    """Return wanted answers written out by hand."""
    want = {"value": np.asarray(value, float)}
    if gradient is not None:
        want["gradient"] = want["forward"] = np.asarray(gradient, float)
    if hessian is not None:
        want["hessian"] = np.asarray(hessian, float)
    return want


def _absent() -> list[Case]:
    """Classes of probability 0."""
    section = "A -inf class"
    right = exact.ce_labels(LOST, 0)
    p = np.exp(np.array([float(v) for v in exact.log_softmax(LOST)]))
    wrong = answers(inf, p - [0, 1, 0], right["hessian"])
    smooth = exact.ce_soft(LOST, row(0.95, 0, 0.05))
    soft = row(0.75, 0, 0.25)
    return [
        Case(section, "label elsewhere: the class does not exist", "ce_labels", (LOST, label(0)), right),
        Case(section, "one-hot target, 0 there", "ce_soft", (LOST, row(1, 0, 0)), right),
        Case(section, "soft target, 0 there", "ce_soft", (LOST, soft), exact.ce_soft(LOST, soft)),
        Case(section, "the label's own: loss +inf, gradient p - t", "ce_labels", (LOST, label(1)), wrong),
        Case(section, "one-hot target on it: loss +inf, gradient p - t", "ce_soft", (LOST, row(0, 1, 0)), wrong),
        Case(section, "label smoothing 0.1 spreads over the others", "ce_smooth", (LOST, label(0)), smooth),
    ]


def _targets() -> list[Case]:
    """Distributions that do not sum to 1, as weights and partial credit give them."""
    section = "Targets that sum to 0.5 (not renormalised)"
    t = row(0.25, 0.125, 0.125)
    huge = exact.ce_soft(row(1e4, 0, 1), t)
    return [
        Case(section, "loss and gradient sum(t) p - t", "ce_soft", (X, t), exact.ce_soft(X, t)),
        Case(section, "logits of 1e4", "ce_soft", (row(1e4, 0, 1), t), huge),
    ]


def _infinite() -> list[Case]:
    """Logits at the end of the range."""
    section, flat = "Infinite and huge logits", np.zeros((3, 3))
    lost, big = row(-inf, -inf, -inf), row(3e38, 1e38, 0)
    two, bad, unknown = row(inf, inf, 0), row(nan, 0, 0), answers(nan, [nan] * 3)
    return [
        Case(
            section, "one +inf logit, the label's", "ce_labels", (row(inf, 0, 1), label(0)), answers(0, [0] * 3, flat)
        ),
        Case(
            section,
            "one +inf logit, not the label's",
            "ce_labels",
            (row(inf, 0, 1), label(1)),
            answers(inf, [1, -1, 0], flat),
        ),
        Case(section, "one +inf logit: log_softmax", "log_softmax", (row(inf, 0, 1),), answers([0, -inf, -inf])),
        Case(section, "all -inf: nan", "ce_labels", (lost, label(0)), unknown),
        Case(section, "two +inf: nan", "ce_labels", (two, label(0)), unknown),
        Case(section, "a nan logit: nan", "ce_labels", (bad, label(1)), unknown),
        Case(
            section,
            "logits of 1e4, the label 1e4 behind",
            "ce_labels",
            (row(1e4, 0, 1), label(1)),
            answers(1e4, [1, -1, 0], flat),
        ),
        Case(
            section,
            "logits of 3e38, the label 2e38 behind",
            "ce_labels",
            (big, label(1)),
            answers(2e38, [1, -1, 0], flat),
        ),
        Case(section, "logits of 3e38, one-hot", "ce_soft", (big, row(0, 1, 0)), answers(2e38, [1, -1, 0], flat)),
        Case(
            section, "a loss of 6e38, beyond float32", "ce_labels", (row(3e38, -3e38), label(1)), answers(inf, [1, -1])
        ),
        Case(section, "one class", "ce_labels", (row(2.5), label(0)), answers(0, [0], [[0]])),
        Case(section, "no rows", "ce_labels", (np.zeros((0, 3), f32), np.zeros(0, np.int32)), answers(np.zeros(0))),
    ]


def _labels() -> list[Case]:
    """Labels that are no class."""
    section, unknown = "Labels out of range (nan, or an error)", answers(nan, [nan] * 3)
    cases = [
        Case(section, f"label {name}", "ce_labels", (X, label(y)), unknown, may_refuse=True)
        for name, y in (("-1", -1), ("-100, 3 classes", -100), ("V", 3))
    ]
    many = np.linspace(-1, 1, 128).astype(f32)
    want = answers(nan, np.full(128, nan))
    return [*cases, Case(section, "label -100, 128 classes", "ce_labels", (many, label(-100)), want, may_refuse=True)]


def _masks() -> list[Case]:
    """Elements left out with `where`; torch has its own idiom, masked_fill and ignore_index."""
    section, mask, nothing = "Masks", np.array([True, False, True]), np.zeros(3, bool)
    right, zero = exact.ce_labels(LOST, 0), answers(0, [0] * 3, np.zeros((3, 3)))
    junk, lost = row(1, nan, 0.25), row(-inf, -inf, -inf)
    p = right["gradient"] + [1, 0, 0]
    value = answers(inf, p, right["hessian"])  # p - t where it counts: the excluded element's own is 0
    return [
        Case(section, "a class is excluded", "ce_labels", (X, label(0), mask), right),
        Case(section, "a class is excluded, one-hot target", "ce_soft", (X, row(1, 0, 0), mask), right),
        Case(section, "the excluded logit is nan", "ce_labels", (junk, label(0), mask), right),
        Case(section, "the label is excluded: loss +inf", "ce_labels", (X, label(1), mask), value),
        Case(section, "the one-hot target is excluded: loss +inf", "ce_soft", (X, row(0, 1, 0), mask), value),
        Case(section, "the row is excluded: 0", "ce_labels", (X, label(0), nothing), zero),
        Case(section, "the row is excluded and all -inf: 0", "ce_labels", (lost, label(0), nothing), zero),
        Case(section, "the row is excluded, soft target: 0", "ce_soft", (X, row(0.75, 0, 0.25), nothing), zero),
    ]


def _pairs() -> list[Case]:
    """Two distributions of which one lacks a class."""
    section, b, lost = "Zero probabilities in a pair", row(0.5, 1, -1), row(0.5, -inf, -1)
    pairs = [("the teacher lacks a class", LOST, b), ("teacher and student share a mask", LOST, lost)]
    cases = []
    for name, p, q in pairs:
        for k, to in ((1, "q"), (0, "p")):
            cases.append(Case(section, f"KL, {name}: to {to}", "kl", (p, q), exact.kl(p, q, k), k))
            want = exact.cross_entropy(p, q, k)
            cases.append(Case(section, f"cross-entropy, {name}: to {to}", "cross_entropy", (p, q), want, k))
    right = exact.ce_soft(lost, np.exp([float(v) for v in exact.log_softmax(X)]))
    gradient = {name: right[name] for name in ("gradient", "forward")}
    want = answers(inf) | gradient
    return [*cases, Case(section, "KL, the student lacks a class: +inf, q - p", "kl", (X, lost), want, 1)]


def _sums() -> list[Case]:
    section, lost = "logsumexp", row(-inf, -inf, -inf)
    return [
        Case(section, "all -inf: -inf, gradient 0", "logsumexp", (lost,), answers(-inf, [0] * 3)),
        Case(section, "one +inf: +inf, gradient on it", "logsumexp", (row(inf, 0, 1),), answers(inf, [1, 0, 0])),
        Case(section, "two +inf: +inf", "logsumexp", (row(inf, inf, 1),), answers(inf)),
        Case(section, "a nan", "logsumexp", (row(nan, 0, 1),), answers(nan)),
    ]


def _binary() -> list[Case]:
    section = "Sigmoid cross-entropy at infinite logits"
    table = ((inf, 1, 0, 0), (-inf, 0, 0, 0), (inf, 0, inf, 1), (-inf, 1, inf, -1))
    return [
        Case(section, f"logit {x:+}, outcome {t}", "sigmoid_ce", (f32(x), f32(t)), answers(value, gradient))
        for x, t, value, gradient in table
    ]
