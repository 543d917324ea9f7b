"""Files that a command writes: refused in one sentence, before the work where that can be known."""

import os
from collections.abc import Callable
from pathlib import Path

from jaxinfo import datasets


def check_writable(file: Path | None, option: str) -> None:
    """Fail before the work, not after it.

    Raises:
        DataError: `file`, given with `option`, cannot be written.
    """
    if file is None:
        return
    folder = file.parent
    if not folder.is_dir():
        raise datasets.DataError(f"{option} cannot write {str(file)!r}: there is no directory {str(folder)!r}.")
    if file.is_dir():
        raise datasets.DataError(f"{option} cannot write {str(file)!r}: it is a directory.")
    if not os.access(file if file.exists() else folder, os.W_OK):
        raise datasets.DataError(f"{option} cannot write {str(file)!r}: permission denied.")


def check_plot(file: Path) -> None:
    """Fail unless matplotlib is there and knows the file's ending.

    Raises:
        MissingExtraError: matplotlib is not installed.
        DataError: the ending is none that matplotlib writes.
    """
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ModuleNotFoundError as error:
        raise datasets.MissingExtraError(datasets.needs("--plot", "matplotlib", "plot")) from error
    formats = FigureCanvasBase.get_supported_filetypes()
    if file.suffix.removeprefix(".").lower() not in formats:
        endings = ", ".join(sorted(formats))
        raise datasets.DataError(f"--plot must name a file that ends in one of {endings}, got {str(file)!r}.")


def write(file: Path, option: str, write_it: Callable[[Path], object]) -> None:
    """Write `file`, given with `option`.

    Raises:
        DataError: the system refuses.
    """
    try:
        write_it(file)
    except OSError as error:
        raise datasets.DataError(f"{option} cannot write {str(file)!r}: {error.strerror or error}.") from error
