"""The options of `jaxinfo fit`, checked before the work, and the rows they set aside."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxinfo import datasets
from jaxinfo.fitting._families import FAMILIES
from jaxinfo.fitting._uncertainty import KINDS

_METHODS = ("auto", "newton", "newton_cg", "lbfgs", "minibatch")


class FitOptions(NamedTuple):
    """The options of a fit, as given on the command line."""

    family: str
    l2: float
    method: str
    restarts: int
    validation: float
    checkpoint: Path | None
    resume: bool
    errors: str | None

    def for_fit(self) -> dict[str, Any]:
        """Return those that `fit` takes as they are."""
        return {
            "method": self.method,
            "restarts": self.restarts,
            "checkpoint": self.checkpoint,
            "resume": self.resume,
        }


def check_options(options: FitOptions) -> None:
    """Fail before the work, not within it.

    Raises:
        DataError: an option is out of its range, or does not go with another.
        MissingExtraError: a checkpoint is asked for and orbax is not installed.
    """
    for value, name, known in (
        (options.family, "--family", FAMILIES),
        (options.method, "--method", _METHODS),
        (options.errors or KINDS[0], "--standard-errors", KINDS),
    ):
        if value not in known:
            raise datasets.DataError(f"{name} must be one of {', '.join(known)}, got {value!r}.")
    if not (math.isfinite(options.l2) and options.l2 >= 0):
        raise datasets.DataError(f"--l2 must be a finite number of at least 0, got {options.l2:g}.")
    if not 0 <= options.validation < 1:
        raise datasets.DataError(f"--validation must be a share from 0 to below 1, got {options.validation:g}.")
    if options.restarts < 1:
        raise datasets.DataError(f"--restarts must be at least 1, got {options.restarts}.")
    if options.resume and options.checkpoint is None:
        raise datasets.DataError("--resume needs --checkpoint, the directory to go on from.")
    if options.checkpoint is not None:
        _check_checkpoint(options)


def check_none_for_bigram(options: FitOptions, target: str | None, plot_file: Path | None) -> None:
    """Fail where an option is given that the bigram model, fitted in its own fixed way, does not have.

    Raises:
        DataError: there is one; the message names the first.
    """
    given = {
        "--target": target is not None,
        "--family": options.family != FAMILIES[0],
        "--method": options.method != "auto",
        "--restarts": options.restarts != 1,
        "--validation": options.validation != 0,
        "--checkpoint": options.checkpoint is not None,
        "--resume": options.resume,
        "--standard-errors": options.errors is not None,
        "--plot": plot_file is not None,
    }
    for name, is_given in given.items():
        if is_given:
            raise datasets.DataError(f"{name} does not go with --model bigram, which has --json alone.")


def _check_checkpoint(options: FitOptions) -> None:
    try:
        import orbax.checkpoint  # noqa: F401
    except ModuleNotFoundError as error:
        raise datasets.MissingExtraError(datasets.needs("--checkpoint", "orbax-checkpoint", "checkpoint")) from error
    folder = options.checkpoint
    if options.restarts > 1:
        raise datasets.DataError("--checkpoint saves one fit: it does not go with --restarts.")
    if folder is not None and folder.exists() and not folder.is_dir():
        raise datasets.DataError(f"--checkpoint must be a directory, got the file {str(folder)!r}.")
    if folder is not None and not options.resume and folder.exists() and any(folder.glob("step_*")):
        raise datasets.DataError(f"{str(folder)!r} holds the checkpoints of an earlier fit: add --resume to go on.")


def check_classes(data: datasets.Classification, family: str) -> None:
    """Check that there are two classes for a family of classes; counts may be all the same.

    Raises:
        DataError: there is one.
    """
    if family in ("categorical", "bernoulli") and len(data.class_names) < 2:
        raise datasets.DataError(f"{data.name!r} holds one class only, {''.join(data.class_names)!r}: nothing to fit.")


@contextmanager
def one_sentence() -> Iterator[None]:
    """Turn what `fit` says of a checkpoint, which may be of another fit or not writable, into the command's sentence.

    Raises:
        DataError: it said something.
        OSError: it could not write something else.
        ValueError: what it said is of something else.
    """
    try:
        yield
    except (OSError, ValueError) as error:
        if "`checkpoint`" not in str(error):
            raise
        raise datasets.DataError(str(error).replace("`checkpoint`", "--checkpoint")) from error


def outcome(data: datasets.Classification, family: str) -> np.ndarray:
    """Return the outcome of each row as a number; two classes that are none become 0 and 1.

    Raises:
        DataError: a class is no number.
    """
    numbers = [_number(name) for name in data.class_names]
    if family == "bernoulli" and len(numbers) == 2 and set(numbers) != {0.0, 1.0}:
        numbers = [0.0, 1.0]
    for name, number in zip(data.class_names, numbers, strict=True):
        if number is None:
            raise datasets.DataError(f"The outcome of --family {family} must be numbers, got {name!r}.")
    return np.asarray(numbers, np.float64)[data.labels]


def _number(text: str) -> float | None:
    try:
        number = float(text.replace("_", "?"))  # 1_000 is a number in Python only
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def split(
    data: datasets.Classification, share: float, numbers: np.ndarray | None = None
) -> tuple[datasets.Classification, tuple[np.ndarray, np.ndarray]]:
    """Return the rows to fit, and features and outcomes of those held out, standardised by the former.

    Raises:
        DataError: nothing would be left on one side, or a class would only be there.
    """
    order = np.random.default_rng(0).permutation(len(data.labels))
    count = round(share * len(order))
    held, kept = order[:count], order[count:]
    if count == 0 or len(kept) < 2:
        raise datasets.DataError(f"--validation {share:g} of {len(order)} rows leaves none on one side.")
    if numbers is None and len(np.unique(data.labels[kept])) < len(data.class_names):
        raise datasets.DataError(f"--validation {share:g} holds out all rows of a class.")
    mean, spread = data.features[kept].mean(axis=0), data.features[kept].std(axis=0)
    features = (data.features[held] - mean) / np.where(spread > 0, spread, 1)
    outcomes = data.labels[held] if numbers is None else numbers[held]
    return replace(data, features=data.features[kept], labels=data.labels[kept]), (features, outcomes)
