"""A result in words and figures: statsmodels' table, a dictionary, a picture of the convergence."""

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxinfo.fitting._information import EXACT_UP_TO
from jaxinfo.fitting._result import History

if TYPE_CHECKING:
    from jaxinfo.fitting._estimate import FitResult

_WIDTH = 80
_LINES = 200  # parameters listed before the table is cut
_CONDITION = 1e10  # beyond it a digit of the standard errors in ten thousand is doubtful even in float64


def summary(result: "FitResult", kind: str, level: float) -> str:
    """Return a table in statsmodels' layout: the fit above, a line for each parameter below."""
    matrix = result.uncertainty.size <= EXACT_UP_TO
    lines = ["Maximum likelihood".center(_WIDTH).rstrip(), "=" * _WIDTH, *_head(result, kind, matrix), "=" * _WIDTH]
    if matrix:
        lines += [*_coefficients(result, kind, level), "=" * _WIDTH]
    return "\n".join(lines + _notes(result, matrix))


def _head(result: "FitResult", kind: str, matrix: bool) -> list[str]:
    left = [
        ("Method:", result.method),
        ("Stopped:", str(result.reason)),
        ("Steps:", f"{result.steps:,}"),
        ("Evaluations:", f"{result.evaluations:,}"),
        ("Newton decrement:", f"{result.decrement:.3e}"),
        ("Gradient norm:", f"{result.gradient_norm:.3e}"),
        ("Covariance Type:", kind),
        ("Condition Number:", f"{result.condition_number:.3g}" if matrix else "not computed"),
    ]
    right = [
        (
            "No. Observations:",
            f"{result.observations:,.6g}" if result.observations % 1 else f"{result.observations:,.0f}",
        ),
        ("Free Parameters:", f"{result.parameters:,}"),
        ("Log-Likelihood:", f"{result.log_likelihood:.5f}"),
        ("Objective:", f"{result.objective:.5f}"),
        ("Cross-Entropy (nats):", f"{result.cross_entropy:.6g}"),
        ("Perplexity:", f"{result.perplexity:.6g}"),
        ("AIC:", f"{result.aic:.4f}"),
        ("BIC:", f"{result.bic:.4f}"),
    ]
    half = (_WIDTH - 2) // 2
    return [f"{a}{b:>{half - len(a)}}  {c}{d:>{half - len(c)}}" for (a, b), (c, d) in zip(left, right, strict=True)]


def _coefficients(result: "FitResult", kind: str, level: float) -> list[str]:
    names = parameter_names(result.params)
    errors = result.errors(kind)
    low, high = result.confidence_intervals(level, kind)
    columns = [_flat(tree) for tree in (result.params, errors, low, high)]
    tail = f"{(1 - level) / 2:.6g}"
    widest = min(max(map(len, names)), 24)
    header = f"{'':{widest}} {'coef':>10} {'std err':>10} {'z':>8} {'P>|z|':>7} {'[' + tail:>9} "
    lines = [header + f"{f'{(1 + level) / 2:.6g}]':>9}", "-" * _WIDTH]
    for name, x, e, a, b in list(zip(names, *columns, strict=True))[:_LINES]:
        z = x / e if e > 0 else math.nan
        p = 2 * NormalDist().cdf(-abs(z))
        ends = f"{_number(a, 9)} {_number(b, 9)}"
        lines.append(f"{name[-widest:]:{widest}} {_number(x, 10)} {_number(e, 10)} {z:8.3f} {p:7.3f} {ends}")
    if len(names) > _LINES:
        lines.append(f"... and {len(names) - _LINES:,} more parameters.")
    return lines


def _number(x: float, width: int) -> str:
    """Return `x` with four decimals where they fit and show something, as statsmodels does."""
    plain = f"{x:.4f}"
    return f"{plain if len(plain) <= width and (abs(x) >= 1e-3 or x == 0) else f'{x:.3g}':>{width}}"


def _notes(result: "FitResult", matrix: bool) -> list[str]:
    notes = [f"{result.reason}: {result.reason.sentence}."]
    if result.detail:
        notes.append(result.detail)
    if not result.reason.found:
        notes.append("The parameters are no maximum of the likelihood: the standard errors mean little.")
    if matrix and result.uncertainty.indefinite:
        notes.append("The observed information is indefinite: standard errors that it does not give are nan.")
    if matrix and result.singular:
        free = result.uncertainty.size - result.parameters
        notes.append(
            f"The information is singular: {free} direction{'s' * (free > 1)} of the parameters "
            f"change{'s' * (free == 1)} nothing, and the covariance is its Moore-Penrose inverse."
        )
    if matrix and result.condition_number > _CONDITION:
        notes.append(f"The condition number is large, {result.condition_number:.2g}: near-collinear parameters.")
    if not matrix:
        notes.append(f"More than {EXACT_UP_TO:,} parameters: ask for the `contrast` of interest and its error.")
    if result.likelihood.penalty is not None:
        notes.append("A penalty was added: this is a MAP estimate, and AIC and BIC do not know of it.")
    return [f"[{i}] {note}" for i, note in enumerate(notes, start=1)]


def parameter_names(params: Any) -> list[str]:
    """Return a name for every parameter: the path of its leaf, and its index there."""
    names = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        base = jax.tree_util.keystr(path, simple=True, separator=".") or "params"
        if np.ndim(leaf) == 0:
            names.append(base)
        else:
            names += [f"{base}[{', '.join(map(str, index))}]" for index in np.ndindex(np.shape(leaf))]
    return names


def _flat(tree: Any) -> np.ndarray:
    return np.concatenate([np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(tree)])


def as_dictionary(result: "FitResult") -> dict[str, Any]:
    """Return all figures as plain Python values that JSON takes; what is not finite becomes None."""
    matrix = result.uncertainty.size <= EXACT_UP_TO
    figures = {
        name: getattr(result, name)
        for name in (
            "params objective log_likelihood cross_entropy bits perplexity entropy kl observations parameters "
            "method steps evaluations gradient_norm decrement validation_loss detail direction aic bic "
            "compile_seconds run_seconds"
        ).split()
    }
    figures |= {
        "reason": str(result.reason),
        "standard_errors": result.standard_errors if matrix else None,
        "condition_number": result.condition_number,
        "singular": result.singular,
        "history": result.history._asdict(),
        "restarts": [entry._asdict() | {"reason": str(entry.reason)} for entry in result.restarts],
    }
    return _plain(figures)


def _plain(value: Any) -> Any:
    """Return `value` in terms of dict, list, str, int, float and None."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return _plain(value._asdict())  # pyright: ignore[reportAttributeAccessIssue]
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        return _plain(np.asarray(value).tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    leaves, _ = jax.tree.flatten(value)  # a registered class of the user's own
    return _plain(leaves)


def draw_convergence(axes: Any, history: History) -> None:
    """Draw objective, gradient norm and decrement over the steps into matplotlib's `axes`."""
    steps = np.arange(len(history.objective))
    finite = history.objective[np.isfinite(history.objective)]
    gap = history.objective - (finite.min() if finite.size else np.nan)
    for values, label, marker in (
        (gap, "objective above its least [nats]", "o"),
        (history.decrement, "half the squared Newton decrement [nats]", "s"),
        (history.gradient_norm, "norm of the gradient", "^"),
    ):
        axes.semilogy(steps, np.where(values > 0, values, np.nan), marker=marker, markersize=4, label=label)
    axes.set(xlabel="step", title="Convergence")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend()
