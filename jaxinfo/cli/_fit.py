"""`jaxinfo fit`: load, fit, report."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import jax

from jaxinfo import datasets
from jaxinfo.cli._bigram import run_bigram
from jaxinfo.cli._files import check_plot, check_writable, write
from jaxinfo.cli._fit_options import (
    FitOptions,
    check_classes,
    check_none_for_bigram,
    check_options,
    one_sentence,
    outcome,
    split,
)
from jaxinfo.fitting import FitResult, fit
from jaxinfo.fitting._families import FAMILIES, regression
from jaxinfo.fitting._models import Model, check_gradient, measure, softmax_regression, unigram
from jaxinfo.fitting._report import Report, as_family_json, draw, progress_line
from jaxinfo.fitting._uncertainty import KINDS

if TYPE_CHECKING:
    import typer
    from rich.console import Console


def register(app: "typer.Typer") -> None:
    """Add `fit` to the commands."""
    import typer

    @app.command("fit")
    def fit_command(
        dataset: Annotated[str, typer.Argument(help=" | ".join(datasets.NAMES) + " | FILE.csv")],
        target: Annotated[str | None, typer.Option(help="Column of FILE.csv that holds the outcome.")] = None,
        model: Annotated[str, typer.Option(help="auto | bigram: for sotu, each word from the one before.")] = "auto",
        family: Annotated[str, typer.Option(help=" | ".join(FAMILIES) + ": of the outcome.")] = FAMILIES[0],
        l2: Annotated[float, typer.Option(help="Penalty L2 ||W||^2 / 2 on the weights; sotu has none.")] = 1.0,
        method: Annotated[str, typer.Option(help="auto | newton | newton_cg | lbfgs | minibatch")] = "auto",
        restarts: Annotated[int, typer.Option(help="Fits from so many starting points; the best is kept.")] = 1,
        validation: Annotated[float, typer.Option(help="Share of the rows held out to stop early by.")] = 0.0,
        checkpoint: Annotated[Path | None, typer.Option(help="Save the fit in this directory.")] = None,
        resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
        errors: Annotated[
            str | None, typer.Option("--standard-errors", help=" | ".join(KINDS) + ": add a table of coefficients.")
        ] = None,
        json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
        plot_file: Annotated[Path | None, typer.Option("--plot", help="Draw the fit into this file.")] = None,
    ) -> None:
        """Fit a regression by maximum likelihood, or for sotu the distribution of the words."""
        if model not in ("auto", "bigram"):
            raise datasets.DataError(f"--model must be auto or bigram, got {model!r}.")
        options = FitOptions(family, l2, method, restarts, validation, checkpoint, resume, errors)
        if model == "bigram":
            check_none_for_bigram(options, target, plot_file)
            run_bigram(dataset, json_file)
            return
        run_fit(dataset, target=target, options=options, json_file=json_file, plot_file=plot_file)


def run_fit(
    dataset: str, *, target: str | None, options: FitOptions, json_file: Path | None, plot_file: Path | None
) -> None:
    """Load, fit, report.

    Raises:
        DataError: an option or the data cannot be used.
        MissingExtraError: something asked for needs a package that is not installed.
    """
    from rich.console import Console

    check_options(options)
    check_writable(json_file, "--json")
    check_writable(plot_file, "--plot")
    if plot_file is not None:
        check_plot(plot_file)
    data = datasets.load(dataset, target=target)
    if isinstance(data, datasets.Classification):
        check_classes(data, options.family)
    console = Console(highlight=False)
    with jax.enable_x64(True):
        if options.family == "categorical":
            report = _fit(data, options, console)
            _print(report, console)
            figures, result, picture = report.as_json(), report.result, lambda file: draw(report, file)
        else:
            result = _fit_family(data, options, console)
            figures = as_family_json(data.name, options.family, result)
            picture = lambda file: result.plot().savefig(file, dpi=150)  # noqa: E731
        if options.errors is not None:
            _print_coefficients(result, options.errors, console)
            figures |= {"standard_errors": result.to_dict()["standard_errors"], "family": options.family}
        if json_file is not None:
            write(json_file, "--json", lambda file: file.write_text(json.dumps(figures, indent=2) + "\n"))
        if plot_file is not None:
            write(plot_file, "--plot", picture)


def _fit(data: datasets.Classification | datasets.Counts, options: FitOptions, console: "Console") -> Report:
    """Fit with a line for each step; on a terminal a spinner says that work goes on."""
    held_out = None
    if options.validation:
        if isinstance(data, datasets.Counts):
            raise datasets.DataError(f"--validation holds out rows: {data.name} is a text, counted as a whole.")
        data, held_out = split(data, options.validation)
    model = _model(data, options.l2)
    entropy = measure(model, model.params).entropy
    console.print(
        f"{data.name}: {model.examples:,} examples, {model.counts.shape[1]:,} classes, "
        f"{model.parameters:,} parameters.",
        soft_wrap=True,
    )
    with console.status("compiling and fitting"), one_sentence():
        result = fit(
            model.loss,
            model.params,
            model.data,
            weights=model.weights,
            penalty=model.penalty,
            validation=held_out,
            progress=lambda step: console.print(progress_line(model, entropy, step), soft_wrap=True),
            **options.for_fit(),
        )
        measures = measure(model, result.params)
        gradient = check_gradient(model, result.params)
    return Report(data.name, model, options.l2, result, measures, gradient)


def _model(data: datasets.Classification | datasets.Counts, l2: float) -> Model:
    if isinstance(data, datasets.Counts):
        return unigram(data.counts)
    return softmax_regression(datasets.standardise(data.features), data.labels, len(data.class_names), l2)


def _fit_family(data: datasets.Classification | datasets.Counts, options: FitOptions, console: "Console") -> FitResult:
    if isinstance(data, datasets.Counts):
        raise datasets.DataError(f"--family {options.family} is for features and an outcome: {data.name} is a text.")
    held_out = None
    numbers = outcome(data, options.family)
    if options.validation:
        data, held_out = split(data, options.validation, numbers)
        numbers = outcome(data, options.family)
    try:
        model = regression(options.family, datasets.standardise(data.features), numbers, options.l2)
    except ValueError as error:
        raise datasets.DataError(f"The outcome of --family {options.family} {error}.") from error
    console.print(f"{data.name}: {len(numbers):,} examples, family {options.family}.", soft_wrap=True)
    with console.status("compiling and fitting"), one_sentence():
        result = fit(
            model.loss, model.params, model.data, penalty=model.penalty, validation=held_out, **options.for_fit()
        )
    _print_coefficients(result, options.errors or "observed", console)
    return result


def _print_coefficients(result: FitResult, kind: str, console: "Console") -> None:
    console.print(result.summary(kind), soft_wrap=True, markup=False)


def _print(report: Report, console: "Console") -> None:
    from rich.table import Table

    table = Table(show_header=False, title=f"{report.dataset}", title_justify="left")
    for name, value in report.rows():
        table.add_row(name, value)
    console.print(table)
    console.print(report.gradient_line(), soft_wrap=True)
