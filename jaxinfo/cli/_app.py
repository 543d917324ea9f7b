"""The door of the command line: gathers the commands, turns what went wrong into one sentence and an exit code."""

import sys
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

from jaxinfo import datasets
from jaxinfo.cli import _bench, _fit, _verify
from jaxinfo.cli._versions import no_device, versions

if TYPE_CHECKING:
    import typer

_BAD_INPUT = 2
_INTERRUPTED = 130


def main(args: list[str] | None = None) -> NoReturn:
    """Run the command line and exit: with code 0, or with 2 and one sentence on what was wrong."""
    try:
        code = _app()(args, standalone_mode=False) or 0
        if code == _INTERRUPTED:  # click tells of Ctrl-C by the code alone
            raise KeyboardInterrupt
        sys.exit(code)
    except (datasets.DataError, datasets.MissingExtraError) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        _fail("Interrupted.", code=_INTERRUPTED)
    except Exception as error:
        # usage errors of typer, and of the click that older ones use, have no common base but this method
        format_message = getattr(error, "format_message", None)
        fault = "" if format_message else no_device()
        if fault:
            _fail(f"{fault}.")
        if format_message is None:
            raise
        _fail(_with_help(format_message(), getattr(error, "ctx", None)))


def _with_help(message: str, context: Any) -> str:
    """Return a usage error as one sentence that ends in where to read on."""
    command = getattr(context, "command_path", "")
    return f"{message.rstrip('.')}; see {command} --help." if message and command else message


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

    _fit.register(app)
    _verify.register(app)
    _bench.register(app)
    return app
