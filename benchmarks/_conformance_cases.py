"""What a case is, and the cases of accuracy; those of the truth table are in _conformance_limits.py."""

from dataclasses import dataclass
from typing import Any

import _conformance_exact as exact
import ml_dtypes
import numpy as np

f32 = np.float32
# Libraries are not told apart by their last digits: 1e-5 is 84 eps of float32. Figures that leave its normal range
# may be flushed to 0.
RTOL, ATOL = 1e-5, 1e-37


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        section: heading it stands under.
        name: what is asked, in a reader's words.
        function: the key of the adapters in _conformance_peers.
        arguments: what the function is given, `where` last for those that take it.
        want: the right answers by quantity: "value", "gradient" (reverse mode), "forward", "hessian".
            Derivatives are those of the result's first element.
        argument: the position of the argument they are taken to.
        rtol: relative tolerance of every element.
        atol: absolute tolerance of every element.
        may_refuse: a plain error is as right as the answer.
    """

    section: str
    name: str
    function: str
    arguments: tuple[Any, ...]
    want: dict[str, np.ndarray]
    argument: int = 0
    rtol: float = RTOL
    atol: float = ATOL
    may_refuse: bool = False


def row(*values: float, dtype: Any = f32) -> np.ndarray:
    """Return the values as one row of logits."""
    return np.array(values, dtype)


def label(value: int) -> np.ndarray:
    """Return a label of a single row."""
    return np.array(value, np.int32)


def only(answers: dict[str, np.ndarray], *quantities: str) -> dict[str, np.ndarray]:
    """Return some of the answers."""
    return {name: answers[name] for name in quantities}


def accuracy() -> list[Case]:
    """Return the cases where the formula of the textbook loses its digits."""
    return [*_confident(), *_close(), *_entropy(), *_half(), *_densities()]


def _confident() -> list[Case]:
    cases = []
    for margin in (10, 15, 20, 60):
        x = row(margin, 0, -1, 0.5, -0.25)
        right = exact.ce_labels(x, 0)
        section = "Confident predictions"
        title = f"the label leads by {margin}: "
        cases += [
            Case(section, f"{title}loss", "ce_labels", (x, label(0)), only(right, "value")),
            Case(section, f"{title}gradient", "ce_labels", (x, label(0)), only(right, "gradient", "forward")),
            Case(section, f"{title}loss, one-hot", "ce_soft", (x, row(1, 0, 0, 0, 0)), only(right, "value")),
        ]
        log_p = np.array([float(v) for v in exact.log_softmax(x)])
        cases.append(Case(section, f"{title}log_softmax", "log_softmax", (x,), {"value": log_p}))
    x, t = f32(40), f32(1)
    cases.append(Case(section, "sigmoid: logit 40, outcome 1", "sigmoid_ce", (x, t), exact.sigmoid_ce(x, t)))
    return cases


def _close() -> list[Case]:
    section, cases = "Kullback-Leibler divergence", []
    a, noise = row(1, -0.5, 0.3, 2, -1.7), row(0.4, -1.1, 0.9, 0.2, -0.7)
    pairs = [(f"logits that differ by {d:g}", a, a + f32(d) * noise) for d in (1, 1e-2, 1e-3, 1e-5)]
    policy = row(10, 9.5, 8, -4, 9)
    pairs.append(("equal but for one rare class off by 1.5", policy, policy + row(0, 0, 0, 1.5, 0)))
    pairs.append(("a common offset of 1000, logits that differ by 1e-2", a, np.round(a * 64 + noise) / f32(64) + 1000))
    pairs.append(("a teacher with a probability that underflows", row(0, -200, 0.5), row(0, -1, 0.25)))
    pairs.append(("a student whose probability underflows", row(0, 0.5, 0), row(0, -200, 0.25)))
    for name, p, q in pairs:
        # gradients in units of the row's largest: an element may cross zero
        for k, to in ((1, "q"), (0, "p")):
            right = exact.kl(p, q, k)
            slack = 1e-5 * float(np.abs(right["gradient"]).max())
            if k:
                cases.append(Case(section, f"{name}: value", "kl", (p, q), only(right, "value"), rtol=1e-5))
            want = only(right, "gradient", "forward")
            cases.append(Case(section, f"{name}: gradient to {to}", "kl", (p, q), want, k, atol=slack))
    zero = {"value": np.zeros(()), "gradient": np.zeros(5), "forward": np.zeros(5)}
    same = np.round(a * 8) / f32(8)
    cases.append(Case(section, "p == q: exactly 0", "kl", (same, same), zero, 1, atol=0))
    cases.append(Case(section, "p == q up to a shift of 4: exactly 0", "kl", (same, same + f32(4)), zero, 1, atol=0))
    return cases


def _entropy() -> list[Case]:
    section, cases = "Entropy", []
    for gap in (10, 20, 30, 60):
        right = only(exact.entropy(row(0, -gap)), "value", "gradient", "forward")
        cases.append(Case(section, f"near-deterministic, gap {gap}", "entropy", (row(0, -gap),), right))
    right = only(exact.entropy(row(0, -88)), "value", "gradient", "forward")
    cases.append(
        Case(section, "gap 88, where p is subnormal: 0 to 1e-35", "entropy", (row(0, -88),), right, atol=1e-35)
    )
    x = row(0, -np.inf, 1)
    cases.append(Case(section, "a -inf class", "entropy", (x,), exact.entropy(x)))
    return cases


def _half() -> list[Case]:
    section = "Half precision"
    x = row(100, 98, 101.5, 97, dtype=ml_dtypes.bfloat16)
    cases = []
    for y in (0, 2):
        want = only(exact.ce_labels(x, y), "value", "gradient")
        name = f"bfloat16 at a common offset of 100, label {y}: to 5 %"
        cases.append(Case(section, name, "ce_labels", (x, label(y)), want, rtol=5e-2))
    v = 65536  # more than the largest float16
    x = np.linspace(-8, 8, v).astype(np.float16)
    p = np.exp(x.astype(float))
    equal, want = np.zeros(v, np.float16), {"value": np.full(v, -np.log(v))}
    cases.append(
        Case(section, "float16, 65,536 equal classes: log_softmax, to 1 %", "log_softmax", (equal,), want, rtol=1e-2)
    )
    want = {"gradient": 1 - v * p / p.sum()}
    name = "float16, 65,536 classes: gradient 1 - V p of the sum of log_softmax, to 1 %"
    cases.append(Case(section, name, "log_softmax_sum", (x,), want, rtol=1e-2, atol=0.05))
    x = np.zeros(v, ml_dtypes.bfloat16)
    want = {"value": np.array(np.log(v))}
    cases.append(
        Case(section, "bfloat16 loss over 65,536 equal classes: to 1 %", "ce_labels", (x, label(0)), want, rtol=1e-2)
    )
    return cases


def _densities() -> list[Case]:
    section, cases = "Densities", []
    for t, r in ((2.0, 0.0), (1.0, 0.5), (1000.0, 7.0)):
        want, arguments = exact.poisson(t, f32(r)), (f32(t), f32(r))
        cases.append(Case(section, f"poisson with log t!: t = {t:g}, log-rate {r:g}", "poisson", arguments, want, 1))
    want = {"value": np.zeros(()), "gradient": np.zeros(()), "forward": np.zeros(())}
    cases.append(Case(section, "poisson: t = 0, log-rate -inf", "poisson", (f32(0), f32(-np.inf)), want, 1))
    for x, m, v in ((1.0, 0.5, 2.0), (1.0, 1.0, 1e-8)):
        arguments = (f32(x), f32(m), f32(v))
        name = f"gaussian, constant included: x = {x:g}, mean {m:g}, variance {v:g}"
        cases.append(Case(section, name, "gaussian", arguments, exact.gaussian(*arguments), 1))
    return cases
