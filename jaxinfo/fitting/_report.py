"""A fit in words and figures: the rows of its table, the keys of its JSON file, its picture."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxinfo.fitting._estimate import FitResult
from jaxinfo.fitting._models import GradientCheck, Measures, Model
from jaxinfo.fitting._result import Progress
from jaxinfo.fitting._summary import draw_convergence


class Report(NamedTuple):
    """All there is to say about the fit of a data set."""

    dataset: str
    model: Model
    l2: float
    result: FitResult
    measures: Measures
    gradient: GradientCheck

    @property
    def found(self) -> bool:
        """Whether the fit came to an estimate."""
        return self.result.reason.found

    def as_json(self) -> dict[str, Any]:
        """Return the figures by the names of the JSON file; what is not finite becomes null."""
        figures = {
            "dataset": self.dataset,
            "examples": self.model.examples,
            "classes": self.model.counts.shape[1],
            "parameters": self.model.parameters,
            "objective": self.result.objective,
            "log_likelihood": self.result.log_likelihood,
            "cross_entropy": self.result.cross_entropy,
            "entropy": self.measures.entropy,
            "kl": self.measures.kl,
            "accuracy": self.measures.accuracy,
            "reason": str(self.result.reason),
            "steps": self.result.steps,
            "compile_seconds": self.result.compile_seconds,
            "run_seconds": self.result.run_seconds,
        }
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in figures.items()}

    def rows(self) -> list[tuple[str, str]]:
        """Return the rows of the table: a name and a value."""
        result, measures = self.result, self.measures
        return [
            ("estimate", self._estimate()),
            ("examples", f"{self.model.examples:,}"),
            ("classes", f"{self.model.counts.shape[1]:,}"),
            ("parameters", f"{self.model.parameters:,}"),
            *([("objective", f"{result.objective:.10g} nats")] if self.model.penalty else []),
            ("log-likelihood", f"{result.log_likelihood:.10g} nats"),
            ("H(P)", _nats_and_bits(measures.entropy)),
            ("H(P,Q)", _nats_and_bits(result.cross_entropy)),
            ("KL(P||Q)", _nats_and_bits(measures.kl)),
            ("perplexity", f"{math.exp(min(result.cross_entropy, 700)):.6g}"),
            ("accuracy", f"{measures.accuracy:.2%}"),
            ("stopped", f"{result.reason}: {result.reason.sentence}"),
            ("steps", f"{result.steps} of {result.method}, {result.evaluations:,} evaluations"),
            ("compile", f"{result.compile_seconds:.2f} s"),
            ("run", f"{result.run_seconds:.2f} s"),
        ]

    def _estimate(self) -> str:
        kind = "maximum likelihood" if self.model.penalty is None else "MAP"
        prior = "" if self.model.penalty is None else f", penalty {self.l2:g} ||W||^2 / 2"
        return f"{kind}{prior}" if self.found else f"none: {kind}{prior} was sought but not reached"

    def gradient_line(self) -> str:
        """Return the sentence on the gradient at the optimum and central differences."""
        check, where = self.gradient, "optimum" if self.found else "point returned"
        return (
            f"The gradient at the {where}, of norm {self.result.gradient_norm:.1e}, is within "
            f"{check.difference:.1e} of central differences in float64 along {check.directions} random directions; "
            f"rounding of the objective alone moves those by {check.rounding:.1e}."
        )


def as_family_json(dataset: str, family: str, result: FitResult) -> dict[str, Any]:
    """Return the figures of a regression of another family by the same names; what it does not have is null."""
    figures = result.to_dict()
    shared = "objective log_likelihood cross_entropy reason steps compile_seconds run_seconds".split()
    return {
        "dataset": dataset,
        "family": family,
        "examples": round(result.observations),
        "classes": None,
        "parameters": result.parameters,
        **{name: figures[name] for name in shared},
        "entropy": None,
        "kl": None,
        "accuracy": None,
        **{name: figures[name] for name in ("params", "standard_errors", "aic", "bic")},
    }


def _nats_and_bits(nats: float) -> str:
    return f"{nats:.8g} nats   {nats / math.log(2):.8g} bits"


def progress_line(model: Model, entropy: float, progress: Progress) -> str:
    """Return one line on a step: the objective and what is left of it, or for a text the KL divergence."""
    step = f"step {progress.step:3d}"
    left = f"decrement {progress.decrement:.1e}   {progress.seconds:.2f} s"
    if model.weights is None:
        return f"{step}   objective {progress.objective:13.8f}   {left}"
    # the rounding of the difference may come out below 0, the divergence cannot
    kl = max(progress.objective / model.examples - entropy, 0.0)
    return f"{step}   H(P,Q) {kl + entropy:.9f}   KL {kl:.2e} nats   {left}"


def draw(report: Report, file: Path) -> None:
    """Draw how the fit converged, and the fitted distribution beside the observed one, into `file`."""
    from matplotlib.figure import Figure  # not pyplot: no window system is asked for

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_convergence(left, report.result.history)
    (_draw_confusion if report.model.weights is None else _draw_ranks)(right, report)
    figure.suptitle(
        f"{report.dataset}: {report.result.reason} after {report.result.steps} steps, "
        f"KL(P||Q) = {report.measures.kl:.4g} nats"
    )
    figure.savefig(file, dpi=150)


def _draw_confusion(axes: Any, report: Report) -> None:
    """Observed class against the mean fitted probability of every class."""
    counts = np.asarray(report.model.counts)
    logits = np.asarray(report.model.logits(report.result.params))
    probs = np.exp(logits - logits.max(axis=1, keepdims=True))
    probs = probs / probs.sum(axis=1, keepdims=True)
    mean = (counts.T @ probs) / counts.sum(axis=0)[:, None]
    image = axes.imshow(mean, vmin=0, vmax=1, cmap="viridis")
    if len(mean) <= 12:
        for (i, j), p in np.ndenumerate(mean):
            if p >= 0.005:
                axes.text(j, i, f"{p:.2f}", ha="center", va="center", fontsize=8, color="w" if p < 0.6 else "k")
        axes.set(xticks=range(len(mean)), yticks=range(len(mean)))
    axes.set(xlabel="class j", ylabel="observed class i", title="Mean fitted probability of j where i was observed")
    axes.figure.colorbar(image, ax=axes)


def _draw_ranks(axes: Any, report: Report) -> None:
    """Probability against rank: what was observed, and what was fitted to it."""
    counts = np.asarray(report.model.counts)[0]
    logits = np.asarray(report.model.logits(report.result.params))[0]
    probs = np.exp(logits - logits.max())
    order = np.argsort(-counts, kind="stable")
    ranks = np.arange(1, len(counts) + 1)
    axes.loglog(ranks, counts[order] / counts.sum(), lw=5, alpha=0.3, label="observed, P")
    axes.loglog(ranks, probs[order] / probs.sum(), lw=1, color="k", label="fitted, Q")
    axes.set(xlabel="rank of the word", ylabel="probability", title="Distribution of the words")
    axes.grid(alpha=0.3)
    axes.legend()
