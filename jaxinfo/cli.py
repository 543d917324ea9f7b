"""The command line: `jaxinfo fit`.

What the user can get wrong ends in one sentence on stderr and exit code 2. typer and rich are an extra,
so they are imported when a command runs, and the lack of them is such a sentence too.
"""

import json
import math
import os
import platform
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import jax

from jaxinfo import datasets
from jaxinfo._version import __version__
from jaxinfo.fitting import fit
from jaxinfo.fitting._models import Model, check_gradient, measure, softmax_regression, unigram
from jaxinfo.fitting._report import Report, draw, progress_line

if TYPE_CHECKING:
    import typer
    from rich.console import Console

_BAD_INPUT = 2


def main(args: list[str] | None = None) -> NoReturn:
    """Run the command line and exit: with code 0, or with 2 and one sentence on what was wrong."""
    try:
        sys.exit(_app()(args, standalone_mode=False) or 0)
    except (datasets.DataError, datasets.MissingExtraError) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        _fail("Interrupted.", code=130)
    except Exception as error:
        # usage errors of typer, and of the click that older ones use, have no common base but this method
        format_message = getattr(error, "format_message", None)
        if format_message is None:
            raise
        _fail(format_message())


def _fail(message: str, code: int = _BAD_INPUT) -> NoReturn:
    if message:  # a bare `jaxinfo` has shown its help already
        print(f"jaxinfo: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


def _app() -> "typer.Typer":
    try:
        import rich  # noqa: F401
        import typer
    except ModuleNotFoundError as error:
        raise datasets.MissingExtraError(datasets.needs("The command line", error.name or "typer", "data")) from error
    app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

    def show_version(wanted: bool) -> bool:
        if wanted:
            print(versions())
            raise typer.Exit
        return wanted

    @app.callback()
    def jaxinfo(
        version: Annotated[
            bool, typer.Option("--version", callback=show_version, is_eager=True, help="Versions, backend, devices.")
        ] = False,
    ) -> None:
        """Estimation of probability distributions."""

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

    return app


def run_fit(dataset: str, *, target: str | None, l2: float, json_file: Path | None, plot_file: Path | None) -> None:
    """Load, fit, report.

    Raises:
        DataError: an option or the data cannot be used.
        MissingExtraError: something asked for needs a package that is not installed.
    """
    from rich.console import Console

    if not (math.isfinite(l2) and l2 >= 0):
        raise datasets.DataError(f"--l2 must be a finite number of at least 0, got {l2:g}.")
    _check_writable(json_file, "--json")
    _check_writable(plot_file, "--plot")
    if plot_file is not None:
        _check_plot(plot_file)
    data = datasets.load(dataset, target=target)
    console = Console(highlight=False)
    with jax.enable_x64(True):
        report = _fit(data, l2, console)
        _print(report, console)
        if json_file is not None:
            _write(json_file, "--json", lambda file: file.write_text(json.dumps(report.as_json(), indent=2) + "\n"))
        if plot_file is not None:
            _write(plot_file, "--plot", lambda file: draw(report, file))


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


def _check_writable(file: Path | None, option: str) -> None:
    """Fail before the work, not after it."""
    if file is None:
        return
    folder = file.parent
    if not folder.is_dir():
        raise datasets.DataError(f"{option} cannot write {str(file)!r}: there is no directory {str(folder)!r}.")
    if file.is_dir():
        raise datasets.DataError(f"{option} cannot write {str(file)!r}: it is a directory.")
    if not os.access(file if file.exists() else folder, os.W_OK):
        raise datasets.DataError(f"{option} cannot write {str(file)!r}: permission denied.")


def _check_plot(file: Path) -> None:
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ModuleNotFoundError as error:
        raise datasets.MissingExtraError(datasets.needs("--plot", "matplotlib", "plot")) from error
    formats = FigureCanvasBase.get_supported_filetypes()
    if file.suffix.removeprefix(".").lower() not in formats:
        endings = ", ".join(sorted(formats))
        raise datasets.DataError(f"--plot must name a file that ends in one of {endings}, got {str(file)!r}.")


def _write(file: Path, option: str, write: Callable[[Path], object]) -> None:
    try:
        write(file)
    except OSError as error:
        raise datasets.DataError(f"{option} cannot write {str(file)!r}: {error.strerror or error}.") from error


def versions() -> str:
    """Return the versions of jaxinfo and of what it stands on, the backend and its devices."""
    packages = [f"jaxinfo {__version__}", f"Python {platform.python_version()}"]
    packages += [f"{name} {_version(name)}" for name in ("jax", "jaxlib", "optax", "numpy")]
    devices = ", ".join(device.device_kind for device in jax.devices())
    return "\n".join([*packages, f"backend {jax.default_backend()}", f"devices {len(jax.devices())}: {devices}"])


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


if __name__ == "__main__":
    main()
