"""`jaxinfo fit`: load, fit, report."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import jax

from jaxinfo import datasets
from jaxinfo.cli._files import check_plot, check_writable, write
from jaxinfo.fitting import fit
from jaxinfo.fitting._models import Model, check_gradient, measure, softmax_regression, unigram
from jaxinfo.fitting._report import Report, draw, progress_line

if TYPE_CHECKING:
    import typer
    from rich.console import Console


def register(app: "typer.Typer") -> None:
    """Add `fit` to the commands."""
    import typer

    @app.command("fit")
    def fit_command(
        dataset: Annotated[str, typer.Argument(help=" | ".join(datasets.NAMES) + " | FILE.csv")],
        target: Annotated[str | None, typer.Option(help="Column of FILE.csv that holds the classes.")] = None,
        l2: Annotated[float, typer.Option(help="Penalty L2 ||W||^2 / 2 on the weights; sotu has none.")] = 1.0,
        json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
        plot_file: Annotated[Path | None, typer.Option("--plot", help="Draw the fit into this file.")] = None,
    ) -> None:
        """Fit a model by maximum likelihood: softmax regression, or for sotu the distribution of the words."""
        run_fit(dataset, target=target, l2=l2, json_file=json_file, plot_file=plot_file)


def run_fit(dataset: str, *, target: str | None, l2: float, json_file: Path | None, plot_file: Path | None) -> None:
    """Load, fit, report.

    Raises:
        DataError: an option or the data cannot be used.
        MissingExtraError: something asked for needs a package that is not installed.
    """
    from rich.console import Console

    if not (math.isfinite(l2) and l2 >= 0):
        raise datasets.DataError(f"--l2 must be a finite number of at least 0, got {l2:g}.")
    check_writable(json_file, "--json")
    check_writable(plot_file, "--plot")
    if plot_file is not None:
        check_plot(plot_file)
    data = datasets.load(dataset, target=target)
    console = Console(highlight=False)
    with jax.enable_x64(True):
        report = _fit(data, l2, console)
        _print(report, console)
        if json_file is not None:
            write(json_file, "--json", lambda file: file.write_text(json.dumps(report.as_json(), indent=2) + "\n"))
        if plot_file is not None:
            write(plot_file, "--plot", lambda file: draw(report, file))


def _fit(data: datasets.Classification | datasets.Counts, l2: float, console: "Console") -> Report:
    """Fit with a line for each step; on a terminal a spinner says that work goes on."""
    model = _model(data, l2)
    entropy = measure(model, model.params).entropy
    console.print(
        f"{data.name}: {model.examples:,} examples, {model.counts.shape[1]:,} classes, "
        f"{model.parameters:,} parameters.",
        soft_wrap=True,
    )
    with console.status("compiling and fitting"):
        result = fit(
            model.loss,
            model.params,
            model.data,
            weights=model.weights,
            penalty=model.penalty,
            progress=lambda step: console.print(progress_line(model, entropy, step), soft_wrap=True),
        )
        measures = measure(model, result.params)
        gradient = check_gradient(model, result.params)
    return Report(data.name, model, l2, result, measures, gradient)


def _model(data: datasets.Classification | datasets.Counts, l2: float) -> Model:
    if isinstance(data, datasets.Counts):
        return unigram(data.counts)
    return softmax_regression(datasets.standardise(data.features), data.labels, len(data.class_names), l2)


def _print(report: Report, console: "Console") -> None:
    from rich.table import Table

    table = Table(show_header=False, title=f"{report.dataset}", title_justify="left")
    for name, value in report.rows():
        table.add_row(name, value)
    console.print(table)
    console.print(report.gradient_line(), soft_wrap=True)
